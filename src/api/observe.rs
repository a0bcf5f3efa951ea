//! Routes that only look: metadata, channels, health, metrics.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use crate::acquisition::{Acquisition, Phase, Region};
use crate::config::Config;
use crate::jobs::commands::input::Announced;
use crate::jobs::requests::facts::{channels, shown};
use crate::metrics;
use crate::refusal::ApiError;
use crate::status::{Condition, PhaseSince, Report, Severity};

/// What clients of this API look for in place of a version and a description while there is no signal.
const WAITING: &str = "waiting for fiber";

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(live_metadata))
        .routes(routes!(channel_range))
        .routes(routes!(sensors))
        .routes(routes!(ack))
        .routes(routes!(status))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(prometheus))
}

/// What the fiber looks like now. The first ten fields are those that clients know; the others are ours.
#[derive(Debug, Serialize, ToSchema)]
struct LiveMetadata {
    /// Hz; 0 while waiting for fiber.
    prr: f64,
    /// Metres from channel to channel; 0 while waiting for fiber.
    dx: f64,
    /// Metres of optical distance in a sample; no source tells it yet.
    dy: Option<f64>,
    /// Channels that views can show, as `/channels` counts them.
    number_of_channels: usize,
    /// Channels that the interrogator measures.
    num_samples_per_trace: usize,
    dtype: String,
    /// Whole metres from the instrument to the first channel, not more; null when that is negative.
    fiber_start_meters: Option<i64>,
    /// Whole metres from the instrument to the end of the fiber, not less; null when that is not positive.
    fiber_length_meters: Option<i64>,
    #[schema(value_type = String)]
    sw_version: &'static str,
    fiber_description: String,
    #[schema(value_type = String)]
    state: &'static str,
    reason: Option<String>,
    /// The reason for programs, while waiting for fiber: `no_interface`, `light_off`, …
    #[schema(value_type = Option<String>)]
    reason_code: Option<&'static str>,
    /// Seconds since the UNIX epoch.
    since: f64,
    epoch: Option<u64>,
    gap_count: u64,
    missing_traces: u64,
    trace_count: u64,
    /// Variance over the channels of the newest traces, squared counts: what `dark_power` of the configuration is compared
    /// with. Null while no traces come.
    optical_power: Option<f64>,
    /// Hz.
    measured_prr: Option<f64>,
    /// Hz.
    configured_prr: Option<f64>,
    /// Seconds since the UNIX epoch.
    last_trace_time: Option<f64>,
    /// Exact metres from the instrument to the first channel; may be negative.
    fiber_start_m: Option<f64>,
    /// Exact metres from the instrument to the end of the last channel.
    fiber_end_m: Option<f64>,
    /// Exact metres from the first channel to the end of the last.
    fiber_span_m: Option<f64>,
    /// Regions behind the first, where channels are not evenly spaced; none on a fiber that is acquired from end to end.
    regions: Vec<FiberRegion>,
    /// Metres of fiber over which what views show is averaged.
    gauge_length: Option<f64>,
    #[schema(value_type = Option<String>)]
    quantity: Option<&'static str>,
    /// Unit of what views are made of, behind the conditioning: `sample_unit` of jobs.
    unit: Option<String>,
    #[schema(value_type = Option<String>)]
    clock_quality: Option<&'static str>,
    /// How far the times of frames may be off, nanoseconds. Null when nobody knows: a clock that nothing disciplines.
    utc_uncertainty_ns: Option<u64>,
    /// `ring`, `replay` or `synthetic`.
    #[schema(value_type = Option<String>)]
    source: Option<&'static str>,
    /// What a command from the bus has said that the input is now, if any has.
    announced_input: Option<Announced>,
    /// Points in which the interrogator says something else.
    announced_differs: Vec<String>,
}

/// Channels that are evenly spaced again, but lie elsewhere on the fiber.
#[derive(Debug, Serialize, ToSchema)]
struct FiberRegion {
    /// Its first channel, counted from 1.
    first_channel: usize,
    /// Metres from the instrument to that channel.
    start_m: f64,
    /// Metres from one of its channels to the next.
    dx_m: f64,
}

impl FiberRegion {
    const fn of(region: &Region) -> Self {
        Self { first_channel: region.first_channel + 1, start_m: region.start_m, dx_m: region.dx_m }
    }
}

