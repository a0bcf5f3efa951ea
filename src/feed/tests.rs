//! Feeds against a naive list of lines.

use super::*;
use crate::frame::{Dtype, Stream};
use proptest::prelude::*;
use std::time::Instant;

/// Line period of the example.
pub(super) const LINE_NS: i64 = 50_000_000;

/// Values of line `number` (counted from the first of the job) of the example's three channels.
fn values(number: u64) -> [f32; 3] {
    let base = (number * 37 % 101) as f32;
    [base, -base / 4.0, base + 0.5]
}

pub(super) fn lines(first_line: u64, number: u64, count: usize) -> Frame {
    let values: Vec<_> = (number..).take(count).flat_map(values).collect();
    let utc_first_ns = first_line as i64 * LINE_NS;
    Frame {
        first_line,
        lines: count,
        utc_first_ns,
        utc_end_ns: utc_first_ns + count as i64 * LINE_NS,
        captured_at: start(),
        values: values.into(),
        ..Frame::example()
    }
}

/// One instant for all frames of a test that is not about age.
fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

fn bytes_of(frames: usize) -> usize {
    let feed = Feed::default();
    feed.push(lines(0, 0, 1));
    feed.counts().bytes_held * frames
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Open,
    Close(usize),
    Read(usize),
    ReadMany(usize, usize),
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1usize..4).prop_map(Step::Push),
        1 => Just(Step::Open),
        1 => any::<usize>().prop_map(Step::Close),
        4 => any::<usize>().prop_map(Step::Read),
        2 => (any::<usize>(), 1usize..6).prop_map(|(who, most)| Step::ReadMany(who, most)),
        1 => Just(Step::End),
    ];
    prop::collection::vec(step, 0..120)
}

/// A reader and the number of the line that it must get next.
struct CheckedReader {
    reader: Reader,
    next: u64,
}

impl CheckedReader {
    /// Holds `run` against the list; `oldest` is the first line that the feed could still hold.
    fn check(&mut self, run: &Run, oldest: u64) {
        let first = self.next + run.lines_lost;
        assert!(run.lines_lost == 0 || first >= oldest, "lines were lost that were held");
        assert!(first >= oldest, "lines came that were dropped");
        self.next = first;
        for frame in &run.frames {
            assert_eq!((frame.lines_before(), frame.row()), (self.next, self.next + 14));
            for line in 0..frame.lines() {
                let wanted = values(self.next);
                assert_eq!(frame.values(line).as_ref(), wanted);
                let halves = wanted.map(half::f16::from_f32);
                assert_eq!(frame.f16(line).as_ref(), bytemuck::cast_slice::<_, u8>(&halves));
                self.next += 1;
            }
            let all: Vec<f32> = (0..self.next).flat_map(values).collect();
            let (min, max) = (frame.extrema().min(), frame.extrema().max());
            let fold = |start, pick: fn(f32, f32) -> f32| all.iter().copied().fold(start, pick);
            assert_eq!((min, max), (fold(f32::INFINITY, f32::min), fold(f32::NEG_INFINITY, f32::max)));
        }
    }
}

