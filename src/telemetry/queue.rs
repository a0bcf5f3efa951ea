//! Log lines of all threads on their way to one sink: through a bounded queue, written out by a thread of its own
//! (`das-log`). Nobody who logs ever waits for whoever reads the log.
//!
//! When the reader is too slow and the queue is full, the newest lines are lost. They are counted, and when the queue has
//! been read to its end one line says how many there were. Of our own and not `tracing-appender`, because that neither
//! says so in the log nor carries the journal's datagrams.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tokio::sync::oneshot;
use tracing_subscriber::fmt::MakeWriter;

use crate::status::LogCounters;

/// Lines that may wait.
const QUEUE_LINES: usize = 4096;
/// Bytes of lines that may wait.
const QUEUE_BYTES: usize = 2 << 20;

/// Where formatted lines are written to, one `write_all` a line.
pub type Sink = Box<dyn Write + Send>;

/// The near end of the queue; clones share it.
#[derive(Clone)]
pub(super) struct Queue {
    items: Sender<Item>,
    shared: Arc<Shared>,
}

enum Item {
    Line(Box<[u8]>),
    /// Everything before this is to be written out; then it is dropped.
    Flush(Sender<()>),
}

struct Shared {
    waiting_bytes: AtomicUsize,
    /// Lines lost and not told yet.
    untold: AtomicU64,
    counters: Arc<LogCounters>,
}

impl Shared {
    fn lost(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.counters.lines_lost.add(lines);
    }
}