/// What the fiber looks like now
#[utoipa::path(get, path = "/live_metadata", tag = "fiber", responses((status = 200, body = LiveMetadata)))]
async fn live_metadata(State(state): State<ApiState>) -> Json<LiveMetadata> {
    let status = &state.status;
    // One look at the phase for all fields: it may change at any time.
    let (PhaseSince { phase, since_ms }, report) = (status.phase(), status.report());
    let (word, reason) = status.outlook_of(&phase);
    let acquisition = phase.acquisition();
    let samples = acquisition.map_or(state.config.fiber.channels, |a| a.channels);
    // Channels and their places are those of the views.
    let shown = acquisition.map(|a| shown(&state.config, a));
    let exact = |length_m: fn(&Acquisition) -> f64| shown.as_ref().map(length_m).and_then(finite);
    let (start_m, end_m) = (exact(|a| a.fiber_start_m), exact(Acquisition::fiber_end_m));
    let announced = state.jobs.announced();
    let differs = announced.as_ref().zip(acquisition).zip(shown.as_ref());
    let differs = differs.map(|((announced, a), shown)| announced.differs_from(a, shown));
    Json(LiveMetadata {
        prr: acquisition.map_or(0.0, |a| a.prr.to_f64()),
        dx: exact(|a| a.dx_m).unwrap_or(0.0),
        dy: None,
        number_of_channels: channels(&state.config, acquisition.map(Arc::as_ref)),
        num_samples_per_trace: samples,
        dtype: acquisition.map_or_else(|| state.config.fiber.dtype.clone(), |a| a.sample_format.dtype().into()),
        // Rounded apart, so that the end is never at the start.
        fiber_start_meters: start_m.filter(|start| *start >= 0.0).map(|start| start.floor() as i64),
        fiber_length_meters: end_m.filter(|end| *end > 0.0).map(|end| end.ceil() as i64),
        sw_version: if acquisition.is_some() { report.version } else { WAITING },
        fiber_description: acquisition.map_or(WAITING, |a| description(&state.config, a)).to_owned(),
        state: word,
        reason,
        reason_code: match &phase {
            Phase::WaitingForFiber(reason) => Some(reason.code()),
            _ => None,
        },
        since: since_ms as f64 / 1e3,
        epoch: acquisition.map(|a| a.epoch),
        gap_count: report.gaps,
        missing_traces: report.gap_traces,
        trace_count: report.traces,
        optical_power: status.optical_power(),
        measured_prr: acquisition.and(report.prr_measured_hz).and_then(finite),
        configured_prr: report.prr_asked_hz,
        last_trace_time: report.last_trace_ms.map(|ms| ms as f64 / 1e3),
        fiber_start_m: start_m,
        fiber_end_m: end_m,
        fiber_span_m: exact(Acquisition::fiber_length_m),
        regions: shown.as_ref().map_or_else(Vec::new, |a| a.regions.iter().map(FiberRegion::of).collect()),
        gauge_length: shown.as_ref().and_then(|a| a.gauge_length_m).and_then(finite),
        quantity: shown.as_ref().map(|a| a.quantity.name()),
        unit: shown.as_ref().map(|a| a.unit.clone()),
        clock_quality: acquisition.map(|a| a.clock.name()),
        utc_uncertainty_ns: report.utc_uncertainty_ns,
        source: acquisition.map(|a| a.source.name()),
        announced_input: announced,
        announced_differs: differs.unwrap_or_default(),
    })
}

