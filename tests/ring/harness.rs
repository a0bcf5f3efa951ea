//! What the ring's tests stand on: the producer in C, compiled here and driven line by line; reading as capture does; and
//! a process of one's own for tests that may end in a signal.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fiberd::acquisition::{Acquisition, DarkReason};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::ring::{Ring, RingOptions};
use fiberd::source::{Interrogator, Probe, ReadOutcome};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Generous: what has not happened by then will not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

// ---------------------------------------------------------------------------------------------------------------------
// The producer in C.

fn compiled_producer() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ring_producer.{}", std::process::id()));
        let status = Command::new("cc")
            .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"])
            .arg(root.join("src/source/ring"))
            .arg(root.join("tests/ring_producer.c"))
            .arg("-o")
            .arg(&to)
            .status()
            .expect("these tests need a C compiler named cc (Debian: apt-get install gcc libc6-dev)");
        assert!(status.success(), "the C producer does not compile");
        to
    })
}

pub(crate) struct CProducer {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl CProducer {
    pub(crate) fn start(path: &Path, channels: usize, traces_per_slot: usize, slots: usize, prr_hz: f64) -> Self {
        let mut child = Command::new(compiled_producer())
            .arg(path)
            .args([channels.to_string(), traces_per_slot.to_string(), slots.to_string(), prr_hz.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut producer = Self { child, stdin, stdout };
        assert_eq!(producer.answer(), "ready");
        producer
    }

    pub(crate) fn begin(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn tell(&mut self, command: &str) -> String {
        self.begin(command);
        self.answer()
    }

    pub(crate) fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for CProducer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pattern of `ring_producer.c`.
pub(crate) fn sample(trace: u64, channel: usize) -> i16 {
    (trace.wrapping_mul(2_654_435_769).wrapping_add(channel as u64 * 34_283) >> 7) as i16
}

pub(crate) fn utc_ns(trace: u64) -> i64 {
    1_700_000_000_000_000_000 + trace as i64 * 1_000_000
}

// ---------------------------------------------------------------------------------------------------------------------
// The consumer.

pub(crate) fn scratch() -> tempfile::TempDir {
    // Where rings live; the tests' own directory where there is no /dev/shm.
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    tempfile::Builder::new().prefix("fiberd-ring-").tempdir_in(root).unwrap()
}

pub(crate) fn consumer(path: &Path) -> Ring {
    Ring::new(RingOptions { heartbeat_timeout: Duration::from_millis(400), ..RingOptions::new(path) })
}

pub(crate) fn block_for(acquisition: &Acquisition, capacity_traces: usize) -> RawBlock {
    let layout = BlockLayout { channels: acquisition.channels, format: acquisition.sample_format, capacity_traces };
    RawBlock::new(layout, Arc::new(acquisition.clone()))
}

/// Probes as capture does until `done` says so.
pub(crate) fn probe_until<T>(ring: &mut Ring, mut done: impl FnMut(Probe) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let probe = ring.probe().unwrap();
        let shown = format!("{probe:?}");
        if let Some(found) = done(probe) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "the consumer still says {shown}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn ready(ring: &mut Ring) -> Acquisition {
    probe_until(ring, |probe| match probe {
        Probe::Ready(acquisition) => Some(acquisition),
        Probe::Waiting(_) => None,
    })
}

pub(crate) fn waiting(ring: &mut Ring, reason: &DarkReason) {
    probe_until(ring, |probe| matches!(probe, Probe::Waiting(r) if r == *reason).then_some(()));
}

pub(crate) fn read(ring: &mut Ring, block: &mut RawBlock) -> ReadOutcome {
    let acquisition = Arc::clone(&block.acquisition);
    block.clear(&acquisition);
    ring.read_block(block, SECOND).unwrap()
}

/// Checks every sample of a block whose trace 0 is the producer's trace `base`.
pub(crate) fn check(block: &RawBlock, base: u64) {
    let first = base + block.first_trace.0;
    assert_eq!(block.utc_ns, 1_700_000_000_000_000_000 + block.acquisition.prr.traces_to_ns(first));
    for t in 0..block.traces {
        let row = block.row_as::<i16>(t);
        let wrong = (0..row.len()).find(|&c| row[c] != sample(first + t as u64, c));
        assert_eq!(wrong, None, "channel of trace {}", first + t as u64);
    }
}

/// Reads `traces` traces behind `from` without a gap.
pub(crate) fn read_exactly(ring: &mut Ring, acquisition: &Acquisition, from: u64, traces: usize) {
    let mut block = block_for(acquisition, 7);
    let mut next = from;
    while next < from + traces as u64 {
        let left = (from + traces as u64 - next) as usize;
        if left < 7 {
            block = block_for(acquisition, left);
        }
        assert_eq!(read(ring, &mut block), ReadOutcome::Filled);
        assert_eq!((block.first_trace.0, block.gap_before), (next, 0));
        check(&block, 0);
        next = block.end_trace().0;
    }
    assert_eq!(next, from + traces as u64);
}

/// Runs `body` in a process of its own, because it may end in a signal.
pub(crate) fn in_a_process(test: &str, body: impl FnOnce()) -> std::process::ExitStatus {
    const MARK: &str = "FIBERD_RING_TEST_CHILD";
    if std::env::var_os(MARK).is_some() {
        body();
        std::process::exit(0);
    }
    let me = std::env::current_exe().unwrap();
    Command::new(me).args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, "1").status().unwrap()
}