impl Queue {
    /// Starts `das-log`, which writes to `sink`. Lost lines are counted in `counters`, and their number is handed to
    /// `tell_lost` when the queue has been written out. The receiver closes when the thread ends.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        sink: Sink,
        counters: Arc<LogCounters>,
        tell_lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (items, items_rx) = bounded(QUEUE_LINES);
        let shared = Arc::new(Shared { waiting_bytes: AtomicUsize::new(0), untold: AtomicU64::new(0), counters });
        let (alive_tx, alive_rx) = oneshot::channel();
        let far_end = FarEnd { items: items_rx, sink, shared: Arc::clone(&shared), works: true };
        Builder::new().name("das-log".into()).spawn(move || {
            let _alive = alive_tx;
            far_end.run(tell_lost);
        })?;
        Ok((Self { items, shared }, alive_rx))
    }

    /// Takes a line over, or counts it as lost. Never waits.
    fn offer(&self, line: &[u8]) {
        let waiting = self.shared.waiting_bytes.fetch_add(line.len(), Ordering::Relaxed);
        if waiting + line.len() <= QUEUE_BYTES && self.items.try_send(Item::Line(line.into())).is_ok() {
            return;
        }
        self.shared.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        self.shared.lost(1);
    }

    /// Waits until all lines so far are written out, but not longer than `limit`; whether they are.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let (done_tx, done_rx) = bounded(1);
        self.items.send_timeout(Item::Flush(done_tx), limit).is_ok() && done_rx.recv_deadline(until).is_ok()
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one line: the formatter writes each with one call.
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.offer(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct FarEnd {
    items: Receiver<Item>,
    sink: Sink,
    shared: Arc<Shared>,
    /// Whether the sink took the last line.
    works: bool,
}

impl FarEnd {
    fn run(mut self, tell_lost: impl Fn(u64)) {
        loop {
            let item = match self.items.try_recv() {
                Ok(item) => item,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    // Not while the sink refuses everything: what is told would be lost as well, for ever.
                    let untold = if self.works { self.shared.untold.swap(0, Ordering::Relaxed) } else { 0 };
                    if untold > 0 {
                        tell_lost(untold);
                        continue;
                    }
                    let Ok(item) = self.items.recv() else { return };
                    item
                }
            };
            match item {
                Item::Line(line) => self.write(&line),
                Item::Flush(done) => {
                    let _ = self.sink.flush();
                    let _ = done.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) {
        self.works = self.sink.write_all(line).is_ok();
        if !self.works {
            self.shared.lost(1);
        }
        self.shared.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Mutex, MutexGuard};

    /// A reader that stands still while the test holds its lock.
    #[derive(Clone, Default)]
    struct Reader {
        read: Arc<Mutex<Vec<String>>>,
        refuses: Arc<Mutex<bool>>,
    }

    impl Reader {
        fn stalled(&self) -> MutexGuard<'_, Vec<String>> {
            self.read.lock().unwrap()
        }
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.refuses.lock().unwrap() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.read.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Bench {
        queue: Queue,
        reader: Reader,
        counters: Arc<LogCounters>,
        told: Arc<Mutex<Vec<u64>>>,
    }

    fn bench() -> Bench {
        let (reader, counters) = (Reader::default(), Arc::<LogCounters>::default());
        let told = Arc::<Mutex<Vec<u64>>>::default();
        let tell = Arc::clone(&told);
        let tell_lost = move |lines| tell.lock().unwrap().push(lines);
        let (queue, _alive) = Queue::start(Box::new(reader.clone()), Arc::clone(&counters), tell_lost).unwrap();
        Bench { queue, reader, counters, told }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up_and_every_line_is_written_or_counted() {
        let Bench { queue, reader, counters, told } = bench();
        let offered = 3 * QUEUE_LINES;
        let stalled = reader.stalled();
        // On one thread: if offering waited for the reader, this would never end.
        (0..offered).for_each(|n| queue.offer(format!("{n}").as_bytes()));
        assert!(!queue.flush(Duration::from_millis(20)), "nothing can be written out");
        let lost = counters.lines_lost.get();
        assert!(lost as usize >= offered - QUEUE_LINES - 1, "{lost}");
        drop(stalled);
        queue.offer(b"after");
        assert!(queue.flush(LONG));
        // The loss is told behind what was queued, so once more.
        assert!(queue.flush(LONG));
        let written = reader.stalled().len() as u64;
        let lost = counters.lines_lost.get();
        assert_eq!(written + lost, offered as u64 + 1);
        let deadline = Instant::now() + LONG;
        while told.lock().unwrap().iter().sum::<u64>() < lost {
            assert!(Instant::now() < deadline, "{told:?} of {lost}");
            std::thread::yield_now();
        }
        assert_eq!(told.lock().unwrap().iter().sum::<u64>(), lost, "each loss is told once");
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let Bench { queue, reader, counters, .. } = bench();
        let stalled = reader.stalled();
        let line = vec![b'x'; 1 << 20];
        (0..8).for_each(|_| queue.offer(&line));
        assert_eq!(counters.lines_lost.get(), 6);
        drop(stalled);
        assert!(queue.flush(LONG));
        queue.offer(&line);
        assert_eq!(counters.lines_lost.get(), 6, "room that was given back is used again");
    }

    #[test]
    fn a_sink_that_refuses_is_no_reason_to_spin() {
        let Bench { queue, reader, counters, told } = bench();
        *reader.refuses.lock().unwrap() = true;
        (0..3).for_each(|_| queue.offer(b"x"));
        assert!(queue.flush(LONG));
        assert_eq!((counters.lines_lost.get(), told.lock().unwrap().len()), (3, 0));
        *reader.refuses.lock().unwrap() = false;
        queue.offer(b"y");
        assert!(queue.flush(LONG) && queue.flush(LONG));
        assert_eq!(*told.lock().unwrap(), [3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Whatever the reader does: a line is written once or counted once, and order holds.
        #[test]
        fn books_of_lines_balance(steps in prop::collection::vec((0usize..2000, any::<bool>()), 1..12)) {
            let Bench { queue, reader, counters, .. } = bench();
            let mut offered = 0u64;
            for (lines, stalls) in steps {
                let stalled = stalls.then(|| reader.stalled());
                for _ in 0..lines {
                    queue.offer(format!("{offered}").as_bytes());
                    offered += 1;
                }
                drop(stalled);
            }
            prop_assert!(queue.flush(LONG));
            let written: Vec<u64> = reader.stalled().iter().map(|line| line.parse().unwrap()).collect();
            prop_assert_eq!(written.len() as u64 + counters.lines_lost.get(), offered);
            prop_assert!(written.is_sorted_by(|a, b| a < b));
        }
    }
}