/// What the configuration says of the fiber, or else the interrogator.
fn description<'a>(config: &'a Config, acquisition: &'a Acquisition) -> &'a str {
    let configured = config.fiber.description.as_str();
    if configured.is_empty() { &acquisition.description } else { configured }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Channels as `POST /configure` counts them.
#[derive(Debug, Serialize, ToSchema)]
struct Channels {
    /// Always 1.
    lowest_channel: usize,
    /// Number of channels that views can show.
    highest_channel: usize,
}

/// The lowest and the highest channel
#[utoipa::path(get, path = "/channels", tag = "fiber", responses((status = 200, body = Channels)))]
async fn channel_range(State(state): State<ApiState>) -> Json<Channels> {
    Json(Channels { lowest_channel: 1, highest_channel: state.channels() })
}

/// Sensors as older clients count them.
#[derive(Debug, Serialize, ToSchema)]
struct Sensors {
    /// 0…N-1.
    sensors: Vec<usize>,
}

/// All sensors, for older clients
#[utoipa::path(get, path = "/sensors", tag = "older clients", responses((status = 200, body = Sensors)))]
async fn sensors(State(state): State<ApiState>) -> Response {
    static LIST: SensorList = SensorList(Mutex::new(None));
    LIST.answer(state.channels())
}

/// The list 0…N-1, written once for each N and not once for each request.
struct SensorList(Mutex<Option<(usize, Bytes)>>);

impl SensorList {
    fn answer(&self, channels: usize) -> Response {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let body = match &*kept {
            Some((known, body)) if *known == channels => body.clone(),
            _ => {
                let body = Bytes::from(json!(Sensors { sensors: (0..channels).collect() }).to_string());
                *kept = Some((channels, body.clone()));
                body
            }
        };
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// A sign of life.
#[derive(Debug, Serialize, ToSchema)]
struct Ack {
    /// Always `ok`.
    #[schema(value_type = String)]
    status: &'static str,
    /// `waiting for fiber`, `acquiring`, `stalled` or `draining`.
    #[schema(value_type = String)]
    pipeline_status: &'static str,
    uptime_sec: f64,
    #[schema(value_type = String)]
    version: &'static str,
    /// Of the newest trace or the last change of the status, seconds since the UNIX epoch.
    last_update_ts: f64,
    channels_count: usize,
}

/// A sign of life
#[utoipa::path(get, path = "/ack", tag = "daemon", responses((status = 200, body = Ack)))]
async fn ack(State(state): State<ApiState>) -> Json<Ack> {
    let report = state.status.report();
    let last_update_ms = report.since_ms.max(report.last_trace_ms.unwrap_or(0));
    Json(Ack {
        status: "ok",
        pipeline_status: report.phase,
        uptime_sec: report.uptime_s,
        version: report.version,
        last_update_ts: last_update_ms as f64 / 1e3,
        channels_count: state.channels(),
    })
}

/// Everything about the daemon in one answer, as the status messages on the bus have it
///
/// Phase, reason and conditions, source and rate, what was read, lost and published, load, broker and jobs. `fiberd
/// status` shows it to people.
#[utoipa::path(get, path = "/status", tag = "daemon", responses((status = 200, body = Object)))]
async fn status(State(state): State<ApiState>) -> Json<Report> {
    state.health.look();
    Json(state.status.report())
}

/// The process turns.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    #[schema(value_type = String)]
    status: &'static str,
    uptime_sec: f64,
    #[schema(value_type = String)]
    version: &'static str,
}

/// Liveness: the process turns
#[utoipa::path(get, path = "/healthz", tag = "daemon", responses((status = 200, body = Health)))]
async fn healthz(State(state): State<ApiState>) -> Json<Health> {
    let report = state.status.report();
    Json(Health { status: "ok", uptime_sec: report.uptime_s, version: report.version })
}

/// Whether the daemon can do its job, and what holds it back.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    #[schema(value_type = String)]
    phase: &'static str,
    /// What keeps the daemon from its job.
    reasons: Vec<String>,
    /// What does not work, although the daemon as a whole does.
    degraded: Vec<String>,
    /// Both, with since when they hold, how bad they are, and what to do.
    #[schema(value_type = Vec<Object>)]
    conditions: Vec<Condition>,
}

impl Readiness {
    fn of(state: &ApiState) -> Self {
        let conditions = state.health.look();
        let whats = |severity: Severity| {
            conditions.iter().filter(|one| one.severity == severity).map(|one| one.what.clone()).collect::<Vec<_>>()
        };
        let (reasons, degraded) = (whats(Severity::NotReady), whats(Severity::Degraded));
        let phase = state.status.outlook().0;
        Self { ready: reasons.is_empty(), phase, reasons, degraded, conditions: conditions.to_vec() }
    }
}

/// Readiness: the daemon can do its job, or what holds it back
#[utoipa::path(get, path = "/readyz", tag = "daemon",
    responses((status = 200, body = Readiness), (status = 503, body = ApiError)))]
async fn readyz(State(state): State<ApiState>) -> Response {
    let readiness = Readiness::of(&state);
    if readiness.ready {
        return Json(readiness).into_response();
    }
    let message = "the daemon goes on by itself when the reasons are gone";
    let mut refusal = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", message)
        .because(readiness.reasons.join("; "));
    refusal.status = match state.status.phase().phase {
        Phase::WaitingForFiber(_) => "waiting_for_fiber",
        Phase::Draining => "draining",
        Phase::Acquiring(_) | Phase::Stalled(_) => "standing_still",
    };
    refusal.details = json!(readiness);
    refusal.into_response()
}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "daemon",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn prometheus(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&state.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_description_goes_before_that_of_the_interrogator() {
        let (mut config, acquisition) = (Config::default(), Acquisition::example());
        assert_eq!(description(&config, &acquisition), acquisition.description);
        config.fiber.description = "from the station to the river".into();
        assert_eq!(description(&config, &acquisition), "from the station to the river");
    }
}
