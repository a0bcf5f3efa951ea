//! `/waterfall`: the lines of a job for clients that poll.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::focus::checked;
use crate::jobs::{Poll, PolledRows, WaterfallBlock};
use crate::refusal::{ApiError, unknown_job};

/// Up to so many numbers are one piece.
const FEW: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(waterfall))
}

/// The next lines of a job
///
/// Up to `row_count` rows that were not polled before, in order; fewer when they would hold too much memory at once.
/// The first poll begins with the first row of the job, or with the newest when that is more than `live_idle_s` ago or
/// the job has been read in another way. Keeps the job alive.
#[utoipa::path(get, path = "/waterfall/{job_id}/{row_count}", tag = "jobs",
    params(
        ("job_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Id of a job, or of a task"),
        ("row_count" = i64, Path, minimum = 1, description = "Rows at most"),
    ),
    responses(
        (status = 201, body = Vec<WaterfallBlock>, description = "Rows"),
        (status = 200, description = "No rows yet; no body"),
        (status = 208, body = Object, description = "The job has ended and everything was read"),
        (status = 404, body = ApiError),
        (status = 429, body = ApiError, description = "Answers that nobody reads hold too many rows"),
    ))]
async fn waterfall(
    State(state): State<ApiState>,
    method: Method,
    Path((id, row_count)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let rows = row_count.parse::<i64>().ok().and_then(|rows| usize::try_from(rows).ok()).filter(|rows| *rows > 0);
    let rows = rows.ok_or_else(|| {
        let error = "row_count must be a positive number";
        ApiError::new(StatusCode::BAD_REQUEST, "row_count", error, "ask for at least one row")
    })?;
    let id = checked(&id)?;
    if method == Method::HEAD {
        // Looking at the header must not take rows from those who want them.
        return state.jobs.get(id).map(|_| StatusCode::OK.into_response()).ok_or_else(unknown_job);
    }
    match state.jobs.poll(id, rows) {
        Poll::Rows(rows) => {
            Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], json(rows)).into_response())
        }
        Poll::Nothing => Ok(StatusCode::OK.into_response()),
        Poll::Ended => {
            let body = json!({ "status": "ended", "job_id": id });
            Ok((StatusCode::ALREADY_REPORTED, Json(body)).into_response())
        }
        Poll::Unknown => Err(unknown_job()),
        Poll::Full => {
            let advice = "read the answers that are under way, and poll again";
            let mut refusal =
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "answers_under_way", "Too many rows under way", advice)
                    .because("the rows in answers that nobody has read yet hold as much memory as they may");
            refusal.retry_after_s = Some(1);
            Err(refusal)
        }
    }
}

fn json(rows: PolledRows) -> Body {
    if rows.values() <= FEW {
        return Body::from(rows.json().collect::<Vec<_>>().concat());
    }
    // Megabytes of text: each piece is written when the one before it is on its way, and others have their turn between.
    let pieces = stream::unfold(rows.json(), |mut pieces| async {
        tokio::task::yield_now().await;
        let piece = pieces.next()?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    Body::from_stream(pieces)
}
