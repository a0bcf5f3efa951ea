//! One picture of a daemon, for as long as somebody looks: asks for a job, reads its frames, and begins again whenever
//! the job or the daemon ends. Runs on tokio.
//!
//! The job is cancelled when this ends. Should it end without that, the daemon ends the job itself after some seconds
//! without a reader.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::lines::Joiner;
use super::{Shared, lock};
use crate::client::{Client, ClientError, Socket};
use crate::wire::{Decoded, decode};

/// From one attempt to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// The same when the daemon has refused: what is in the way seldom goes quickly.
const PAUSE_REFUSED: Duration = Duration::from_secs(5);

/// Nothing of a daemon for so long: it, or the way to it, is gone. It asks for a sign of life every 20 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(45);

/// Lines of a client's display, as the API wants to be told; pictures here keep no more.
const DISPLAY_LINES: u32 = 200;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum JobKind {
    /// The waterfall of the whole fiber.
    Waterfall,
    /// The spectrogram of this channel, from 1; `None` is the one in the middle.
    Channel(Option<u32>),
}

impl JobKind {
    /// Body of `POST /configure` on a fiber with so many channels; the first channel from 0, and behind the last.
    fn request(self, channels: u32) -> (Value, u32, u32) {
        match self {
            Self::Waterfall => {
                let body = json!({
                    "view_type": 2,
                    "channels": { "min": 1, "max": channels },
                    "displayInfo": { "height": DISPLAY_LINES },
                });
                (body, 0, channels)
            }
            Self::Channel(channel) => {
                let channel = channel.unwrap_or(channels / 2 + 1);
                let body = json!({
                    "view_type": 1,
                    "channels": { "min": channel, "max": channel },
                    "displayInfo": { "height": DISPLAY_LINES },
                    "displayTimeAxisDuration": 20,
                    "nfftSelection": 1024,
                });
                (body, channel - 1, channel)
            }
        }
    }
}

/// A job that this process has asked for.
struct Job {
    id: String,
    streams: usize,
    first: u32,
    end: u32,
}

/// Follows until `stop` is closed.
pub(super) async fn follow(client: Client, kind: JobKind, shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    loop {
        let mut job = None;
        let outcome = tokio::select! {
            outcome = one_job(&client, kind, &shared, &mut job) => outcome,
            _ = stop.changed() => Ok(()),
        };
        if let Some(job) = job {
            // It may have ended by itself, or with its daemon.
            let _ = client.json(Method::DELETE, &format!("/job/{}", job.id), String::new()).await;
        }
        let refused = matches!(outcome, Err(ClientError::RoleNeeded | ClientError::Refused(_)));
        let words = outcome.err().map(|error| error.to_string());
        if let Some(words) = &words {
            shared.say(words);
        }
        shared.set_note(words.filter(|_| refused));
        tokio::select! {
            () = sleep(if refused { PAUSE_REFUSED } else { PAUSE }) => {}
            _ = stop.changed() => {}
        }
        if stop.has_changed().is_err() {
            return;
        }
    }
}

/// Asks for a job, whose id is in `job` from then on, and reads it to its end.
async fn one_job(client: &Client, kind: JobKind, shared: &Shared, job: &mut Option<Job>) -> Result<(), ClientError> {
    if !shared.acquires() {
        // Without a signal every job is refused.
        return Ok(());
    }
    let channels = client.json(Method::GET, "/channels", String::new()).await?;
    let channels = channels["highest_channel"].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let channels = channels.ok_or_else(|| client.stranger("/channels names no channel"))?;
    let (body, first, end) = kind.request(channels);
    let answer = client.json(Method::POST, "/configure", body.to_string()).await?;
    let (id, streams) = (answer["job_id"].as_str(), answer["stream_amount"].as_u64());
    let (Some(id), Some(streams)) = (id, streams) else {
        return Err(client.stranger("/configure describes no job"));
    };
    let job = job.insert(Job { id: id.to_owned(), streams: streams as usize, first, end });
    let socket = client.websocket(&format!("/ws/{id}")).await?;
    shared.set_note(None);
    read(socket, job, shared).await;
    Ok(())
}

/// Reads frames until the job ends, its connection breaks, or the interrogator begins another acquisition, which may
/// have other channels.
async fn read(mut socket: Socket, job: &Job, shared: &Shared) {
    let mut joiner = Joiner::new(job.streams, job.first, job.end);
    let (mut epoch, mut slow) = (None, false);
    while let Ok(Some(Ok(message))) = timeout(SILENCE_LIMIT, socket.next()).await {
        match message {
            Message::Binary(bytes) => match decode(&bytes) {
                Ok(frame) if *epoch.get_or_insert(frame.header.epoch) == frame.header.epoch => {
                    take(&frame, &mut joiner, shared);
                }
                Ok(_) => return,
                Err(error) => shared.say(&format!("a frame cannot be read: {error}")),
            },
            Message::Text(event) if event.contains("\"lost\"") => {
                if !slow {
                    shared.say("this host, or the way to it, is too slow: lines are left out");
                }
                slow = true;
            }
            Message::Text(_) | Message::Close(_) => return,
            _ => {}
        }
    }
}

fn take(frame: &Decoded<'_>, joiner: &mut Joiner, shared: &Shared) {
    shared.set_site(frame.site());
    joiner.take(frame, &shared.pictures);
}

impl Shared {
    /// A line of the log, when it says another thing than the one before.
    pub(super) fn say(&self, words: &str) {
        if std::mem::replace(&mut *lock(&self.said), words.to_owned()) == words {
            return;
        }
        let time = jiff::Timestamp::now().strftime("%H:%M:%S");
        // Without stderr there is nobody to tell.
        let _ = writeln!(self.log.clone(), "{time} {words}");
    }
}
