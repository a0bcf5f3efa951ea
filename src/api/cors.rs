//! Pages of other origins: closed unless the configuration names them.
//!
//! Browsers ask first (preflight), and keep answers from pages that are not let in; other clients do not care. A
//! WebSocket is not held by that, so one that comes from a foreign page is refused here.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::refusal::ApiError;

/// What a page may send beside what every page may.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-request-id");

/// What a page may see beside what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, retry-after, www-authenticate");

/// A browser may keep the answer to a preflight so long, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Which origins are let in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Arc<[String]>,
}

/// What a request has said that its answer depends on.
pub(super) struct Asked {
    /// The origin, when it is let in, as the answer must name it.
    admitted: Option<HeaderValue>,
    is_preflight: bool,
}

impl Cors {
    /// `*` stands for every origin.
    pub fn new(origins: &[String]) -> Self {
        Self { origins: origins.into() }
    }

    /// Whether a WebSocket may be opened: by a client that is no page, by a page of our own, or by one that is let in.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let own = headers.get(header::HOST).is_some_and(|host| {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            authority.is_some_and(|(_, authority)| authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        });
        own || self.admitted(headers).is_some()
    }

    fn admitted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        if self.origins.iter().any(|known| known == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    /// To be called before the request is gone.
    pub(super) fn asked(&self, is_options: bool, headers: &HeaderMap) -> Asked {
        let is_preflight = is_options && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Asked { admitted: self.admitted(headers), is_preflight }
    }

    /// Adds to the answer what a browser wants to read. Without origins: nothing.
    pub(super) fn dress(&self, asked: Asked, response: &mut Response) {
        if self.origins.is_empty() {
            return;
        }
        let methods = response.headers().get(header::ALLOW).cloned();
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        let Some(origin) = asked.admitted else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if asked.is_preflight {
            if let Some(methods) = methods {
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// 403 for a WebSocket of a foreign page.
pub(super) fn foreign_page() -> Response {
    let advice = "the operator of this daemon can let the page's origin in";
    ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "Forbidden", advice)
        .because("a page of another origin asked")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn headers_for(origins: &[&str], origin: &'static str, preflight: bool) -> HeaderMap {
        let origins: Vec<_> = origins.iter().map(|&o| o.to_owned()).collect();
        let cors = Cors::new(&origins);
        let mut asked = headers(&[(header::ORIGIN, origin)]);
        if preflight {
            asked.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        }
        let asked = cors.asked(preflight, &asked);
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        cors.dress(asked, &mut response);
        response.headers().clone()
    }

    #[test]
    fn only_named_origins_are_answered() {
        const PAGE: &str = "https://das.example";
        let allow_origin = |origins: &[&str], origin| {
            headers_for(origins, origin, true).get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(allow_origin(&[], PAGE), None);
        assert_eq!(allow_origin(&[PAGE], PAGE), Some(HeaderValue::from_static(PAGE)));
        assert_eq!(allow_origin(&["*"], PAGE), Some(HeaderValue::from_static("*")));
        for foreign in ["http://das.example", "https://das.example.evil", "https://das.example:444", "null", ""] {
            assert_eq!(allow_origin(&[PAGE], foreign), None, "{foreign}");
        }
        let preflight = headers_for(&[PAGE], PAGE, true);
        assert_eq!(preflight[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
        assert_eq!(
            (&preflight[header::ACCESS_CONTROL_ALLOW_HEADERS], &preflight[header::VARY]),
            (&HEADERS, &HeaderValue::from_static("origin"))
        );
        let answer = headers_for(&[PAGE], PAGE, false);
        assert_eq!(answer[header::ACCESS_CONTROL_EXPOSE_HEADERS], EXPOSED);
        assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
        assert!(!headers_for(&[], PAGE, true).contains_key(header::VARY));
    }

    #[test]
    fn websockets_of_foreign_pages_stay_outside() {
        let cors = Cors::new(&["https://das.example".into()]);
        let opens = |origin: Option<&'static str>| {
            let mut asked = headers(&[(header::HOST, "fiberd.local:5000")]);
            if let Some(origin) = origin {
                asked.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            cors.admits(&asked)
        };
        assert!(opens(None) && opens(Some("https://das.example")) && opens(Some("http://Fiberd.local:5000")));
        assert!(!opens(Some("http://fiberd.local")) && !opens(Some("null")) && !opens(Some("https://evil.example")));
    }
}
