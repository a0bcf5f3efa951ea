//! Jobs: views that clients ask for while the daemon runs. Runs on tokio (`das-io-N`), behind the fence.
//!
//! A request becomes a [`plan`] by the pure rules of [`requests`]; the [`registry`], pure as well, says whether there is
//! room ([`cost`]) and when a job ends. [`Jobs`] does what they decide: it opens the port and asks the job's player, which
//! is the pipeline that makes its lines, and takes everything back when a step fails or the job ends; what is done when a
//! limit is met is in `limits`, what jobs take of [`memory`] is reckoned there. The lines of a job go into its
//! [`feed`](crate::feed)s, from where clients read them over gRPC, WebSocket and polls, for which `rows` makes them JSON.
//! No frame is made here and none is changed.
//! [`commands`] from the bus change a job that runs; [`live`] hands frames to the broker, as many as [`send_policy`] finds
//! worth it.

mod allocator;
pub mod commands;
pub mod cost;
mod job;
mod limits;
pub mod live;
pub mod memory;
mod place;
pub mod plan;
pub mod registry;
pub mod requests;
mod rows;
pub mod send_policy;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use crate::config::Config;
use crate::feed::{Feed, Share, Tally};
use crate::frame::Frame;
use crate::log_limit::LogLimit;
use crate::pipeline::control::{Control, EndedJob};
use crate::refusal::{Limit, Refusal};
use crate::status::{Status, now_ms};
use crate::streams::grpc::GrpcPorts;
use allocator::{GiveBack, give_back};
use commands::input::Announced;
use cost::Transform;
pub use job::{Job, Settings};
use live::{LiveFrame, LiveQueue};
use place::Place;
use plan::{Address, JobPlan};
use registry::{Ended, How, Limits, Registry, Seen};
use requests::facts::Facts;
use rows::Answers;
pub use rows::{PolledRows, SensorLine, WaterfallBlock, WaterfallRow};

/// How long the pipeline may take to answer; it does so between two blocks.
const PIPELINE_TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long who reads a job may take to read to its end; then the connection is cut.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// How often idle jobs are looked for.
const SWEEP: Duration = Duration::from_millis(250);

/// Rows in answers under way may hold this share of the memory of jobs.
const ANSWERS_SHARE: u64 = 16;

/// All jobs. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    /// The player of live jobs.
    live_player: Control,
    status: Arc<Status>,
    config: Config,
    site: Arc<str>,
    host: IpAddr,
    grpc: GrpcPorts,
    public_host: Option<String>,
    scheme: &'static str,
    origin: Instant,
    registry: Mutex<Registry>,
    /// Jobs that run or are being started.
    live: RwLock<HashMap<String, Arc<Job>>>,
    /// What a command has said of the input.
    announced: Mutex<Option<Announced>>,
    /// Lines that readers of jobs that have ended were too slow for.
    lines_lost_before: AtomicU64,
    /// Of what readers may be behind.
    share: Arc<Share>,
    /// What becomes of values as float16.
    tally: Arc<Tally>,
    /// To clients that poll.
    answers: Answers,
    refusals: LogLimit,
    /// To the broker.
    broker: LiveQueue,
}

/// What a poll finds.
#[derive(Debug)]
pub enum Poll {
    /// Rows.
    Rows(PolledRows),
    /// None yet.
    Nothing,
    /// None any more.
    Ended,
    /// No such job.
    Unknown,
    /// Answers that are under way hold as much memory as they may.
    Full,
}

/// How it stands with a job.
pub enum Standing {
    /// It is there.
    Live(Arc<Job>),
    /// It was.
    Ended(Ended),
}

