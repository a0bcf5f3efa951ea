//! What the tests of the endpoints share: a job of made-up lines, and Python clients that are led line by line.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::Instant;

use fiberd::frame::{ChannelAxis, Dtype, Frame, FrequencyAxis, Stream, View};
use fiberd::units::Rational;

use crate::common::python;

/// UTC of row 0 of every job here; lines are 50 ms apart.
const UTC_ROW_0_NS: i64 = 1_790_000_000_000_000_000;
const LINE_NS: i64 = 50_000_000;

/// A stream of a job that shows `channels` (from `start`, counted from 0) with `bins` frequencies.
pub fn stream(number: u32, start: usize, channels: usize, bins: usize, dtype: Dtype) -> Arc<Stream> {
    let example = Frame::example();
    Arc::new(Stream {
        view: View::Multi,
        name: "1-1".into(),
        job: "1-1".into(),
        number,
        channels: ChannelAxis { start, step: 1, count: channels },
        frequencies: FrequencyAxis { start_hz: 10.0, step_hz: 2.5, count: bins },
        line_period_s: Rational::new(1, 20).unwrap(),
        dtype,
        durable: false,
        ..Stream::clone(&example.stream)
    })
}

/// Lines of `stream` from `row` on. Values are exact in float16; the clients compute them again.
pub fn lines(stream: &Arc<Stream>, row: u64, count: usize) -> Frame {
    let (channels, bins) = (stream.channels, stream.frequencies.count as u64);
    let mut values = Vec::with_capacity(count * channels.count * bins as usize);
    for line in (row..).take(count) {
        for channel in (channels.start as u64..).take(channels.count) {
            values.extend((0..bins).map(|bin| ((line * 31 + channel * 7 + bin * 3) % 1000) as f32 / 8.0 - 20.0));
        }
    }
    Frame {
        stream: Arc::clone(stream),
        first_line: row,
        lines: count,
        utc_first_ns: UTC_ROW_0_NS + row as i64 * LINE_NS,
        utc_end_ns: UTC_ROW_0_NS + (row as i64 + count as i64) * LINE_NS,
        captured_at: Instant::now(),
        values: values.into(),
        ..Frame::example()
    }
}

/// A Python program that says one line for each thing it has done.
pub struct Client {
    child: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
    errors: ChildStderr,
}

impl Client {
    pub fn start(script: &str, args: &[&str]) -> Self {
        let path = format!("{}/tests/endpoints/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut child = python()
            .arg(path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (says, hears) = (BufReader::new(child.stdout.take().unwrap()), child.stdin.take().unwrap());
        let errors = child.stderr.take().unwrap();
        Self { child, says, hears, errors }
    }

    /// The next line that it says.
    pub fn said(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut why = String::new();
            self.errors.read_to_string(&mut why).unwrap();
            panic!("the client has ended: {why}");
        }
        line.trim().to_owned()
    }

    /// Waits until it says just this.
    pub fn must_say(&mut self, wanted: &str) {
        assert_eq!(self.said(), wanted);
    }

    /// Lets it go on.
    pub fn go(&mut self) {
        self.hears.write_all(b"go\n").unwrap();
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its good end.
    pub fn finish(mut self) {
        self.must_say("done");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}
