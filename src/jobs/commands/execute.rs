//! What commands do to the jobs that they are for, and what is answered. Knows neither broker nor messages.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};
use tracing::{debug, info, warn};

use super::command::Command;
use super::input::{Announced, unfit};
use super::region;
use crate::jobs::registry::How;
use crate::jobs::requests::facts::shown;
use crate::jobs::{Job, Jobs, PIPELINE_TIME_LIMIT};
use crate::pipeline::control::Opened;
use crate::refusal::Refusal;

/// That a command was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done {
    /// Always `ok`.
    pub status: &'static str,
    /// Its type.
    pub command: &'static str,
    /// The job that it was for.
    pub job_id: Option<String>,
    /// What came of it.
    pub details: Value,
}

impl Jobs {
    /// Does `command`; `id` is the job that it is for, when it is for one.
    ///
    /// # Errors
    /// Why not; then everything is as it was.
    pub async fn execute(&self, command: Command, id: Option<&str>) -> Result<Done, Refusal> {
        let name = command.name();
        let job = || id.and_then(|id| self.get(id)).ok_or(Refusal::UnknownJob);
        let details = match command {
            Command::Keepalive { source } => {
                let job = job()?;
                self.touch(&job.id);
                debug!(job = job.id, source, "kept alive");
                json!({})
            }
            Command::Region(channels) => self.change_channels(&job()?.id, channels).await?,
            Command::Colormap(map) => {
                job()?.settings_mut().picture.colormap = Some(map);
                json!({ "colormap": map })
            }
            Command::Caxis(caxis) => {
                job()?.settings_mut().picture.caxis = Some(caxis);
                json!({ "caxis": caxis })
            }
            Command::MonitorQueues(queues) => {
                job()?.settings_mut().monitored_queues = queues.as_slice().into();
                json!({ "queues_to_monitor": queues })
            }
            Command::InputChanged(announced) => self.input_changed(announced).await,
        };
        Ok(Done { status: "ok", command: name, job_id: id.map(str::to_owned), details })
    }

    /// A job shows `channels`, from 0, in place of its own, from one line to the next. Its streams stay as many.
    ///
    /// # Errors
    /// Why not; then it shows what it showed.
    pub async fn change_channels(&self, id: &str, channels: Range<usize>) -> Result<Value, Refusal> {
        let job = self.get(id).ok_or(Refusal::UnknownJob)?;
        let jobs = self.clone();
        // In a task of its own: whoever does not wait any more must not leave half a change.
        let changing = tokio::spawn(async move { jobs.change_whole(&job, channels).await });
        changing.await.unwrap_or(Err(Refusal::Busy))
    }

    async fn change_whole(&self, job: &Arc<Job>, channels: Range<usize>) -> Result<Value, Refusal> {
        let turn = job.turn.lock().await;
        let here = self.get(&job.id).is_some_and(|there| Arc::ptr_eq(&there, job));
        if !here || self.registry().is_ending(&job.id) {
            return Err(Refusal::UnknownJob);
        }
        let plan = region::change(&job.plan(), channels.clone(), &self.facts())?;
        let (cost, load) = (plan.cost(job.player.rates()), self.measured_load());
        let before = self.registry().exchange(self.now(), &job.id, cost, load).map_err(Refusal::Over)?;
        let opening = job.player.open(&job.id, plan.views(&job.id));
        let refusal = match tokio::time::timeout(PIPELINE_TIME_LIMIT, opening).await {
            Ok(Ok(Opened { epoch, first_trace, .. })) => {
                let streams = plan.stream_count;
                job.become_of(plan);
                debug!(job = job.id, ?channels, first_trace, "a job shows other channels");
                let (start, end) = (channels.start, channels.end);
                return Ok(json!({
                    "start": start, "end": end, "epoch": epoch, "first_trace": first_trace, "stream_amount": streams,
                }));
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                drop(turn);
                // The pipeline ends a job whose change nobody waits for any more.
                warn!(job = job.id, "the pipeline does not answer: a job ends");
                self.end(&job.id, How::Failed, "the pipeline did not answer").await;
                return Err(Refusal::Busy);
            }
        };
        if let Some(before) = before {
            self.registry().restore(&job.id, before);
        }
        Err(refusal)
    }

    /// Keeps what is said of the input, and ends jobs that the fiber at hand cannot serve as their clients were told.
    async fn input_changed(&self, announced: Announced) -> Value {
        let phase = self.shared.status.phase().phase;
        let acquisition = phase.acquisition();
        let config = &self.shared.config;
        let differs = acquisition.map(|acquisition| announced.differs_from(acquisition, &shown(config, acquisition)));
        let differs = differs.unwrap_or_default();
        info!(?announced, ?differs, "the input is said to have changed");
        *self.shared.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(announced);
        let mut ended = Vec::new();
        for job in self.list() {
            let unfit = |acquisition| unfit(&job.plan(), acquisition, &shown(config, acquisition));
            let Some(why) = acquisition.map(Arc::as_ref).and_then(unfit) else { continue };
            if self.end(&job.id, How::Failed, &why).await {
                ended.push(job.id.clone());
            }
        }
        json!({ "state": phase.name(), "differs": differs, "jobs_ended": ended })
    }

    /// Ends the jobs that the acquisition at hand cannot serve as they were described to their clients.
    pub(in crate::jobs) fn end_misfits(&self) {
        let phase = self.shared.status.phase().phase;
        let Some(acquisition) = phase.acquisition() else { return };
        let shown = shown(&self.shared.config, acquisition);
        for job in self.list().into_iter().filter(|job| job.is_running()) {
            let Some(why) = unfit(&job.plan(), acquisition, &shown) else { continue };
            let jobs = self.clone();
            tokio::spawn(async move { jobs.end(&job.id, How::Failed, &why).await });
        }
    }
}
