//! `/config/{task_id}`: the form in which older clients ask for a job. It becomes an ordinary one, whose id is the task's.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::Body;
use super::focus::{checked, host, log_unknown};
use crate::jobs::requests::request::TaskRequest;
use crate::jobs::requests::rules;
use crate::refusal::ApiError;
use crate::status::now_ms;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(config))
}

/// That a task runs.
#[derive(Debug, Serialize, ToSchema)]
struct TaskResponse {
    /// Always `Config received successfully`.
    #[schema(value_type = String)]
    status: &'static str,
    task_id: String,
}

/// Start a task, for older clients
///
/// A task of the same id ends first. Its data are at `/waterfall/{task_id}/{row_count}`.
#[utoipa::path(post, path = "/config/{task_id}", tag = "older clients",
    request_body(content = TaskRequest, example = json!({
        "displayTimeAxisDuration": 10, "nfftSelection": 512, "canvasInfo": { "height": 200 },
        "sensors": { "min": 0, "max": 2 }, "frequencyRange": { "min": 0, "max": 200 }
    })),
    params(("task_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Letters, digits, _ and -, at most 64")),
    responses(
        (status = 200, body = TaskResponse),
        (status = 400, body = ApiError, description = "A field breaks a rule, the fiber is dark, or it is more than can ever be had"),
        (status = 404, body = ApiError, description = "Nothing was recorded in that time"),
        (status = 409, body = ApiError, description = "A job that is no task has this id"),
        (status = 413, body = ApiError), (status = 415, body = ApiError),
        (status = 422, body = ApiError, description = "Fields are missing, of the wrong type or beyond the fiber"),
        (status = 429, body = ApiError, description = "No room for another job"),
        (status = 503, body = ApiError, description = "Nothing is known of the fiber yet, or the daemon is stopping"),
    ))]
async fn config(
    State(state): State<ApiState>,
    Path(task_id): Path<String>,
    headers: HeaderMap,
    Body(request): Body<TaskRequest>,
) -> Result<Json<TaskResponse>, ApiError> {
    checked(&task_id)?;
    log_unknown(&request.unknown_fields());
    let plan = rules::plan_task(&request, &state.facts(), now_ms() / 1000);
    let plan = plan.inspect_err(|refusal| state.jobs.say_refused(refusal))?;
    state.jobs.start(plan, Some(task_id.clone()), host(&headers)).await?;
    Ok(Json(TaskResponse { status: "Config received successfully", task_id }))
}