impl Jobs {
    /// No jobs yet; `live_player` will be asked for their lines, which are read at ports of `grpc`.
    pub fn new(config: &Config, status: Arc<Status>, live_player: Control, grpc: GrpcPorts) -> Self {
        let standing = config.views.iter().map(Transform::of_view).collect();
        // No id of a daemon before this one comes again, unless that made more than one job a second all its life.
        let counter = u64::try_from(now_ms() / 1000).unwrap_or_default();
        let registry = Registry::new(Limits::from(&config.jobs), standing, counter);
        let shared = Shared {
            broker: LiveQueue::new(Arc::clone(&status.counters.job_frames)),
            config: config.clone(),
            live_player,
            status,
            site: config.site.as_str().into(),
            host: config.http.listen.ip(),
            grpc,
            share: Arc::default(),
            tally: Arc::default(),
            answers: Answers::new(usize::try_from(config.jobs.memory_bytes / ANSWERS_SHARE).unwrap_or(usize::MAX)),
            refusals: LogLimit::minute(),
            scheme: if config.http.tls.is_some() { "https" } else { "http" },
            public_host: config.http.public_host.clone(),
            origin: Instant::now(),
            registry: Mutex::new(registry),
            live: RwLock::default(),
            announced: Mutex::default(),
            lines_lost_before: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Starts a job, whole or not at all. `name` is its id when its client gives one: a job that the same name was given
    /// to ends first. `host` is what the client calls this machine.
    ///
    /// # Errors
    /// When there is no room for it, or the pipeline cannot have it.
    pub async fn start(&self, plan: JobPlan, name: Option<String>, host: Option<String>) -> Result<Arc<Job>, Refusal> {
        let jobs = self.clone();
        // In a task of its own: a client that leaves must not leave half a job.
        let starting = tokio::spawn(async move { jobs.start_whole(plan, name, host).await });
        let started = starting.await.unwrap_or(Err(Refusal::Busy));
        if let Err(refusal) = &started {
            self.shared.status.counters.jobs.refused.add(1);
            self.say_refused(refusal);
        }
        started
    }

    async fn start_whole(
        &self,
        plan: JobPlan,
        name: Option<String>,
        host: Option<String>,
    ) -> Result<Arc<Job>, Refusal> {
        if let Some(name) = name.as_deref().filter(|name| self.registry().is_named(name)) {
            self.end(name, How::Cancelled, "configured anew").await;
        }
        let cost = plan.cost(self.shared.live_player.rates());
        self.make_room(&cost).await;
        let load = self.measured_load();
        let id = self.registry().reserve(self.now(), cost, name.as_deref(), load)?;
        self.share_memory();
        let mut place = Place { jobs: self, id: &id, filled: false };
        let started = self.start_reserved(&id, plan, host).await;
        place.filled = started.is_ok();
        drop(place);
        started
    }

    async fn start_reserved(&self, id: &str, plan: JobPlan, host: Option<String>) -> Result<Arc<Job>, Refusal> {
        let views = plan.views(id);
        let Shared { site, share, tally, .. } = &*self.shared;
        let feeds = Feed::of_job_within(site, plan.feed_limits(), views.len(), share, tally);
        let grpc_port = self.shared.grpc.open_port(feeds.clone()).await.map_err(|error| {
            warn!(%error, "no port for the streams of a job");
            Refusal::Over(Limit::Ports(self.registry().port_count()))
        })?;
        let host = self.shared.public_host.clone().or(host).unwrap_or_else(|| self.own_host());
        let address = Address { scheme: self.shared.scheme, host, port: grpc_port.port };
        let job = Arc::new(Job::new(
            id.to_owned(),
            plan,
            self.shared.live_player.clone(),
            feeds,
            address,
            grpc_port,
            Arc::clone(&self.shared.share),
        ));
        // Before the pipeline knows it: its first frame may come before the answer.
        self.live_mut().insert(id.to_owned(), Arc::clone(&job));
        let opened = tokio::time::timeout(PIPELINE_TIME_LIMIT, job.player.open(id, views)).await;
        let refusal = match opened {
            Ok(Ok(opened)) => {
                self.registry().started(id, self.now());
                self.shared.status.counters.jobs.started.add(1);
                job.begin_in(&opened);
                job.run(self.now());
                debug!(job = id, first_trace = opened.first_trace, port = job.address.port, "a job has started");
                return Ok(job);
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                // It may still be started when nobody waits for it any more.
                let _ = tokio::time::timeout(PIPELINE_TIME_LIMIT, job.player.close(id)).await;
                Refusal::Busy
            }
        };
        self.take_apart(&job).await;
        debug!(job = id, ?refusal, "a job was not started");
        Err(refusal)
    }

    /// Ends a job; whether there was one to end. When this returns, everything of it is gone.
    pub async fn end(&self, id: &str, how: How, reason: &str) -> bool {
        if !self.live().get(id).is_some_and(|job| job.is_running()) || !self.registry().begin_end(id) {
            return false;
        }
        let (jobs, id, reason) = (self.clone(), id.to_owned(), reason.to_owned());
        tokio::spawn(async move { jobs.end_whole(&id, how, reason).await }).await.is_ok()
    }

    async fn end_whole(&self, id: &str, how: How, reason: String) {
        let job = self.live().get(id).cloned();
        // A change that is under way comes to its end first.
        let _turn = match &job {
            Some(job) => Some(job.turn.lock().await),
            None => None,
        };
        if let Some(job) = &job {
            // When the player is gone, so is its part of the job.
            let _ = tokio::time::timeout(PIPELINE_TIME_LIMIT, job.player.close(id)).await;
            self.take_apart(job).await;
            let (view_type, created_ms) = (job.plan().view() as u8, job.created_ms);
            debug!(job = id, ?how, reason, "a job has ended");
            let ended = Ended { id: id.to_owned(), how, reason, view_type, created_ms, ended_ms: now_ms() };
            self.registry().remember(self.now(), ended);
            self.shared.status.counters.jobs.ended.add(1);
            self.shared.lines_lost_before.fetch_add(job.lines_lost(), Ordering::Relaxed);
        }
        self.registry().release(id);
    }

    /// Takes away what clients see of a job.
    async fn take_apart(&self, job: &Job) {
        self.live_mut().remove(&job.id);
        job.feeds.iter().for_each(|feed| feed.end());
        if let Some(port) = job.take_port() {
            port.close(CLOSE_GRACE).await;
        }
    }

    /// Ends all jobs, because the daemon is stopping.
    pub async fn end_all(&self) {
        let ids: Vec<_> = self.live().keys().cloned().collect();
        let ending = ids.iter().map(|id| self.end(id, How::Completed, "the daemon is stopping"));
        futures_util::future::join_all(ending).await;
    }

    /// Ends jobs that nobody looks at, until `stop` comes, and then all of them.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut sweeps = tokio::time::interval(SWEEP);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut memory = GiveBack::default();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = sweeps.tick() => {
                    self.sweep();
                    if memory.is_due(self.now(), self.live().len()) {
                        tokio::task::spawn_blocking(give_back);
                    }
                }
                ended = self.shared.live_player.ended() => self.follow(ended),
            }
        }
        self.end_all().await;
    }

    /// The pipeline has ended a job by itself: everything else of it goes as well.
    fn follow(&self, ended: EndedJob) {
        let jobs = self.clone();
        tokio::spawn(async move {
            // One that is still being started, or about to end, is so for a moment only.
            while jobs.holds(&ended.job) && !jobs.end(&ended.job, How::Failed, &ended.reason).await {
                tokio::time::sleep(SWEEP).await;
            }
        });
    }

    /// Whether there is anything of a job.
    fn holds(&self, id: &str) -> bool {
        self.live().contains_key(id)
    }

    /// Share of real time that the pipeline needs at present, and will need when all windows are full.
    fn measured_load(&self) -> f64 {
        let counters = &self.shared.status.counters;
        self.registry().planned_anew(self.now(), counters.pipeline.plans.get());
        counters.pipeline.load.get().max(counters.pipeline.demand.get())
    }

    fn sweep(&self) {
        self.measured_load();
        self.end_misfits();
        // In this order a job that ends meanwhile is missing until the next time, and not counted twice.
        let before = self.shared.lines_lost_before.load(Ordering::Relaxed);
        let lost: u64 = self.live().values().map(|job| job.lines_lost()).sum();
        self.shared.status.counters.jobs.lines_lost.raise_to(before + lost);
        self.tell_tally();
        let idle = {
            let live = self.live();
            let look = |id: &str| live.get(id).map_or_else(Seen::default, |job| job.seen());
            self.registry().idle(self.now(), look)
        };
        for id in idle {
            let jobs = self.clone();
            tokio::spawn(async move { jobs.end(&id, How::Completed, "nobody was looking").await });
        }
        let since = self.now().saturating_sub(self.shared.config.jobs.live_idle);
        self.live().values().for_each(|job| job.forget_polls(since));
        self.share_memory();
    }

    /// Takes a frame whose stream belongs to a job; whether that job is there.
    pub fn deliver(&self, frame: Frame) -> bool {
        let Some(job) = self.live().get(&frame.stream.job).cloned() else { return false };
        let stream = frame.stream.number as usize;
        let Some(feed) = job.feeds.get(stream) else { return false };
        if let Some(frame) = feed.keep(frame) {
            let frame = LiveFrame { job: Arc::clone(&job), frame };
            self.shared.broker.offer(frame, || job.pass(stream, self.now()));
        }
        true
    }

    /// Frames that wait for the broker.
    pub fn broker(&self) -> &LiveQueue {
        &self.shared.broker
    }

    /// What is known of the fiber now.
    pub fn facts(&self) -> Facts {
        Facts::of(&self.shared.status.phase().phase, &self.shared.config)
    }

    /// What the last command about the input has said.
    pub fn announced(&self) -> Option<Announced> {
        self.shared.announced.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A job that runs, for whoever reads its feeds. Does not count as looking at it.
    pub fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.live().get(id).filter(|job| job.is_running()).cloned()
    }

    /// A job that runs, kept alive by this.
    pub fn touch(&self, id: &str) -> Option<Arc<Job>> {
        let job = self.get(id)?;
        job.touch(self.now());
        Some(job)
    }

    /// How it stands with a job, also when it has ended a short while ago.
    pub fn standing(&self, id: &str) -> Option<Standing> {
        let live = self.live().get(id).cloned().map(Standing::Live);
        live.or_else(|| self.registry().ended(id).cloned().map(Standing::Ended))
    }

    /// Every job, in order of age.
    pub fn list(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.live().values().cloned().collect();
        jobs.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        jobs
    }

    /// Up to `rows` rows of a job that were not polled before.
    pub fn poll(&self, id: &str, rows: usize) -> Poll {
        let Some(job) = self.touch(id) else {
            return match self.registry().ended(id) {
                Some(ended) if ended.how != How::Cancelled => Poll::Ended,
                _ => Poll::Unknown,
            };
        };
        match job.poll(self.now(), rows, &self.shared.answers) {
            Some((Some(block), _)) => Poll::Rows(block),
            Some((None, true)) => Poll::Ended,
            Some((None, false)) => Poll::Nothing,
            None => {
                self.shared.status.counters.jobs.polls_refused.add(1);
                Poll::Full
            }
        }
    }

    fn own_host(&self) -> String {
        match self.shared.host {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }

    fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.shared.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Job>>> {
        self.shared.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<Job>>> {
        self.shared.live.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
