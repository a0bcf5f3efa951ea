//! One job as its client has it: what was asked for, what was promised, and who reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use half::f16;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::check::{Check, Promise, is_sampled, line_of};
use crate::grpc::{Call, Connection, Fault};
use crate::http::Http;
use crate::rig::Rig;
use crate::tally::{Tally, now_ms};

/// A display asks again after this time.
const POLL_PAUSE: Duration = Duration::from_millis(500);
const ROWS_A_POLL: usize = 1000;
/// Seconds on the time axis of a display.
const AXIS_S: f64 = 10.0;
/// A stream whose newest line is older at its end has stood still.
const SILENT_MS: i64 = 15_000;

/// What a client wants to see.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The same for all who want the same.
    pub settings: usize,
    /// 0 several channels, 1 a single channel, 2 waterfall.
    pub view: u8,
    pub channels: RangeInclusive<usize>,
    pub nfft: usize,
    pub max_hz: f64,
    pub lines_per_s: f64,
}

impl Wish {
    pub fn body(&self) -> String {
        let (min, max, height) = (self.channels.start(), self.channels.end(), (self.lines_per_s * AXIS_S).round());
        let mut body = format!(
            "{{\"view_type\":{},\"channels\":{{\"min\":{min},\"max\":{max}}},\"displayInfo\":{{\"height\":{height}}}",
            self.view
        );
        if self.view != 2 {
            let _ = write!(
                body,
                ",\"displayTimeAxisDuration\":{AXIS_S},\"nfftSelection\":{},\"frequencyRange\":{{\"min\":0,\"max\":{}}}",
                self.nfft, self.max_hz
            );
        }
        body + "}"
    }
}

/// The answer to `/configure`.
#[derive(Debug, Deserialize)]
struct Described {
    job_id: String,
    view_type: u8,
    channel_amount: usize,
    frequencies_amount: usize,
    frequencies_list: Vec<f64>,
    stream_amount: usize,
    lines_dt: f64,
    channel_to_stream_index: BTreeMap<usize, usize>,
    stream_url: String,
    stream_port: u16,
}

pub struct Job {
    pub id: String,
    pub wish: Wish,
    pub promises: Vec<Promise>,
    /// Host and port of the streams.
    pub authority: String,
    pub line_ms: f64,
    /// Its client is about to end it, or has.
    ending: AtomicBool,
}

/// A refusal is no fault of the daemon: there was no room.
pub enum Refused {
    NoRoom(String),
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

impl Job {
    /// Asks for it; returns it with the time that the answer took.
    pub async fn configure(http: &mut Http, wish: &Wish) -> Result<(Self, f64), Refused> {
        let body = wish.body();
        let began = Instant::now();
        let answer = http.ask("POST", "/configure", &body).await?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        match answer.status {
            200 => Ok((Self::described(wish, serde_json::from_slice(&answer.body)?)?, ms)),
            429 => Err(Refused::NoRoom(answer.text())),
            status => Err(format!("/configure: {status}: {}", answer.text()).into()),
        }
    }

    fn described(wish: &Wish, told: Described) -> Result<Self, Fault> {
        let (channels, streams) = (wish.channels.clone().count(), 3.min(wish.channels.clone().count()));
        let right = told.view_type == wish.view
            && told.channel_amount == channels
            && told.channel_to_stream_index.keys().copied().eq(wish.channels.clone())
            && told.frequencies_list.len() == told.frequencies_amount
            && told.stream_amount == streams
            && (wish.view == 2 || (told.lines_dt - 1.0 / wish.lines_per_s).abs() < 1e-9);
        if !right {
            return Err(format!("{wish:?} was answered with {told:?}").into());
        }
        let (bins, line_ms) = (if wish.view == 2 { 1 } else { told.frequencies_amount }, told.lines_dt * 1e3);
        let promise = |stream: usize| {
            let of = told.channel_to_stream_index.iter().filter(|(_, s)| **s == stream).map(|(channel, _)| *channel);
            let (min, max) = (of.clone().min()?, of.max()?);
            Some(Promise { stream, channels: min..=max, bins, line_ms })
        };
        let promises: Option<Vec<_>> = (0..streams).map(promise).collect();
        let host = told.stream_url.strip_prefix("http://").unwrap_or(&told.stream_url);
        Ok(Self {
            authority: format!("{host}:{}", told.stream_port),
            id: told.job_id,
            wish: wish.clone(),
            promises: promises.ok_or("a stream without a channel")?,
            line_ms,
            ending: AtomicBool::new(false),
        })
    }