proptest! {
    /// Against a plain list of what is held: the newest frame, and before it what a reader within the limits has yet to
    /// read, and nothing else.
    #[test]
    fn every_reader_gets_every_line_once_in_order_or_is_told(steps in steps(), most in 1usize..12) {
        let limits = Limits { bytes: bytes_of(most), age: Duration::MAX };
        let feed = Arc::new(Feed::new("site".into(), limits));
        // Frames that were pushed: the number of its first line and of the line behind it.
        let mut frames: Vec<(u64, u64)> = Vec::new();
        let (mut gone, mut total, mut lost, mut ended) = (0usize, 0u64, 0u64, false);
        let mut readers: Vec<CheckedReader> = Vec::new();
        for step in steps {
            match step {
                Step::Push(count) => {
                    feed.push(lines(14 + total, total, count));
                    if !ended {
                        frames.push((total, total + count as u64));
                        total += count as u64;
                    }
                }
                Step::Open => {
                    readers.push(CheckedReader { reader: feed.reader(), next: frames.last().map_or(total, |newest| newest.0) });
                }
                Step::Close(who) if !readers.is_empty() => {
                    readers.swap_remove(who % readers.len());
                }
                Step::Read(who) | Step::ReadMany(who, _) if !readers.is_empty() => {
                    let most = if let Step::ReadMany(_, most) = step { most } else { 1 };
                    let at = who % readers.len();
                    let reader = &mut readers[at];
                    let oldest = frames.get(gone).map_or(total, |frame| frame.0);
                    match reader.reader.cursor.look(|taken, _| taken.len() < most) {
                        Look::Run(run) => {
                            prop_assert!((1..=most).contains(&run.frames.len()));
                            lost += run.lines_lost;
                            reader.check(&run, oldest);
                        }
                        Look::Nothing => prop_assert!(reader.next == total && !ended),
                        Look::End => prop_assert!(reader.next == total && ended),
                    }
                }
                Step::End => {
                    feed.end();
                    ended = true;
                }
                Step::Close(_) | Step::Read(_) | Step::ReadMany(..) => {}
            }
            while gone + 1 < frames.len() {
                let unread = readers.iter().any(|reader| reader.next < frames[gone].1);
                let held: usize = frames[gone..].iter().map(|(from, to)| bytes_of_lines((to - from) as usize)).sum();
                if unread && held <= limits.bytes {
                    break;
                }
                gone += 1;
            }
            let counts = feed.counts();
            prop_assert_eq!((counts.frames_held, counts.lines), (frames.len() - gone, total));
            prop_assert_eq!((counts.lines_lost, counts.readers), (lost, readers.len()));
        }
        readers.clear();
        prop_assert_eq!(feed.counts().frames_held, frames.len().min(1), "without readers the newest is all");
    }

    #[test]
    fn polls_give_whole_rows_once_in_order(
        missing in prop::collection::vec((0u64..40, 0usize..3), 0..8),
        sizes in prop::collection::vec(1usize..4, 3 * 40),
        takes in prop::collection::vec(1usize..9, 1..60),
        order in prop::collection::vec(0usize..3, 200),
    ) {
        // Each stream has lines 0…40 but for some, in frames of its own sizes; they are pushed in any interleaving.
        let feeds = Feed::of_job(&"site".into(), Limits::default(), 3);
        let mut queues: Vec<Vec<(u64, usize)>> = (0..3).map(|stream| {
            let (mut queue, mut line, mut sizes) = (Vec::new(), 0u64, sizes.iter().skip(stream * 40));
            while line < 40 {
                let gone = |line: u64| missing.contains(&(line, stream));
                let count = (line..40).take(*sizes.next().unwrap()).take_while(|&line| !gone(line)).count();
                if count > 0 {
                    queue.push((line, count));
                }
                line += count.max(1) as u64;
            }
            queue.reverse();
            queue
        }).collect();
        let mut poll = Poll::new(&feeds);
        poll.take(1, usize::MAX);
        let (mut order, mut takes) = (order.into_iter(), takes.into_iter().cycle());
        let mut rows = Vec::new();
        loop {
            let stream = order.next().unwrap_or_else(|| queues.iter().position(|queue| !queue.is_empty()).unwrap_or(0));
            match queues[stream].pop() {
                Some((line, count)) => feeds[stream].push(lines(line, line, count)),
                None => feeds[stream].end(),
            }
            if queues.iter().all(Vec::is_empty) {
                feeds.iter().map(Arc::as_ref).for_each(Feed::end);
            }
            let most = takes.next().unwrap();
            let polled = poll.take(most, usize::MAX);
            prop_assert!(polled.rows.len() <= most && polled.lines_lost == 0);
            for row in &polled.rows {
                let part = |part: &Part| (part.row(), <[f32; 3]>::try_from(part.values().as_ref()).unwrap());
                rows.push((row.row, row.parts.iter().map(part).collect::<Vec<_>>()));
                let (start_ms, end_ms) = row.times_ms();
                prop_assert_eq!((start_ms, end_ms), (row.row as i64 * 50, row.row as i64 * 50 + 50));
                prop_assert_eq!((row.start_ns, row.end_ns), (start_ms * 1_000_000, end_ms * 1_000_000));
            }
            if polled.ended {
                break;
            }
        }
        let wanted: Vec<_> = (0..40)
            .map(|line| (line, (0..3).filter(|&stream| !missing.contains(&(line, stream))).count()))
            .filter(|(_, streams)| *streams > 0)
            // It begins where all streams have begun.
            .skip_while(|(line, _)| (0..3).any(|stream| (0..=*line).all(|line| missing.contains(&(line, stream)))))
            .map(|(line, streams)| (line, vec![(line, values(line)); streams]))
            .collect();
        prop_assert_eq!(rows, wanted);
        prop_assert_eq!(feeds.iter().map(|feed| feed.readers()).sum::<usize>(), 0);
    }
}

fn bytes_of_lines(count: usize) -> usize {
    let feed = Feed::default();
    feed.push(lines(0, 0, count));
    feed.counts().bytes_held
}

