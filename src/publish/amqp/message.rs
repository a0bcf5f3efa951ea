//! What is sent: bytes, where to, and what the message says about itself. The headers are described in `FRAME.md`.

use std::time::Instant;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

use crate::config::BrokerConfig;
use crate::frame::Frame;
use crate::status::{NarrowCounters, Report, now_ms};
use crate::wire::{self, Header, Tally};

/// Which exchange a message goes to, and what its confirm means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A frame whose last trace was in hand at this moment. A durable one is sent again when the broker refuses it.
    Frame { captured_at: Instant, durable: bool },
    /// A status message.
    Status,
    /// An answer to a command, to the queue that its key names.
    Reply,
}

/// Direct reply-to: the broker hands an answer over without a queue.
pub(super) const DIRECT: &str = "amq.rabbitmq.reply-to";

/// One message. Sent again it has the same id. A copy shares its body.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Message {
    /// The message of a frame. What becomes of its values as float16 is added to `narrowed`.
    pub(super) fn frame(frame: &Frame, site: &str, narrowed: &NarrowCounters) -> Self {
        let mut body = Vec::new();
        let header = wire::encode(frame, site, &mut body);
        let tally = Tally::default();
        tally.add_frame(&header, frame.values.len());
        narrowed.zeros.add(tally.zeros());
        narrowed.infinities.add(tally.infinities());
        narrowed.poor_frames.add(tally.poor_frames());
        let (key, properties) = envelope(frame, &header, site);
        let kind = Kind::Frame { captured_at: frame.captured_at, durable: frame.stream.durable };
        Self { kind, key, properties, body: body.into() }
    }

    /// The message of a status report. `event` says why it is sent: `phase`, `conditions`, `periodic` or `connected`; `id`
    /// must be unique for ever.
    pub(super) fn status(report: &Report, event: &'static str, id: &str) -> Self {
        let mut headers = FieldTable::default();
        headers.insert("event".into(), text(event));
        headers.insert("site".into(), text(&report.site));
        headers.insert("phase".into(), text(report.phase));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type("status.v1".into())
            .with_message_id(short(id))
            .with_timestamp((now_ms() / 1000).unsigned_abs())
            .with_delivery_mode(if event == "periodic" { 1 } else { 2 })
            .with_headers(headers);
        // A report is plain numbers and texts, which always have a JSON form; an empty object beats no message.
        let body = serde_json::to_vec(report).unwrap_or_else(|_| b"{}".to_vec());
        Self { kind: Kind::Status, key: short(&format!("{}.state", word(&report.site))), properties, body: body.into() }
    }

    /// An answer to a command with `correlation_id`. `status` is what the HTTP API would have in its status line.
    pub(super) fn reply(
        to: ShortString,
        correlation_id: Option<ShortString>,
        site: &str,
        status: u16,
        body: Vec<u8>,
    ) -> Self {
        let mut headers = FieldTable::default();
        headers.insert("site".into(), text(site));
        headers.insert("status".into(), int(u64::from(status)));
        let kind = if status < 300 { "command.done" } else { "command.refused" };
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(kind.into())
            .with_delivery_mode(1)
            .with_headers(headers);
        if let Some(id) = correlation_id {
            properties = properties.with_correlation_id(id);
        }
        Self { kind: Kind::Reply, key: to, properties, body: body.into() }
    }

    /// The message id; nothing for an answer to a command.
    pub(super) fn id(&self) -> &str {
        self.properties.message_id().as_ref().map_or("", ShortString::as_str)
    }

    /// Where it goes.
    pub(super) fn exchange(&self, config: &BrokerConfig) -> ShortString {
        match self.kind {
            Kind::Frame { .. } => short(&config.frames_exchange),
            Kind::Status => short(&config.status_exchange),
            Kind::Reply => ShortString::default(),
        }
    }

    /// Whether the broker is to return it when no queue wants it. A status message that nobody wants is nobody's loss; an
    /// answer that goes without a queue would always come back.
    pub(super) fn mandatory(&self) -> bool {
        match self.kind {
            Kind::Frame { .. } => true,
            Kind::Status => false,
            Kind::Reply => !self.key.as_str().starts_with(DIRECT),
        }
    }

    /// Whether it is a frame, which is accounted for.
    pub(super) const fn is_frame(&self) -> bool {
        matches!(self.kind, Kind::Frame { .. })
    }
}

/// Where a frame goes, and what its message says about itself.
fn envelope(frame: &Frame, header: &Header, site: &str) -> (ShortString, BasicProperties) {
    let stream = &frame.stream;
    let (epoch, first_line) = (frame.acquisition.epoch, frame.first_line);
    let key = format!("{}.{}.{}.{}", word(site), stream.view.name(), word(&stream.name), stream.number);
    let id = format!("{site}/{}/{}/{epoch}/{first_line}", stream.name, stream.number);
    let properties = BasicProperties::default()
        .with_content_type("application/vnd.fiberd.frame".into())
        .with_type("frame.v2".into())
        .with_message_id(short(&id))
        .with_timestamp(u64::try_from(frame.utc_first_ns / 1_000_000_000).unwrap_or_default())
        .with_delivery_mode(if stream.durable { 2 } else { 1 })
        .with_headers(headers(frame, header, site));
    (short(&key), properties)
}

