//! What happens to every request before and after its handler.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, error, error_span};

use super::body::{BODY_LIMIT_BYTES, too_long};
use super::cors::{Cors, foreign_page};
use crate::refusal::ApiError;
use crate::status::{ApiCounters, now_ms};
use crate::streams::access::is_upgrade;

/// The prefix behind which Focus Server clients expect every route.
const PREFIX: &str = "/focus-server";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest path that is written into the log.
const LOGGED_PATH_BYTES: usize = 200;

/// The guard's own state.
#[derive(Clone)]
pub(super) struct Guard {
    /// From a request's header to its answer.
    pub(super) time_limit: Duration,
    /// Which pages are let in.
    pub(super) cors: Cors,
    /// Where answers are counted.
    pub(super) counters: Arc<ApiCounters>,
}

/// Limits a request, names it in the log, and makes sure that its answer has our shape and headers.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let span = span(&id, &request);
    let asked = guard.cors.asked(request.method() == Method::OPTIONS, request.headers());
    let answer = async {
        let response = if declared_length(request.headers()) > BODY_LIMIT_BYTES as u64 {
            too_long().into_response()
        } else if is_upgrade(request.headers()) && !guard.cors.admits(request.headers()) {
            foreign_page()
        } else {
            match tokio::time::timeout(guard.time_limit, next.run(request)).await {
                Ok(response) => in_our_shape(response),
                Err(_) => too_slow(guard.time_limit).into_response(),
            }
        };
        debug!(status = response.status().as_u16(), "answered");
        count(&guard.counters, response.status());
        response
    };
    let mut response = answer.instrument(span).await;
    guard.cors.dress(asked, &mut response);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn count(counters: &ApiCounters, status: StatusCode) {
    let counter = match status {
        StatusCode::TOO_MANY_REQUESTS => &counters.requests_throttled,
        status if status.is_client_error() => &counters.requests_refused,
        status if status.is_server_error() => &counters.requests_failed,
        _ => &counters.requests_done,
    };
    counter.add(1);
}

/// Every line of the log inside a request carries this, whatever the level. Not the query: tokens may stand there.
fn span(id: &HeaderValue, request: &Request) -> Span {
    let path = request.uri().path();
    let path = path.get(..LOGGED_PATH_BYTES).unwrap_or(path);
    error_span!("request", id = id.to_str().unwrap_or("-"), method = %request.method(), path, who = Empty)
}

/// The client's own id when it is one, otherwise a new one that no other request of this daemon has.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let plain = |id: &HeaderValue| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(|id| plain(id)) {
        return id.clone();
    }
    let id = format!("{:x}-{:x}", now_ms(), NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("-"))
}

fn declared_length(headers: &HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Failures that a library under us answered in its own words.
fn in_our_shape(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let words = status.canonical_reason().unwrap_or("Refused");
    ApiError::new(status, "refused", words, "see the description of the API").into_response()
}

fn too_slow(limit: Duration) -> ApiError {
    let message = format!("the whole request must be there and answered within {} s", limit.as_secs_f64());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The request took too long", message)
}

/// The barrier: a fault of ours ends one request and not the daemon. What it was is for the log alone.
#[expect(clippy::needless_pass_by_value, reason = "the barrier's own signature")]
pub(super) fn panic_answer(panic: Box<dyn Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    error!(panic = words.unwrap_or("without words"), "a handler panicked; its request was answered with 500");
    let message = "this is a fault of the daemon; please report it with the x-request-id of this answer";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", message).into_response()
}

/// 404 in our shape.
pub(super) async fn unknown_route() -> ApiError {
    let message = "GET /docs shows every route that there is, /openapi.json says it to programs";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_route", "No such route", message)
}

/// 405 in our shape; OPTIONS is answered, with the methods that there are (the router adds `Allow`) and without a word
/// that would let a page of another origin in.
pub(super) async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let message = "the `allow` header of this answer lists the methods that there are";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Method not allowed", message).into_response()
}

/// Brings `//focus-server//ack/` and its like to `/ack`.
pub(super) fn fold_path<B>(mut request: axum::http::Request<B>) -> axum::http::Request<B> {
    if let Some(uri) = folded(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// `None` when there is nothing to fold.
fn folded(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let mut plain = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        plain.push('/');
        plain.push_str(segment);
    }
    let rest = plain.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(&plain);
    let rest = if rest.is_empty() { "/" } else { rest };
    if rest == path {
        return None;
    }
    let with_query = uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"));
    Some(Uri::from(PathAndQuery::try_from(with_query).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded_once_and_queries_kept() {
        let cases = [
            ("/ack", "/ack"),
            ("/ack/", "/ack"),
            ("//ack///", "/ack"),
            ("/focus-server", "/"),
            ("/focus-server/", "/"),
            ("//focus-server//ack//?a=/b//", "/ack?a=/b//"),
            ("/focus-server/focus-server/ack", "/focus-server/ack"),
            ("/focus-serverack", "/focus-serverack"),
            ("/waterfall/1-2//5/", "/waterfall/1-2/5"),
            ("/", "/"),
            ("///", "/"),
        ];
        for (given, wanted) in cases {
            let uri: Uri = given.parse().unwrap();
            assert_eq!(folded(&uri).unwrap_or(uri).to_string(), wanted, "{given}");
        }
    }

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1.2_X"));
        assert_eq!(request_id(&headers), "abc-1.2_X");
        headers.insert(REQUEST_ID, HeaderValue::from_static("<script>"));
        assert_ne!(request_id(&headers), request_id(&headers));
    }
}
