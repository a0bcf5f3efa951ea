//! A real daemon on a synthetic interrogator, and whoever is at the other side of its broker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::broker::Broker;
use super::daemon::{Daemon, Process, acquisition, simulator};
use super::http::{Answer, exchange, get};
use super::wait_for;

pub struct Rig {
    pub daemon: Daemon,
    pub client: Client,
    name: &'static str,
    _simulator: Process,
    _dir: tempfile::TempDir,
}

/// Whoever is at the other side of the broker.
pub struct Client {
    pub runtime: Runtime,
    pub channel: Channel,
    _connection: Connection,
    pub number: AtomicU64,
}

pub struct Message {
    pub key: String,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(uri: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            (connection, channel)
        });
        Self { runtime, channel, _connection: connection, number: AtomicU64::new(0) }
    }

    /// A queue, durable so that it is there after a restart.
    pub fn queue(&self, name: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(name.into(), durable, FieldTable::default());
        self.runtime.block_on(declared).unwrap();
    }

    pub fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none);
        self.runtime.block_on(bound).unwrap();
    }

    pub fn unbind(&self, queue: &str, exchange: &str, key: &str) {
        let none = FieldTable::default();
        let gone = self.channel.queue_unbind(queue.into(), exchange.into(), key.into(), none);
        self.runtime.block_on(gone).unwrap();
    }

    pub fn purge(&self, queue: &str) {
        self.runtime.block_on(self.channel.queue_purge(queue.into(), QueuePurgeOptions::default())).unwrap();
    }

    pub fn publish(&self, exchange: &str, key: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        self.runtime.block_on(sent).unwrap();
    }

    pub fn next(&self, queue: &str) -> Option<Message> {
        let got = self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true });
        let delivery = self.runtime.block_on(got).unwrap()?.delivery;
        Some(Message { key: delivery.routing_key.to_string(), properties: delivery.properties, body: delivery.data })
    }
}