fn headers(frame: &Frame, header: &Header, site: &str) -> FieldTable {
    let (acquisition, stream) = (&frame.acquisition, &frame.stream);
    let (ndim, lengths) = wire::shape(frame);
    let shape: Vec<AMQPValue> = lengths[..ndim as usize].iter().map(|&n| int(u64::from(n))).collect();
    let fields = [
        ("schema", int(u64::from(wire::SCHEMA))),
        ("site", text(site)),
        ("view", text(stream.view.name())),
        ("name", text(&stream.name)),
        ("job", text(&stream.job)),
        ("stream", int(u64::from(stream.number))),
        ("epoch", int(acquisition.epoch)),
        ("sequence", int(frame.sequence)),
        ("first_line", int(frame.first_line)),
        ("lines", int(frame.lines as u64)),
        ("utc_first_ns", AMQPValue::LongLongInt(frame.utc_first_ns)),
        ("utc_end_ns", AMQPValue::LongLongInt(frame.utc_end_ns)),
        ("dtype", text(wire::numpy_dtype(stream.dtype))),
        ("shape", AMQPValue::FieldArray(FieldArray::from(shape))),
        ("axes", text(wire::axes(stream.view))),
        ("offset", int(header.header_bytes.into())),
        ("value_scale", number(header.scale.into())),
        ("value_offset", number(header.offset.into())),
        ("unit_factor", number(stream.unit_factor)),
        ("gauge_length_m", acquisition.gauge_length_m.map_or(AMQPValue::Void, number)),
        ("regions", AMQPValue::FieldArray(FieldArray::from(regions(frame)))),
        ("value", text(stream.value.name())),
        ("unit", text(&stream.unit)),
        ("gap", int(frame.gap_traces)),
        ("source", text(acquisition.source.name())),
        ("channel_start", int(stream.channels.start as u64)),
        ("channel_step", int(stream.channels.step as u64)),
        ("prr_hz", number(acquisition.prr.to_f64())),
        ("dx_m", number(acquisition.dx_m)),
        ("fiber_start_m", number(acquisition.fiber_start_m)),
        ("frequency_start_hz", number(stream.frequencies.start_hz)),
        ("frequency_step_hz", number(stream.frequencies.step_hz)),
    ];
    let mut table = FieldTable::default();
    for (name, value) in fields {
        table.insert(name.into(), value);
    }
    table
}

/// The regions behind the first in which channels of the frame lie, each as first channel, its distance, and the metres
/// from channel to channel.
fn regions(frame: &Frame) -> Vec<AMQPValue> {
    let region = |row: wire::RegionRow| {
        let [start_m, dx_m] = [row.start_m, row.dx_m].map(decimal);
        text(&format!("{} {start_m} {dx_m}", row.first_channel))
    };
    wire::region_rows(frame).map(region).collect()
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// As decimal text, in as many digits as the exact value needs: pika, the usual client in Python, cuts AMQP's doubles to
/// integers.
fn number(value: f64) -> AMQPValue {
    text(&decimal(value))
}

/// At most 24 characters, so that headers have a bound: what is longer has an exponent.
fn decimal(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() <= 24 { plain } else { format!("{value:e}") }
}

/// AMQP has no unsigned 64-bit integer.
fn int(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

/// One word of a routing key: a dot would make two of it.
fn word(text: &str) -> String {
    text.replace('.', "_")
}

/// AMQP's short strings end at 255 bytes, and lapin panics behind that.
pub(super) fn short(text: &str) -> ShortString {
    let end = (0..=text.len().min(255)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acquisition::{Acquisition, MAX_REGIONS, Region};
    use crate::frame::{ChannelAxis, Stream};

    /// What a broker's smallest frame leaves for headers, as RabbitMQ is configured: 128 KiB.
    const ROOM: usize = 100 << 10;

    #[test]
    fn headers_have_every_region_that_a_fiber_may_have_and_stay_small() {
        let frame = Frame::example();
        // The most digits that a distance may have.
        let region = |at| Region {
            first_channel: 2000 * (at + 1),
            start_m: -1e8 / 3.0 + at as f64 / 7.0,
            dx_m: f64::MIN_POSITIVE * 1.3,
        };
        let regions = (0..MAX_REGIONS).map(region).collect();
        let acquisition = Acquisition { regions, channels: 1 << 20, ..(*frame.acquisition).clone() };
        let channels = ChannelAxis { start: 0, step: 1, count: 1 << 20 };
        let stream = Stream { channels, ..(*frame.stream).clone() };
        let frame = Frame { acquisition: acquisition.into(), stream: stream.into(), ..frame };
        let rows = super::regions(&frame);
        assert_eq!(rows.len(), MAX_REGIONS);
        let mut bytes = 0;
        for (row, region) in rows.iter().zip(frame.acquisition.regions.iter()) {
            let AMQPValue::LongString(text) = row else { panic!("{row:?}") };
            let text = std::str::from_utf8(text.as_bytes()).unwrap();
            let numbers: Vec<f64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers, [region.first_channel as f64, region.start_m, region.dx_m]);
            bytes += text.len() + 5;
        }
        assert!(bytes < ROOM, "{bytes}");
    }
}
