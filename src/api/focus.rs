//! Jobs as Focus Server clients ask for them: start, describe, look after, end.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::debug;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::body::Body;
use crate::config::is_host;
use crate::jobs::commands::picture::Picture;
use crate::jobs::plan::ConfigureResponse;
use crate::jobs::registry::{Ended, How};
use crate::jobs::requests::facts::Facts;
use crate::jobs::requests::request::ConfigureRequest;
use crate::jobs::requests::rules;
use crate::jobs::{Job, Standing};
use crate::refusal::{ApiError, unknown_job};
use crate::status::now_ms;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(configure))
        .routes(routes!(metadata))
        .routes(routes!(job, cancel))
        .routes(routes!(jobs))
}

impl ApiState {
    /// What is known of the fiber now.
    pub(super) fn facts(&self) -> Facts {
        self.jobs.facts()
    }
}

/// Start a job
///
/// Live data without `start_time` and `end_time`, a recording with both. The job lives as long as somebody looks at it.
#[utoipa::path(post, path = "/configure", tag = "jobs",
    request_body(content = ConfigureRequest, examples(
        ("waterfall" = (summary = "Waterfall of three channels", value = json!({
            "view_type": 2, "channels": { "min": 1, "max": 3 }, "displayInfo": { "height": 200 }
        }))),
        ("single" = (summary = "Spectra of one channel", value = json!({
            "view_type": 1, "channels": { "min": 2, "max": 2 }, "displayInfo": { "height": 200 },
            "displayTimeAxisDuration": 10, "nfftSelection": 512, "frequencyRange": { "min": 0, "max": 200 }
        }))),
        ("multi" = (summary = "Spectra of three channels", value = json!({
            "view_type": 0, "channels": { "min": 1, "max": 3 }, "displayInfo": { "height": 200 },
            "displayTimeAxisDuration": 10, "nfftSelection": 512, "frequencyRange": { "min": 0, "max": 200 }
        }))),
    )),
    responses(
    (status = 200, body = ConfigureResponse, description = "The job runs"),
    (status = 400, body = ApiError, description = "A field breaks a rule, the fiber is dark, or it is more than can ever be had"),
    (status = 404, body = ApiError, description = "Nothing was recorded in that time"),
    (status = 413, body = ApiError), (status = 415, body = ApiError),
    (status = 422, body = ApiError, description = "Fields are missing, of the wrong type or beyond the fiber"),
    (status = 429, body = ApiError, description = "No room for another job"),
    (status = 503, body = ApiError, description = "Nothing is known of the fiber yet, or the daemon is stopping"),
))]
async fn configure(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Body(request): Body<ConfigureRequest>,
) -> Result<Response, ApiError> {
    log_unknown(&request.unknown_fields());
    let plan = rules::plan(&request, &state.facts(), now_ms() / 1000);
    let plan = plan.inspect_err(|refusal| state.jobs.say_refused(refusal))?;
    let job = state.jobs.start(plan, None, host(&headers)).await?;
    Ok(description(&job))
}

/// The job object
///
/// The same that `POST /configure` answered, as long as the job lives and no command from the bus gives it other
/// channels; `reader_lag_s` is that of now. Keeps it alive.
#[utoipa::path(get, path = "/metadata/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Id of a job, or of a task")),
    responses((status = 200, body = ConfigureResponse), (status = 404, body = ApiError)))]
async fn metadata(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let job = state.jobs.touch(checked(&id)?).ok_or_else(unknown_job)?;
    Ok(description(&job))
}

/// How it stands with a job
#[derive(Debug, Serialize, ToSchema)]
struct JobStatus {
    job_id: String,
    status: JobState,
    /// Percent of the recording that has been played; only jobs that play one have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = f64, minimum = 0, maximum = 100)]
    progress: Option<f64>,
    /// ISO 8601, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    /// Of the last change of its status, ISO 8601, UTC.
    #[schema(format = DateTime)]
    updated_at: String,
    /// 0 several channels, 1 a single channel, 2 waterfall.
    view_type: u8,
    /// Why it ended.
    reason: Option<String>,
    /// Streams that are read now.
    consumers: usize,
    /// How it wants to be drawn, as commands from the bus have said.
    picture: Picture,
    /// Queues at the broker that it watches, as a command from the bus has said.
    monitored_queues: Vec<String>,
    /// Whether one of these is deep, so that only a frame a second goes to the broker.
    throttled: bool,
}

/// States of a job.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum JobState {
    /// Being started.
    Pending,
    /// Lines come.
    Running,
    /// Ended by itself.
    Completed,
    /// Ended by a fault.
    Failed,
    /// Ended by its client.
    Cancelled,
}