#[tokio::test]
async fn readers_that_wait_are_woken_by_frames_and_by_the_end() {
    let feed = Arc::new(Feed::default());
    let read_all = |mut reader: Reader| async move {
        let mut rows = Vec::new();
        while let Some(run) = reader.next().await {
            rows.extend(run.frames.iter().map(|frame| frame.row()));
        }
        rows
    };
    let readers: Vec<_> = (0..20).map(|_| tokio::spawn(read_all(feed.reader()))).collect();
    for number in 0..50 {
        feed.push(lines(number, number, 1));
        tokio::task::yield_now().await;
    }
    feed.end();
    for reader in readers {
        assert!(reader.await.unwrap().into_iter().eq(0..50));
    }
    assert_eq!(feed.readers(), 0);
}

#[test]
fn what_is_too_old_goes_and_a_poll_says_so() {
    let feed = Arc::new(Feed::new("".into(), Limits { bytes: usize::MAX, age: Duration::from_secs(10) }));
    let mut poll = Poll::new(std::slice::from_ref(&feed));
    let push = |second: u64| {
        let captured_at = start() + Duration::from_secs(second);
        feed.push(Frame { captured_at, ..lines(second, second, 1) });
    };
    let rows = |polled: &Polled| polled.rows.iter().map(|row| row.row).collect::<Vec<_>>();
    push(0);
    assert_eq!(rows(&poll.take(100, usize::MAX)), [0]);
    (1..30).for_each(push);
    let polled = poll.take(100, usize::MAX);
    assert_eq!((rows(&polled), polled.lines_lost), ((19..30).collect(), 18));
    // However little memory there is, a row is given.
    (30..35).for_each(push);
    let line = polled.rows[0].bytes();
    assert_eq!(rows(&poll.take(100, 2 * line)), [30, 31]);
    assert_eq!(rows(&poll.take(100, 0)), [32]);
    poll.release();
    assert_eq!(feed.counts().frames_held, 1, "nothing is held for a client that stays away");
    (35..40).for_each(push);
    let polled = poll.take(100, usize::MAX);
    assert_eq!((rows(&polled), polled.lines_lost), (vec![39], 6), "and it is told");
    assert!(!poll.take(1, usize::MAX).ended);
    feed.end();
    assert!(poll.take(1, usize::MAX).ended);
}

#[test]
fn rows_are_held_for_a_first_poll_until_that_is_in_vain() {
    let feeds = Feed::of_job(&"".into(), Limits::default(), 3);
    let push = |line: u64| feeds.iter().for_each(|feed| feed.push(lines(line, line, 1)));
    let rows = |polled: Polled| polled.rows.iter().map(|row| row.row).collect::<Vec<_>>();
    let mut poll = Poll::new(&feeds);
    poll.begin();
    (0..5).for_each(push);
    assert!(!poll.is_asked());
    assert!(rows(poll.take(3, usize::MAX)).into_iter().eq(0..3) && poll.is_asked());
    assert!(rows(poll.take(9, usize::MAX)).into_iter().eq(3..5));

    let mut poll = Poll::new(&feeds);
    poll.begin();
    (5..9).for_each(push);
    poll.release();
    (9..12).for_each(push);
    let polled = poll.take(9, usize::MAX);
    assert_eq!((polled.lines_lost, rows(polled)), (0, vec![11]), "as if nothing had been held");
}

#[test]
fn a_stream_without_a_reader_holds_one_line_and_polls_begin_where_all_streams_are() {
    let feeds = Feed::of_job(&"".into(), Limits::default(), 3);
    let push = |stream: usize, line: u64| feeds[stream].push(lines(line, line, 1));
    (0..50).for_each(|line| (0..3).for_each(|stream| push(stream, line)));
    // The next line has come to one stream only.
    push(0, 50);
    assert!(feeds.iter().all(|feed| feed.counts().frames_held == 1));
    let mut poll = Poll::new(&feeds);
    assert!(poll.take(9, usize::MAX).rows.is_empty());
    (51..60).for_each(|line| push(0, line));
    (1..3).for_each(|stream| (50..60).for_each(|line| push(stream, line)));
    let rows = poll.take(99, usize::MAX).rows;
    assert!(rows.iter().map(|row| row.row).eq(50..60) && rows.iter().all(|row| row.parts.len() == 3));
    drop(poll);
    assert!(feeds.iter().all(|feed| feed.counts().frames_held == 1));
}

