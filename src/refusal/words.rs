//! Reasons as clients see them: the status codes of the contract, and its words.

use axum::http::StatusCode;
use serde_json::json;

use super::{ApiError, Broken, Fault, FieldProblem, Limit, Never, Refusal};

/// What live metadata says of version and description in the dark.
const WAITING: &str = "waiting for fiber";

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fields(faults) => fields(faults),
            Refusal::Rule(broken) => rule(broken),
            Refusal::Waiting => waiting(),
            Refusal::NoMetadata => {
                let error = "The fiber's metadata are not available yet";
                let reason = "the daemon has just begun to look for the interrogator";
                unavailable("metadata_unavailable", "metadata_unavailable", error, 1).because(reason)
            }
            Refusal::Draining => {
                let reason = "the daemon is stopping, or its replay has ended";
                unavailable("draining", "draining", "No more jobs are started", 5).because(reason)
            }
            Refusal::Busy => {
                let reason = "the pipeline does not answer";
                unavailable("pipeline_busy", "pipeline_busy", "The job could not be started", 1).because(reason)
            }
            Refusal::NothingRecorded => {
                let error = "No recording found in given time range";
                let advice = "ask for the recordings that there are: POST /recordings_in_time_range";
                Self::new(StatusCode::NOT_FOUND, "nothing_recorded", error, advice)
            }
            Refusal::Over(limit) => over(limit),
            Refusal::Never(never) => above(never),
            Refusal::Taken => {
                let error = "A job has this id already";
                let advice = "take another task id, or end that job first";
                Self::new(StatusCode::CONFLICT, "id_taken", error, advice)
            }
            Refusal::UnknownJob => unknown_job(),
            Refusal::NotConditioned(why) => {
                let error = "Cannot configure job: the acquisition cannot be conditioned as configured";
                let advice = "the operator of this daemon corrects [processing], or what the interrogator declares";
                let mut refusal = Self::new(StatusCode::BAD_REQUEST, "not_conditioned", error, advice).because(why);
                refusal.status = "conditioning_impossible";
                refusal
            }
            Refusal::DoesNotFit(why) => {
                let error = "The job cannot be made from this acquisition";
                let advice = "compare it with /live_metadata and /channels";
                Self::new(StatusCode::BAD_REQUEST, "does_not_fit", error, advice).because(why)
            }
        }
    }
}

fn fields(faults: Vec<Fault>) -> ApiError {
    let reasons: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.msg)).collect();
    let error = "Invalid request body";
    let advice = "correct the fields that `detail` names";
    let mut refusal = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", error, advice);
    refusal.reason = Some(reasons.join("; "));
    let problem = |Fault { field, msg, kind }| FieldProblem {
        loc: std::iter::once("body").chain(field.split('.')).map(str::to_owned).collect(),
        msg,
        kind,
    };
    refusal.detail = faults.into_iter().map(problem).collect();
    refusal
}

fn rule(Broken { code, field, error, reason, advice }: Broken) -> ApiError {
    let mut refusal = ApiError::new(StatusCode::BAD_REQUEST, code, error, advice).because(reason);
    refusal.details = json!({ "field": field });
    refusal
}

/// A 400 and no 503: usual clients would try that again blindly, and hide what it says.
fn waiting() -> ApiError {
    let advice = "wait until /live_metadata shows a prr above 0, and then ask again";
    let error = "Cannot configure job: waiting for fiber";
    let mut refusal = ApiError::new(StatusCode::BAD_REQUEST, "waiting_for_fiber", error, advice);
    refusal.reason = Some("Missing required fiber metadata fields: prr".into());
    refusal.status = "waiting_for_fiber";
    refusal.details = json!({ "prr": 0.0, "sw_version": WAITING, "fiber_description": WAITING });
    refusal
}

fn unavailable(code: &'static str, status: &'static str, error: &str, retry_after_s: u32) -> ApiError {
    let advice = format!("ask again in {retry_after_s} s");
    let mut refusal = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, error, advice);
    refusal.status = status;
    refusal.retry_after_s = Some(retry_after_s);
    refusal
}

fn over(limit: Limit) -> ApiError {
    let (name, most, words) = match limit {
        Limit::Jobs(jobs) => ("max_jobs", jobs as u64, format!("{jobs} jobs run already, as many as may")),
        Limit::Load(percent) => {
            ("max_load", u64::from(percent), format!("the pipeline would need more than {percent} % of real time"))
        }
        Limit::Memory(mib) => ("memory_mib", mib, format!("jobs would need more than {mib} MiB")),
        Limit::Ports(ports) => ("ports", ports as u64, format!("none of the {ports} ports for streams is free")),
    };
    let error = "No room for another job";
    let advice = "end jobs that nobody looks at, or ask for fewer channels, frequencies or lines";
    let mut refusal = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "over_limit", error, advice).because(words);
    refusal.status = "over_limit";
    refusal.details = json!({ "limit": name, "most": most });
    refusal.retry_after_s = Some(5);
    refusal
}

/// A 400 and no 429: it is of no use to ask the same again, and usual clients would, and hide what it says.
fn above(never: Never) -> ApiError {
    let (limit, unit, wanted, allowed, lower) = match never {
        Never::Memory { wanted, allowed, transforms: true } => {
            ("memory_mib", "MiB", wanted, allowed, &["nfftSelection", "channels"][..])
        }
        Never::Memory { wanted, allowed, transforms: false } => {
            ("memory_mib", "MiB", wanted, allowed, &["channels", "nfftSelection", "frequencyRange"][..])
        }
        Never::Load { wanted, allowed, transforms: true } => {
            ("max_load", "% of real time", wanted, allowed, &["displayInfo.height", "nfftSelection", "channels"][..])
        }
        Never::Load { wanted, allowed, transforms: false } => {
            ("max_load", "% of real time", wanted, allowed, &["displayInfo.height", "channels", "frequencyRange"][..])
        }
    };
    let error = "The job asks for more than this daemon could ever give";
    let reason = format!("it needs {wanted} {unit}, and all jobs together may take {allowed} {unit}");
    let advice = format!("lower {}", lower.join(", or "));
    let mut refusal = ApiError::new(StatusCode::BAD_REQUEST, "above_limit", error, advice).because(reason);
    refusal.status = "above_limit";
    refusal.details = json!({ "limit": limit, "unit": unit, "wanted": wanted, "allowed": allowed, "lower": lower });
    refusal
}

/// 404 for an id that nobody has.
pub(crate) fn unknown_job() -> ApiError {
    let advice = "GET /jobs lists the jobs that run";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_job", "Invalid job_id", advice).because("there is no such job")
}
