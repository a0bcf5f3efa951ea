//! The one shape of every failure: `{"error", "code", "reason", "message", "status", "details"}`, and for 422 also
//! `"detail": [{"loc", "msg", "type"}]`.
//!
//! Usual clients retry 429 and 5xx blindly and then hide the body, so whatever a person should read is another 4xx.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// A failure as a client sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiError {
    /// HTTP status; travels in the status line.
    #[serde(skip)]
    #[schema(ignore)]
    pub http: StatusCode,
    /// What failed.
    pub error: String,
    /// A word for programs.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// Why.
    pub reason: Option<String>,
    /// What the reader can do.
    pub message: String,
    /// State that led to it, in a word; `error` when it is the request's own fault.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Facts; always an object.
    #[schema(value_type = Object)]
    pub details: Value,
    /// Fields in question (422 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub detail: Vec<FieldProblem>,
    /// Seconds after which it is worth to try again; travels as `Retry-After`.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after_s: Option<u32>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Where: `["body", "channels", "min"]`.
    pub loc: Vec<String>,
    /// What.
    pub msg: String,
    /// A word for programs.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
}

impl ApiError {
    /// A failure with neither reason nor details yet.
    pub fn new(http: StatusCode, code: &'static str, error: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            http,
            error: error.into(),
            code,
            reason: None,
            message: message.into(),
            status: "error",
            details: json!({}),
            detail: Vec::new(),
            retry_after_s: None,
        }
    }

    /// With its reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.http, Json(&self)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
