//! The consumer of the standing views' frames: a durable queue that outlives the broker's restarts, read for as long as
//! the run lasts. What must hold of frames is checked by [`Book`], which is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fiberd::frame::{FLAG_CLOCK_STEP, FLAG_EPOCH_START, FLAG_GAP_BEFORE};
use fiberd::wire::{Header, decode};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use tokio::time::{sleep, timeout};

use crate::rules::{VIEWS, ViewOfRun};
use crate::watch::Watch;

const EXCHANGE: &str = "fiberd.frames";
const QUEUE: &str = "endurance";
/// The broker is away again and again.
const AGAIN: Duration = Duration::from_millis(500);
/// A broker that is frozen does not even refuse.
const CONNECTS: Duration = Duration::from_secs(10);

/// What has come of one stream.
#[derive(Default)]
struct Stream {
    epoch: u64,
    next_sequence: u64,
    next_line: u64,
}

/// What has come.
#[derive(Default)]
pub struct Book {
    ids: BTreeSet<String>,
    streams: BTreeMap<(String, u32), Stream>,
    /// Frames that came once more, as frames may that were not confirmed in time.
    pub again: u64,
    /// Sequence numbers that did not come.
    pub holes: u64,
}

impl Book {
    /// Different frames so far.
    pub fn frames(&self) -> usize {
        self.ids.len()
    }

    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, id: &str, body: &[u8]) -> Result<(), String> {
        if !self.ids.insert(id.to_owned()) {
            self.again += 1;
            return Ok(());
        }
        let frame = decode(body).map_err(|error| format!("{id}: {error}"))?;
        let (site, name, job) = (frame.site(), frame.name(), frame.job());
        if site != "endurance" || !job.is_empty() {
            return Err(format!("{id} is of site {site}, job {job:?}"));
        }
        self.follows(&(name.to_owned(), frame.header.stream), &frame.header).map_err(|what| format!("{id}: {what}"))
    }

    fn follows(&mut self, stream: &(String, u32), h: &Header) -> Result<(), String> {
        let first = !self.streams.contains_key(stream);
        let before = self.streams.entry(stream.clone()).or_default();
        let (sequence, line, epoch) = (before.next_sequence, before.next_line, before.epoch);
        *before =
            Stream { epoch: h.epoch, next_sequence: h.sequence + 1, next_line: h.first_line + u64::from(h.line_count) };
        if first {
            return Ok(());
        }
        if h.epoch < epoch {
            return Err(format!("epoch {} after {epoch}", h.epoch));
        }
        if h.sequence < sequence {
            return Err(format!("sequence {} where {sequence} or more was due", h.sequence));
        }
        self.holes += h.sequence - sequence;
        let whole = h.sequence == sequence && h.epoch == epoch;
        if whole && h.first_line < line {
            return Err(format!("line {} where {line} or more was due", h.first_line));
        }
        let marks = FLAG_GAP_BEFORE | FLAG_CLOCK_STEP | FLAG_EPOCH_START;
        if whole && h.first_line > line && h.flags & marks == 0 {
            return Err(format!("line {} where {line} was due, and no mark of a gap", h.first_line));
        }
        if h.epoch != epoch && h.sequence == sequence && h.flags & FLAG_EPOCH_START == 0 {
            return Err("a new epoch without the mark of its first frame".into());
        }
        Ok(())
    }
}

pub struct Consumer {
    uri: String,
    book: Mutex<Book>,
}

impl Consumer {
    pub fn new(uri: String) -> Arc<Self> {
        Arc::new(Self { uri, book: Mutex::default() })
    }

    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the queue, so that no frame is without one. To be called before the daemon starts.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn declare(&self) -> Result<(), lapin::Error> {
        let connection = Connection::connect(&self.uri, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await?;
        for ViewOfRun { kind, name, .. } in VIEWS {
            let key = format!("endurance.{kind}.{name}.#");
            let bind = QueueBindOptions::default();
            channel.queue_bind(QUEUE.into(), EXCHANGE.into(), key.into(), bind, FieldTable::default()).await?;
        }
        connection.close(200, "".into()).await
    }

    /// Reads for ever, over any number of connections.
    pub async fn run(&self, watch: Option<&Watch>) {
        loop {
            // Why a connection ends is the script's affair.
            if let Ok(Ok(connection)) =
                timeout(CONNECTS, Connection::connect(&self.uri, ConnectionProperties::default())).await
            {
                let _ = self.read(&connection, watch).await;
            }
            sleep(AGAIN).await;
        }
    }

    async fn read(&self, connection: &Connection, watch: Option<&Watch>) -> Result<(), lapin::Error> {
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions::default();
        let mut consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
        while let Some(delivery) = consumer.next().await {
            let delivery = delivery?;
            let id = delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
            let taken = self.book().take(&id, &delivery.data);
            if let (Err(what), Some(watch)) = (taken, watch) {
                watch.violated("frames come whole, in order and marked", what);
            }
            delivery.ack(BasicAckOptions::default()).await?;
        }
        Ok(())
    }
}

/// Shows the checks what is right and what is wrong.
pub fn verify() {
    let stream = ("whole".to_owned(), 0);
    let right = |epoch, sequence, first_line, flags| Header {
        epoch,
        sequence,
        first_line,
        line_count: 1,
        flags,
        ..bytemuck::Zeroable::zeroed()
    };
    let fresh = || {
        let mut book = Book::default();
        book.follows(&stream, &right(5, 7, 100, 0)).expect("the first is right");
        book
    };
    for header in
        [right(5, 8, 101, 0), right(5, 8, 150, FLAG_GAP_BEFORE), right(5, 9, 102, 0), right(6, 8, 0, FLAG_EPOCH_START)]
    {
        assert_eq!(fresh().follows(&stream, &header), Ok(()));
    }
    for header in
        [right(4, 8, 101, 0), right(5, 7, 101, 0), right(5, 8, 100, 0), right(5, 8, 102, 0), right(6, 8, 0, 0)]
    {
        assert!(fresh().follows(&stream, &header).is_err(), "epoch {}, frame {}", header.epoch, header.sequence);
    }
    let mut book = fresh();
    assert!(book.follows(&stream, &right(5, 11, 104, 0)).is_ok() && book.holes == 3);
}