pub type Headers<'a> = &'a [(&'a str, AMQPValue)];

pub fn table(headers: Headers<'_>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), value.clone());
    }
    table
}

pub fn word(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

impl Rig {
    /// A daemon that acquires and hears commands. `name` makes its exchanges its own.
    pub fn start(broker: &Broker, name: &'static str, broker_lines: &str, jobs_lines: &str) -> Self {
        let rig = Self::deaf(broker, name, broker_lines, jobs_lines);
        rig.wait_heard(1);
        rig
    }

    pub fn deaf(broker: &Broker, name: &'static str, broker_lines: &str, jobs_lines: &str) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let simulator = simulator(dir.path(), 60);
        let config = format!(
            "site = \"{name}\"\n{}[broker]\nuri = \"{}\"\nframes_exchange = \"{name}.frames\"\n\
             status_exchange = \"{name}.status\"\ncommands_exchange = \"{name}.commands\"\n\
             dead_letter_exchange = \"{name}.dead\"\n{broker_lines}\n\
             [[view]]\nkind = \"waterfall\"\nname = \"whole\"\n[jobs]\nmax_load = 100\n{jobs_lines}\n",
            acquisition(dir.path(), 60),
            broker.uri()
        );
        let client = Client::new(&broker.uri());
        let daemon = Daemon::start(dir.path(), &config);
        daemon.wait_state("acquiring");
        Self { daemon, client, name, _simulator: simulator, _dir: dir }
    }

    pub fn wait_heard(&self, wanted: u64) {
        wait_for("commands are heard", || (self.daemon.count("fiberd_commands_heard") == wanted).then_some(()));
        if wanted == 1 {
            self.client.queue(&self.named("refused"));
            self.client.bind(&self.named("refused"), &self.named("dead"), "#");
            self.client.queue(&self.named("replies"));
        }
    }

    pub fn named(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.daemon.port))
    }

    /// Starts a job of view type `view` on channels 5 to 14, or 5.
    pub fn configure(&self, view: u8) -> String {
        let mut request = json!({
            "view_type": view, "channels": { "min": 5, "max": if view == 1 { 5 } else { 14 } },
            "displayInfo": { "height": 100 },
        });
        if view != 2 {
            request["displayTimeAxisDuration"] = json!(5);
            request["nfftSelection"] = json!(128);
        }
        let body = request.to_string();
        let head = format!(
            "POST /configure HTTP/1.1\r\nhost: das.example\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(self.address(), head.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["job_id"].as_str().unwrap().to_owned()
    }

    pub fn get(&self, path: &str) -> Answer {
        get(self.address(), path)
    }

    pub fn job(&self, id: &str) -> Value {
        self.get(&format!("/job/{id}")).json()
    }

    pub fn send(&self, key: &str, headers: Headers<'_>, body: &[u8]) {
        let properties = BasicProperties::default().with_headers(table(headers));
        self.client.publish(&self.named("commands"), key, properties, body);
    }

    /// Sends a command and waits for its answer: what would be the HTTP status, and the body.
    pub fn ask(&self, key: &str, headers: Headers<'_>, body: &[u8]) -> (i64, Value) {
        let number = self.client.number.fetch_add(1, Ordering::Relaxed).to_string();
        let properties = BasicProperties::default()
            .with_headers(table(headers))
            .with_reply_to(self.named("replies").as_str().into())
            .with_correlation_id(number.as_str().into());
        self.client.publish(&self.named("commands"), key, properties, body);
        let reply = wait_for("an answer", || self.client.next(&self.named("replies")));
        let about = &reply.properties;
        assert_eq!(about.correlation_id().as_ref().map(ShortString::as_str), Some(number.as_str()));
        assert_eq!(about.content_type().as_ref().map(ShortString::as_str), Some("application/json"));
        let headers = about.headers().clone().unwrap();
        assert_eq!(headers.inner().get("site"), Some(&word(self.name)));
        let Some(AMQPValue::LongLongInt(status)) = headers.inner().get("status") else { panic!("{headers:?}") };
        let text = String::from_utf8(reply.body).unwrap();
        for secret in ["/dev/shm", "/root", "127.0.0.1", "guest", "panicked", "src/"] {
            assert!(!text.contains(secret), "{text}");
        }
        let body: Value = serde_json::from_str(&text).unwrap();
        if *status != 200 {
            for field in ["error", "code", "message", "status"] {
                assert!(body[field].is_string(), "{field} in {body}");
            }
            assert!(body["details"].is_object() && body.get("reason").is_some(), "{body}");
            assert_eq!(body["detail"].is_array(), *status == 422, "{body}");
        }
        (*status, body)
    }

    pub fn ok(&self, key: &str, headers: Headers<'_>, command: &Value) -> Value {
        let (status, body) = self.ask(key, headers, command.to_string().as_bytes());
        assert_eq!((status, &body["status"]), (200, &json!("ok")), "{command}: {body}");
        assert_eq!(body["command"], command["type"]);
        body
    }

    pub fn refused(&self, key: &str, headers: Headers<'_>, body: &[u8], status: i64, code: &str) -> Value {
        let (found, answer) = self.ask(key, headers, body);
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{answer}");
        let dead = wait_for("a dead letter", || self.client.next(&self.named("refused")));
        assert!(dead.body == body && dead.key == key, "{code}");
        answer
    }

    pub fn held_back(&self, reason: &str) -> u64 {
        self.daemon.count(&format!("fiberd_job_frames_held_back_total{{reason=\"{reason}\"}}"))
    }

    pub fn commands(&self, result: &str) -> u64 {
        self.daemon.count(&format!("fiberd_commands_total{{result=\"{result}\"}}"))
    }
}

/// What the header of the wire format says.
pub struct Wire {
    pub sequence: u64,
    pub first_line: u64,
    pub stream: u32,
    /// From 0.
    pub channels: std::ops::Range<u32>,
}

impl Wire {
    pub fn of(body: &[u8]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        assert_eq!(&body[..8], b"FIBERDFR");
        assert_eq!(
            crc32fast::hash(&body[usize::from(u16::from_le_bytes([body[10], body[11]]))..]),
            u32_at(16),
            "the values are whole"
        );
        let (start, count) = (u32_at(196), u32_at(204));
        Self { sequence: u64_at(40), first_line: u64_at(48), stream: u32_at(192), channels: start..start + count }
    }
}

pub fn keepalive() -> Value {
    json!({ "type": "KeepaliveCommand", "value": { "source": "test" } })
}

pub fn roi(start: i64, end: i64) -> Value {
    json!({ "type": "RegionOfInterestCommand", "value": { "start": start, "end": end } })
}