impl JobStatus {
    fn of_live(job: &Job) -> Self {
        let (at, settings) = (iso(job.created_ms), job.settings());
        Self {
            job_id: job.id.clone(),
            status: if job.is_running() { JobState::Running } else { JobState::Pending },
            progress: None,
            created_at: at.clone(),
            updated_at: at,
            view_type: job.plan().view() as u8,
            reason: None,
            consumers: job.consumers(),
            picture: settings.picture,
            monitored_queues: settings.monitored_queues.to_vec(),
            throttled: job.is_throttled(),
        }
    }

    fn of_ended(ended: Ended) -> Self {
        Self {
            status: match ended.how {
                How::Completed => JobState::Completed,
                How::Failed => JobState::Failed,
                How::Cancelled => JobState::Cancelled,
            },
            progress: None,
            created_at: iso(ended.created_ms),
            updated_at: iso(ended.ended_ms),
            view_type: ended.view_type,
            reason: Some(ended.reason),
            consumers: 0,
            picture: Picture::default(),
            monitored_queues: Vec::new(),
            throttled: false,
            job_id: ended.id,
        }
    }
}

/// How it stands with a job
///
/// Also for some minutes after its end.
#[utoipa::path(get, path = "/job/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Id of a job, or of a task")),
    responses((status = 200, body = JobStatus), (status = 404, body = ApiError)))]
async fn job(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<JobStatus>, ApiError> {
    match state.jobs.standing(checked(&id)?) {
        Some(Standing::Live(job)) => Ok(Json(JobStatus::of_live(&job))),
        Some(Standing::Ended(ended)) => Ok(Json(JobStatus::of_ended(ended))),
        None => Err(unknown_job()),
    }
}

/// That a job has been ended.
#[derive(Debug, Serialize, ToSchema)]
struct Cancelled {
    /// Always `cancelled`.
    #[schema(value_type = String, example = "cancelled")]
    status: &'static str,
    job_id: String,
}

/// End a job
///
/// When this answers, its port, memory and queues are gone.
#[utoipa::path(delete, path = "/job/{job_id}", tag = "jobs",
    params(("job_id" = String, Path, pattern = "^[A-Za-z0-9_-]{1,64}$", description = "Id of a job, or of a task")),
    responses((status = 200, body = Cancelled), (status = 404, body = ApiError)))]
async fn cancel(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<Cancelled>, ApiError> {
    if state.jobs.end(checked(&id)?, How::Cancelled, "by its client").await {
        return Ok(Json(Cancelled { status: "cancelled", job_id: id }));
    }
    Err(unknown_job())
}

/// All jobs that run
#[utoipa::path(get, path = "/jobs", tag = "jobs", responses((status = 200, body = Vec<JobStatus>)))]
async fn jobs(State(state): State<ApiState>) -> Json<Vec<JobStatus>> {
    Json(state.jobs.list().iter().map(|job| JobStatus::of_live(job)).collect())
}

/// Fields that nobody knows are ignored, and that is all that happens to them.
pub(super) fn log_unknown(fields: &[String]) {
    if !fields.is_empty() {
        debug!(?fields, "unknown fields of a request are ignored");
    }
}

/// The job object.
fn description(job: &Job) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], job.description()).into_response()
}

/// Milliseconds since the UNIX epoch as people and programs read them.
fn iso(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

/// What the client calls this host: its Host header without the port, when that is a host at all.
pub(super) fn host(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::HOST)?.to_str().ok()?;
    let host = match text.rsplit_once(':') {
        // The colons of [::1] are not those of a port.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => text,
    };
    is_host(host).then(|| host.to_owned())
}

/// What may be the id of a job or a task: letters, digits, `_` and `-`, at most 64.
///
/// # Errors
/// When it cannot be one.
pub(super) fn checked(id: &str) -> Result<&str, ApiError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return Ok(id);
    }
    let advice = "an id is letters, digits, _ and -, at most 64";
    Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_job_id", "Invalid job_id", advice).because("this is no id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_taken_over_only_when_it_is_one() {
        let cases = [
            ("das.example:5000", Some("das.example")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]:5000", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("x/y:1", None),
            ("user@host", None),
            ("<script>", None),
            ("", None),
            (":5000", None),
        ];
        for (given, wanted) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, given.parse().unwrap());
            assert_eq!(host(&headers).as_deref(), wanted, "{given}");
        }
        assert_eq!(host(&HeaderMap::new()), None);
    }
}
