//! JSON bodies of requests, with every way to get them wrong turned into the one shape of failures: 400 malformed,
//! 413 too long, 415 not JSON, 422 well-formed with fields missing or of the wrong type.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use crate::refusal::{ApiError, FieldProblem};

/// Longest body of a request.
pub const BODY_LIMIT_BYTES: usize = 1 << 20;

/// A request's JSON body as a `T`.
pub struct Body<T>(pub T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !says_json(request.headers()) {
            return Err(not_json());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_long(),
            _ => ApiError::new(StatusCode::BAD_REQUEST, "unreadable_body", "The body broke off", "send it again"),
        })?;
        parse(&bytes).map(Self)
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The body that `bytes` are.
///
/// # Errors
/// Why they are none, with the field where it is known.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().clone();
        let error = error.into_inner();
        if error.classify() == Category::Data { wrong_field(&path, &error) } else { malformed(&error) }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", "Malformed JSON", "send one JSON object")
        .because(error.to_string())
}

fn wrong_field(path: &Path, error: &serde_json::Error) -> ApiError {
    let msg = error.to_string();
    let missing = msg.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let mut loc = vec!["body".to_owned()];
    loc.extend(path.iter().filter(|segment| !matches!(segment, Segment::Unknown)).map(ToString::to_string));
    loc.extend(missing.map(str::to_owned));
    let kind = if missing.is_some() { "missing" } else { "invalid" };
    let advice = "correct the fields that `detail` names";
    let mut refusal = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "Invalid request body", advice)
        .because(format!("{}: {msg}", loc[1..].join(".")));
    refusal.detail = vec![FieldProblem { loc, msg, kind }];
    refusal
}

fn not_json() -> ApiError {
    let advice = "send content-type: application/json";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "Unsupported content type", advice)
}

/// A body over the limit.
pub(super) fn too_long() -> ApiError {
    let advice = format!("send at most {BODY_LIMIT_BYTES} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", "The body is too long", advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ViewConfig;
    use crate::jobs::requests::facts::{Facts, Light};
    use crate::jobs::requests::request::ConfigureRequest;
    use crate::jobs::requests::rules;
    use crate::units::Rational;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        channels: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        min: u32,
        max: u32,
    }

    #[test]
    fn what_is_wrong_is_named_where_it_is() {
        let refusal = |body: &str| parse::<Outer>(body.as_bytes()).unwrap_err();
        for body in ["{", "", "\u{0}", r#"{"channels":{"min":1,"max":2}} more"#] {
            assert_eq!(refusal(body).http, StatusCode::BAD_REQUEST, "{body:?}");
        }
        let missing = refusal(r#"{"channels":{"min":1}}"#);
        assert_eq!(missing.http, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            (missing.detail[0].loc.as_slice(), missing.detail[0].kind),
            (&["body", "channels", "max"].map(String::from)[..], "missing")
        );
        let wrong = refusal(r#"{"channels":{"min":"a","max":2}}"#);
        assert_eq!(wrong.detail[0].loc, ["body", "channels", "min"]);
        assert!(parse::<Outer>(br#"{"channels":{"min":1,"max":2},"more":0} "#).is_ok());
    }

    #[test]
    fn only_json_counts_as_json() {
        let says = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            says_json(&headers)
        };
        assert!(says("application/json") && says("Application/JSON; charset=utf-8") && says("application/x+json"));
        assert!(!says("text/plain") && !says("application/jsonp") && !says("") && !says_json(&HeaderMap::new()));
    }

    /// Numbers at the edges of what JSON can say, and everything else that may stand in a field.
    fn any_json() -> impl Strategy<Value = Value> {
        let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)];
        let leaf = prop_oneof![
            4 => number,
            2 => (0i64..3000).prop_map(Value::from),
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
            1 => ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 8, 3, |inner| {
            let object = prop::collection::btree_map("min|max|height|.{0,4}", inner.clone(), 0..3);
            prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Value::from), object.prop_map(|map| json!(map))]
        })
    }

    proptest! {
        /// A request is read and checked, whatever stands in it: a plan keeps to the fiber, and a refusal is the client's.
        #[test]
        fn whatever_stands_in_a_request_it_is_answered(
            fields in prop::collection::vec(any_json(), 8), cut in prop::option::of(0usize..300),
        ) {
            const NAMES: [&str; 8] = [
                "view_type", "channels", "displayInfo", "displayTimeAxisDuration", "nfftSelection", "frequencyRange",
                "start_time", "end_time",
            ];
            let request: serde_json::Map<_, _> = NAMES.into_iter().map(str::to_owned).zip(fields).collect();
            let mut body = Value::from(request).to_string().into_bytes();
            body.truncate(cut.unwrap_or(usize::MAX));
            let light = Light::Acquiring(Rational::new(2000, 1).unwrap());
            let facts = Facts { light, channels: 2337, waterfall: ViewConfig::waterfall(), lines: false };
            match parse::<ConfigureRequest>(&body).map(|request| rules::plan(&request, &facts, 1_790_000_000)) {
                Ok(Ok(plan)) => prop_assert!(*plan.channels.end() <= 2337 && !plan.frequencies().is_empty()),
                Ok(Err(refusal)) => prop_assert!(ApiError::from(refusal).http.is_client_error()),
                Err(refusal) => prop_assert!(refusal.http.is_client_error()),
            }
        }
    }
}
