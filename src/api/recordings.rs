//! What has been recorded: as a list for programs, as a picture for people.
//!
//! This version records nothing on its own, so both say that truthfully.

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::Body;
use super::timeline;
use crate::jobs::requests::times::time_order;
use crate::refusal::ApiError;
use crate::status::now_ms;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(recordings_in_time_range)).routes(routes!(get_recordings_timeline))
}

/// A time range.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct TimeRange {
    /// Seconds since the UNIX epoch.
    #[schema(example = 1_790_000_000)]
    start_time: i64,
    /// Seconds since the UNIX epoch, later than the start.
    #[schema(example = 1_790_003_600)]
    end_time: i64,
    /// What else was sent; ignored. It also makes this an object and nothing else.
    #[serde(flatten)]
    #[schema(ignore)]
    #[allow(dead_code, reason = "see above")]
    unknown: BTreeMap<String, Value>,
}

/// Recordings that overlap a time range
///
/// A list of `[start, end]`, seconds since the UNIX epoch.
#[utoipa::path(post, path = "/recordings_in_time_range", tag = "recordings", request_body = TimeRange, responses(
    (status = 200, body = Vec<Vec<i64>>, description = "Possibly none"),
    (status = 400, body = ApiError, description = "A time is negative, or the end does not come after the start"),
    (status = 413, body = ApiError), (status = 415, body = ApiError), (status = 422, body = ApiError),
))]
async fn recordings_in_time_range(Body(range): Body<TimeRange>) -> Result<Json<Vec<[i64; 2]>>, ApiError> {
    time_order(range.start_time, range.end_time)?;
    Ok(Json(Vec::new()))
}

/// A picture of what has been recorded
#[utoipa::path(get, path = "/get_recordings_timeline", tag = "recordings",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn get_recordings_timeline() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], timeline::page(&[], now_ms() / 1000))
}