    /// Ends it; whoever reads it comes to the end of its streams.
    pub async fn cancel(&self, http: &mut Http) -> Result<f64, Fault> {
        self.ending.store(true, Ordering::Relaxed);
        let began = Instant::now();
        let answer = http.ask("DELETE", &format!("/job/{}", self.id), "").await?;
        match answer.status {
            200 => Ok(began.elapsed().as_secs_f64() * 1e3),
            status => Err(format!("DELETE /job: {status}: {}", answer.text()).into()),
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

/// A job with its readers.
pub struct Live {
    pub job: Arc<Job>,
    /// Cut when this is dropped.
    connections: Vec<Connection>,
    readers: Vec<JoinHandle<()>>,
}

/// Who reads a job.
#[derive(Clone, Copy)]
pub struct Readers {
    /// gRPC clients, each with every stream.
    pub grpc: usize,
    pub polls: bool,
}

impl Live {
    pub async fn open(job: Job, readers: Readers, rig: &Rig, tally: &Arc<Tally>) -> Result<Self, Fault> {
        let mut live = Self { job: Arc::new(job), connections: Vec::new(), readers: Vec::new() };
        for _ in 0..readers.grpc {
            let connection = Connection::open(&live.job.authority).await?;
            for promise in &live.job.promises {
                let call = connection.call(promise.stream).await?;
                let reader = read(Arc::clone(&live.job), promise.clone(), call, Arc::clone(tally));
                live.readers.push(tokio::spawn(reader));
            }
            live.connections.push(connection);
        }
        if readers.polls {
            let poller = poll(Arc::clone(&live.job), Http::new(rig.http_address), Arc::clone(tally));
            live.readers.push(tokio::spawn(poller));
        }
        Ok(live)
    }

    /// Ends the job and waits until its readers have read to the end.
    pub async fn close(self, http: &mut Http, tally: &Tally) -> Option<f64> {
        let ended = self.job.cancel(http).await;
        for reader in self.readers {
            let _ = reader.await;
        }
        ended.map_err(|error| tally.fault("ending a job", error)).ok()
    }
}

async fn read(job: Arc<Job>, promise: Promise, mut call: Call, tally: Arc<Tally>) {
    let mut check = Check::new(promise.clone());
    let mut newest_ms = None;
    let what = |job: &Job| format!("job {} stream {}", job.id, promise.stream);
    let count = |count: &std::sync::atomic::AtomicU64, more| count.fetch_add(more, Ordering::Relaxed);
    loop {
        let (message, bytes) = match call.next().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(error) => return tally.fault("gRPC", format!("{}: {error}", what(&job))),
        };
        let now_ms = now_ms();
        count(&tally.messages, 1);
        count(&tally.bytes, bytes as u64);
        if let Some(seen) = tally.hear(check.take(&message)) {
            count(&tally.lines, seen.lines);
            count(&tally.lost, seen.lost);
        }
        for (line, &begin_ms) in message.timestamp_in_milis.iter().enumerate() {
            tally.delays.add(now_ms - (begin_ms as f64 + job.line_ms) as i64);
            if is_sampled(begin_ms, job.line_ms) {
                let key = (job.wish.settings, *promise.channels.start(), begin_ms);
                tally.hear(tally.samples.compare(key, &line_of(&message, line)));
            }
        }
        newest_ms = message.timestamp_in_milis.last().copied();
    }
    if !job.is_ending() {
        return tally.fault("gRPC", format!("{}: the call ended by itself", what(&job)));
    }
    match call.lines_lost().await {
        Ok(0) => {}
        Ok(lost) => {
            count(&tally.told_lost, lost);
            tally.fault("lines lost", format!("{}: the daemon tells of {lost}", what(&job)));
        }
        Err(error) => tally.fault("gRPC", format!("{}: {error}", what(&job))),
    }
    if newest_ms.is_none_or(|newest_ms| now_ms() - newest_ms > SILENT_MS.max((3.0 * job.line_ms) as i64)) {
        tally.fault("silence", format!("{}: its newest line is of {newest_ms:?} at {} ms", what(&job), now_ms()));
    }
}

/// The body of `/waterfall`.
#[derive(Deserialize)]
struct Block {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    canvas_id: String,
    sensors: Vec<Sensor>,
    start_timestamp: i64,
    end_timestamp: i64,
}

#[derive(Deserialize)]
struct Sensor {
    id: usize,
    intensity: Vec<f32>,
}

async fn poll(job: Arc<Job>, mut http: Http, tally: Arc<Tally>) {
    let mut last_ms = None;
    while !job.is_ending() {
        let polled = poll_once(&job, &mut http, ROWS_A_POLL, &mut last_ms, &tally).await;
        if let Some(error) = polled.err().filter(|_| !job.is_ending()) {
            tally.fault("polling", format!("job {}: {error}", job.id));
        }
        sleep(POLL_PAUSE).await;
    }
}

/// The next rows, checked; how many there were, and how many milliseconds the answer took.
pub async fn poll_once(
    job: &Job,
    http: &mut Http,
    rows: usize,
    last_ms: &mut Option<i64>,
    tally: &Tally,
) -> Result<(usize, f64), Fault> {
    let began = Instant::now();
    let answer = http.get(&format!("/waterfall/{}/{rows}", job.id)).await?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    tally.polls.fetch_add(1, Ordering::Relaxed);
    match answer.status {
        200 if answer.body.is_empty() => return Ok((0, ms)),
        201 => {}
        status => return Err(format!("{status}: {}", answer.text()).into()),
    }
    let blocks: Vec<Block> = serde_json::from_slice(&answer.body)?;
    http.done_with(answer);
    let mut found = 0;
    for row in blocks.iter().flat_map(|block| &block.rows) {
        found += 1;
        let begin_ms = row.start_timestamp;
        let step_off = last_ms.map_or(0.0, |last: i64| (begin_ms - last) as f64 - job.line_ms);
        *last_ms = Some(begin_ms);
        if step_off.abs() > 2.0 || row.end_timestamp <= begin_ms {
            tally.fault("rows by polling", format!("job {}: the step before {begin_ms} is {step_off} ms off", job.id));
        }
        let bins = job.promises.first().map_or(0, |promise| promise.bins);
        let right = row.canvas_id == job.id
            && row.sensors.iter().map(|sensor| sensor.id).eq(job.wish.channels.clone())
            && row.sensors.iter().all(|s| s.intensity.len() == bins && s.intensity.iter().all(|v| *v >= 0.0));
        if !right {
            tally.fault("rows by polling", format!("job {}: the row at {begin_ms} has the wrong form", job.id));
        } else if is_sampled(begin_ms, job.line_ms) {
            for promise in &job.promises {
                let of = row.sensors.iter().filter(|sensor| promise.channels.contains(&sensor.id));
                let values = of.flat_map(|sensor| &sensor.intensity).flat_map(|v| f16::from_f32(*v).to_le_bytes());
                let key = (job.wish.settings, *promise.channels.start(), begin_ms);
                tally.hear(tally.samples.compare(key, &values.collect::<Vec<_>>()));
            }
        }
    }
    tally.rows.fetch_add(found as u64, Ordering::Relaxed);
    Ok((found, ms))
}
