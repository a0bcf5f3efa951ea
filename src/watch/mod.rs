//! `fiberd watch`: the screen of a daemon that runs elsewhere, over its control API and nothing else.
//!
//! Facts are asked for once a second over HTTP; frames come by WebSocket, as jobs of our own, in the wire format that
//! has units, times and gaps with it. The network runs on tokio (`das-watch`), the screen on the thread that calls.
//! A daemon that does not answer in the beginning is an error, one that stops answering later is waited for.

mod answers;
mod follow;
mod lines;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Client, ClientError};
use crate::status::now_ms;
use crate::terminal::{self, Facts, LogTail, Pictures, Rates, ScreenSource};

use answers::Metrics;
use follow::{JobKind, follow};

/// From one look at the facts to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the daemon may take to end our jobs before we leave; it ends them itself later.
const FAREWELL: Duration = Duration::from_secs(3);

/// What `fiberd watch` is told.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The channel of the spectrogram, from 1; `None` is the one in the middle.
    pub channel: Option<u32>,
    /// End by itself after this time.
    pub run_for: Option<Duration>,
    /// Lines of text even on a terminal.
    pub plain: bool,
}

/// Why watching is impossible.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The daemon.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// This host.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// What the network side tells the screen.
#[derive(Debug, Default)]
struct Shared {
    pictures: Arc<Pictures>,
    facts: Mutex<Facts>,
    site: Mutex<String>,
    /// Why there is no picture.
    note: Mutex<Option<String>>,
    log: LogTail,
    /// The last line of it.
    said: Mutex<String>,
}

/// Shows the daemon that `client` asks until a person leaves or `stop` is raised.
///
/// # Errors
/// When the daemon does not answer in the beginning, wants another token, or the terminal refuses.
pub fn watch(client: &Client, options: &WatchOptions, stop: &Arc<AtomicBool>) -> Result<(), WatchError> {
    let runtime = runtime().map_err(|error| WatchError::Io { what: "starting the network thread", error })?;
    let shared = Arc::<Shared>::default();
    let mut rates = Rates::default();
    let first = runtime.block_on(facts(client, &mut rates))?;
    shared.set_facts(first);
    let (stop_tx, stop_rx) = watch::channel(());
    let mut tasks = JoinSet::new();
    tasks.spawn_on(look(client.clone(), rates, Arc::clone(&shared), stop_rx.clone()), runtime.handle());
    for kind in [JobKind::Waterfall, JobKind::Channel(options.channel)] {
        tasks.spawn_on(follow(client.clone(), kind, Arc::clone(&shared), stop_rx.clone()), runtime.handle());
    }
    if let Some(run_for) = options.run_for {
        let stop = Arc::clone(stop);
        runtime.spawn(async move {
            sleep(run_for).await;
            stop.store(true, Ordering::Relaxed);
        });
    }
    let mut screen = OtherDaemon { shared: Arc::clone(&shared) };
    let shown = terminal::show(&mut screen, &shared.log, options.plain, stop);
    drop((stop_tx, stop_rx));
    runtime.block_on(async {
        // What is late is left to the daemon, which ends jobs that nobody reads.
        let _ = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} }).await;
    });
    runtime.shutdown_background();
    shown.map(drop).map_err(|error| WatchError::Io { what: "showing the screen", error })
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("das-watch").enable_all().build()
}

/// Keeps the facts true until `stop` is closed.
async fn look(client: Client, mut rates: Rates, shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    let mut silent_since = None;
    loop {
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            _ = stop.changed() => return,
        }
        match facts(&client, &mut rates).await {
            Ok(facts) => {
                if silent_since.take().is_some() {
                    shared.say("the daemon answers again");
                }
                shared.set_facts(facts);
            }
            Err(error) => {
                if silent_since.is_none() {
                    shared.say(&format!("{error}; tried again every second"));
                }
                let since = *silent_since.get_or_insert_with(Instant::now);
                // The numbers of before would pass for those of now.
                shared.set_facts(Facts {
                    address: client.url(),
                    phase: "no answer".into(),
                    reason: Some(error.to_string()),
                    held_s: since.elapsed().as_secs_f64(),
                    ..Facts::default()
                });
            }
        }
    }
}

/// Everything that is said in words, now.
async fn facts(client: &Client, rates: &mut Rates) -> Result<Facts, ClientError> {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let live = json(&client.look("/live_metadata").await?.1);
    if !live["state"].is_string() {
        return Err(client.stranger("/live_metadata names no state"));
    }
    let ready = json(&client.look("/readyz").await?.1);
    let metrics = client.look("/metrics").await?.1;
    let metrics = String::from_utf8_lossy(&metrics);
    let mut facts = answers::facts(&live, &ready, &Metrics(&metrics), now_ms());
    facts.address = client.url();
    facts.per_second = rates.per_second(Instant::now(), facts.counts);
    Ok(facts)
}

impl Shared {
    fn set_facts(&self, facts: Facts) {
        *lock(&self.facts) = facts;
    }

    /// Whether there is an acquisition, as far as is known.
    fn acquires(&self) -> bool {
        lock(&self.facts).channels.is_some()
    }

    fn set_site(&self, site: &str) {
        site.clone_into(&mut lock(&self.site));
    }

    fn set_note(&self, note: Option<String>) {
        *lock(&self.note) = note;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon elsewhere, as a screen sees it.
struct OtherDaemon {
    shared: Arc<Shared>,
}

impl ScreenSource for OtherDaemon {
    fn facts(&mut self) -> Facts {
        Facts {
            site: lock(&self.shared.site).clone(),
            no_picture: lock(&self.shared.note).clone(),
            ..lock(&self.shared.facts).clone()
        }
    }

    fn pictures(&self) -> &Pictures {
        &self.shared.pictures
    }
}