#[test]
fn readers_may_be_behind_by_their_share_of_the_limits() {
    let share = Arc::new(Share::default());
    let limits = Limits { bytes: bytes_of(20), age: Duration::from_secs(10) };
    let feed = Feed::of_job_within(&"".into(), limits, 1, &share, &Arc::default()).remove(0);
    let mut reader = feed.reader();
    (0..40).for_each(|line| feed.push(lines(line, line, 1)));
    assert_eq!(feed.counts().frames_held, 20);
    share.set(0.25);
    feed.push(lines(40, 40, 1));
    assert_eq!(feed.counts().frames_held, 5);
    share.set(0.0);
    feed.push(lines(41, 41, 1));
    let Look::Run(run) = reader.look() else { panic!("the newest line is always held") };
    assert_eq!((run.lines_lost, run.frames[0].frame().first_line), (41, 41));
}

#[test]
fn float16_is_made_once_for_all_who_share_the_values() {
    let mut frame = lines(5, 0, 2);
    let other_job = Stream { job: "2-2".into(), dtype: Dtype::F16, ..Stream::clone(&frame.stream) };
    frame.shared_with = [crate::frame::SharedStream { stream: Arc::new(other_job), sequence_offset: 0 }].into();
    let feeds = [(); 2].map(|()| Arc::new(Feed::new("glass".into(), Limits::default())));
    let mut readers: Vec<_> = feeds.iter().map(Feed::reader).collect();
    frame.of_each_stream().zip(&feeds).for_each(|(frame, feed)| feed.push(frame));
    let frames: Vec<_> = readers
        .iter_mut()
        .map(|reader| match reader.look() {
            Look::Run(mut run) => run.frames.remove(0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(frames[0].f16(1).as_ptr(), frames[1].f16(1).as_ptr());
    let bytes = frames[1].wire();
    let wire = crate::wire::decode(&bytes).unwrap();
    assert!(wire.dtype == Dtype::F16 && wire.values().skip(3).eq(frames[0].values(1).iter().copied()));
    assert!(frames[0].f16(2).is_empty() && frames[0].values(2).is_empty());
}

#[test]
fn lines_of_values_in_pieces_are_put_together() {
    let frame = lines(0, 0, 2);
    let flat = frame.values.flat().into_owned();
    for cut in 0..=6 {
        let pool = crate::frame::ValuesPool::new(vec![cut, 6 - cut], 1);
        let mut pieces = pool.take();
        let (left, right) = flat.split_at(cut);
        pieces
            .pieces_mut()
            .unwrap()
            .iter_mut()
            .zip([left, right])
            .for_each(|(piece, part)| piece.copy_from_slice(part));
        let feed = Arc::new(Feed::default());
        feed.push(Frame { values: pieces, ..lines(0, 0, 2) });
        let Look::Run(run) = feed.reader().look() else { panic!("a frame was pushed") };
        let frame = &run.frames[0];
        assert_eq!((frame.values(0).as_ref(), frame.values(1).as_ref()), flat.split_at(3));
        let channel = |line: usize, channel: usize| frame.channel_values(line, channel).into_owned();
        for line in 0..3 {
            let all: Vec<_> = (0..4).flat_map(|number| channel(line, number)).collect();
            assert_eq!(all, frame.values(line).as_ref());
        }
    }
}

#[test]
fn times_of_lines_lie_on_the_line_period() {
    let feed = Arc::new(Feed::default());
    feed.push(Frame::example());
    let Look::Run(run) = feed.reader().look() else { panic!("a frame was pushed") };
    let first = 1_790_000_000_700_000_000;
    assert_eq!(run.frames[0].times_ns(0), (first, first + 50_000_000));
    assert_eq!(run.frames[0].times_ns(1), (first + 50_000_000, first + 100_000_000));
    assert_eq!(run.frames[0].channels(), (1, 3));
}

#[test]
fn extrema_are_those_of_numbers_wherever_they_stand() {
    let of = |values: &[f32]| {
        let extrema = Extrema::of(&Frame { values: values.to_vec().into(), ..Frame::example() });
        (extrema.min(), extrema.max())
    };
    for len in 3..70 {
        for at in 0..len {
            let mut values = vec![1.5; len];
            values[at] = -2.0;
            values[(at + 1) % len] = 7.25;
            values[(at + 2) % len] = f32::NAN;
            assert_eq!(of(&values), (-2.0, 7.25), "{at} of {len}");
        }
    }
    assert_eq!(of(&[f32::NAN; 20]), (0.0, 0.0));
    assert_eq!(of(&[f32::NEG_INFINITY, f32::INFINITY]), (f32::NEG_INFINITY, f32::INFINITY));
}
