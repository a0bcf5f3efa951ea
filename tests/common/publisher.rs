//! A publisher at work in this process, against a real broker, and a consumer of our own.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use fiberd::config::BrokerConfig;
use fiberd::egress::{Egress, fence};
use fiberd::frame::{ChannelAxis, Dtype, Frame, FrequencyAxis, Stream, ValueKind, View};
use fiberd::publish;
use fiberd::status::{Book, BrokerState, FindingKind, Status};
use fiberd::telemetry;
use fiberd::units::TraceIndex;
use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::wait_for;

#[derive(Clone)]
struct Lines;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static LOGGING: OnceLock<telemetry::Logging> = OnceLock::new();

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every line that any test of this program logged so far.
pub fn log() -> String {
    if let Some(logging) = LOGGING.get() {
        assert!(logging.flush(Duration::from_secs(60)));
    }
    String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned()
}

/// The broker for tests that hurt it, one at a time.
pub fn victim() -> MutexGuard<'static, Broker> {
    static VICTIM: OnceLock<Mutex<Broker>> = OnceLock::new();
    VICTIM.get_or_init(|| Mutex::new(Broker::start())).lock().unwrap_or_else(PoisonError::into_inner)
}

/// A publisher at work, and the pipeline's end of the fence.
pub struct Rig {
    pub runtime: Runtime,
    pub config: BrokerConfig,
    pub status: Arc<Status>,
    pub egress: Option<Egress>,
    pub publisher: JoinHandle<()>,
}

/// `name` makes the exchanges of this test its own.
pub fn rig(uri: &str, name: &str, fence_frames: usize, change: impl FnOnce(&mut BrokerConfig)) -> Rig {
    LOGGING.get_or_init(|| {
        let level = "trace,fiberd=trace,lapin=trace,lapin::io_loop=trace".into();
        telemetry::init(telemetry::Options { level, writer: Some(Box::new(Lines)), ..Default::default() }).unwrap()
    });
    let mut config = BrokerConfig {
        uri: uri.into(),
        frames_exchange: format!("{name}.frames"),
        status_exchange: format!("{name}.status"),
        ..BrokerConfig::default()
    };
    change(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let status = Status::new("north", None);
    let (egress, outlet) = fence(fence_frames, Arc::clone(&status.counters.egress));
    let task = publish::run(config.clone(), Arc::clone(&status), outlet, Duration::from_secs(5));
    let publisher = runtime.spawn(task);
    Rig { runtime, config, status, egress: Some(egress), publisher }
}

impl Rig {
    pub fn offer(&self, frame: Frame) {
        self.egress.as_ref().expect("open").offer(frame);
    }

    pub fn wait_for(&self, what: &str, done: impl Fn(&Status) -> bool) {
        let describe = format!("{what} {:?}", self.status.broker());
        wait_for(&describe, || done(&self.status).then_some(()));
    }

    pub fn wait_connected(&self) {
        self.wait_for("connection", |s| s.broker() == BrokerState::Connected);
    }

    /// What stands in the way, of one kind; `None` when nothing does.
    pub fn finding(&self, kind: FindingKind) -> Option<String> {
        self.status.findings().into_iter().find_map(|((of, _), why)| (of == kind).then_some(why))
    }

    /// Ends the pipeline and waits for the publisher; then every frame must be accounted for, once.
    pub fn finish(mut self) -> Arc<Status> {
        self.egress = None;
        self.runtime.block_on(self.publisher).unwrap();
        let books = self.status.counters.frame_books();
        assert!(books.iter().all(Book::balances), "{books:?} {:?}", self.status.counters);
        self.status
    }
}

/// A consumer of our own.
pub struct Reader {
    pub channel: Channel,
    _connection: Connection,
}

impl Reader {
    pub async fn new(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
        Self { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }

    /// A durable queue of everything with `key` on `exchange`.
    pub async fn queue(&self, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
        let topic = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let c = &self.channel;
        c.exchange_declare(exchange.into(), ExchangeKind::Topic, topic, FieldTable::default()).await.unwrap();
        c.queue_declare(queue.into(), durable, arguments).await.unwrap();
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        c.queue_bind(queue.into(), exchange.into(), key.into(), bind, none).await.unwrap();
    }

    /// The next message: id, headers, body. `None` when none comes for `patience`.
    pub async fn next(&self, queue: &str, patience: Duration) -> Option<(String, FieldTable, Vec<u8>)> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(got) = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap() {
                let (properties, data) = (got.delivery.properties, got.delivery.data);
                let id = properties.message_id().as_ref().unwrap().to_string();
                return Some((id, properties.headers().clone().unwrap(), data));
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often each message id is in the queue.
    pub async fn ids(&self, queue: &str) -> BTreeMap<String, usize> {
        let mut ids = BTreeMap::new();
        while let Some((id, ..)) = self.next(queue, Duration::from_millis(300)).await {
            *ids.entry(id).or_default() += 1;
        }
        ids
    }
}

pub fn text_of(headers: &FieldTable, key: &str) -> String {
    match headers.inner().get(key) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{key}: {other:?}"),
    }
}

pub fn stream(view: View, name: &str, dtype: Dtype, channels: usize, bins: usize) -> Arc<Stream> {
    let example = Frame::example();
    Arc::new(Stream {
        view,
        name: name.into(),
        channels: ChannelAxis { start: 0, step: 1, count: channels },
        frequencies: FrequencyAxis { start_hz: 0.0, step_hz: 1.953_125, count: bins },
        value: ValueKind::Decibel { reference: 1.0 },
        unit: "dB".into(),
        dtype,
        u8_range: (0.5, -60.0),
        ..(*example.stream).clone()
    })
}

/// Frame `number` of `stream`; its values are multiples of 0.5 in −60…67, which every dtype holds exactly.
pub fn frame(stream: &Arc<Stream>, number: u64) -> Frame {
    let example = Frame::example();
    let lines = 2;
    let values = (lines * stream.channels.count * stream.frequencies.count) as u64;
    Frame {
        stream: Arc::clone(stream),
        sequence: number,
        first_line: number * lines as u64,
        lines,
        first_trace: TraceIndex(number * 200),
        end_trace: TraceIndex((number + 1) * 200),
        captured_at: Instant::now(),
        values: values_of(number, values).into(),
        ..example
    }
}

pub fn values_of(number: u64, count: u64) -> Vec<f32> {
    (0..count).map(|i| ((number * 31 + i * 7) % 255) as f32 * 0.5 - 60.0).collect()
}

pub fn id(name: &str, number: u64) -> String {
    format!("north/{name}/0/1/{}", number * 2)
}
