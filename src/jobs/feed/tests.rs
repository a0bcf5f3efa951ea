//! Feeds against a naive list of lines.

use super::*;
use crate::frame::{Dtype, Stream};
use crate::units::Rational;
use proptest::prelude::*;
use std::time::Instant;

/// Line period of the example.
const LINE_NS: i64 = 50_000_000;

/// Values of line `number` (counted from the first of the job) of the example's three channels.
fn values(number: u64) -> [f32; 3] {
    let base = (number * 37 % 101) as f32;
    [base, -base / 4.0, base + 0.5]
}

fn lines(first_line: u64, number: u64, count: usize) -> Frame {
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
struct Judged {
    reader: Reader,
    next: u64,
}

impl Judged {
    /// Holds `run` against the list; `oldest` is the first line that the feed could still hold.
    fn judge(&mut self, run: &Run, oldest: u64) {
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
    #[test]
    fn every_reader_gets_every_line_once_in_order_or_is_told(steps in steps(), held in 1usize..12) {
        let feed = Arc::new(Feed::new("site".into(), Limits { bytes: bytes_of(held), age: Duration::MAX }));
        let mut frames: Vec<usize> = Vec::new();
        let (mut total, mut lost, mut ended) = (0u64, 0u64, false);
        let mut readers: Vec<Judged> = Vec::new();
        for step in steps {
            // The naive feed: frames of the end that fit, and always the last.
            let sizes: Vec<usize> = frames.iter().map(|&count| bytes_of_lines(count)).collect();
            let fit = (1..=sizes.len()).rev()
                .find(|&n| n == 1 || sizes[sizes.len() - n..].iter().sum::<usize>() <= bytes_of(held)).unwrap_or(0);
            let oldest = total - frames[frames.len() - fit..].iter().sum::<usize>() as u64;
            prop_assert_eq!(feed.counts().frames_held, fit);
            match step {
                Step::Push(count) => {
                    feed.push(lines(14 + total, total, count));
                    if !ended {
                        frames.push(count);
                        total += count as u64;
                    }
                }
                Step::Open => readers.push(Judged { reader: feed.reader(), next: oldest }),
                Step::Close(who) if !readers.is_empty() => {
                    readers.swap_remove(who % readers.len());
                }
                Step::Read(who) | Step::ReadMany(who, _) if !readers.is_empty() => {
                    let most = if let Step::ReadMany(_, most) = step { most } else { 1 };
                    let at = who % readers.len();
                    let judged = &mut readers[at];
                    match judged.reader.cursor.look(|taken, _| taken.len() < most) {
                        Look::Run(run) => {
                            prop_assert!((1..=most).contains(&run.frames.len()));
                            lost += run.lines_lost;
                            judged.judge(&run, oldest);
                        }
                        Look::Nothing => prop_assert!(judged.next == total && !ended),
                        Look::End => prop_assert!(judged.next == total && ended),
                    }
                }
                Step::End => {
                    feed.end();
                    ended = true;
                }
                Step::Close(_) | Step::Read(_) | Step::ReadMany(..) => {}
            }
            let counts = feed.counts();
            prop_assert_eq!((counts.lines, counts.lines_lost, counts.readers), (total, lost, readers.len()));
        }
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
            let polled = poll.take(most);
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
    for second in 0..30 {
        let captured_at = start() + Duration::from_secs(second);
        feed.push(Frame { captured_at, ..lines(second, second, 1) });
    }
    let polled = poll.take(100);
    let rows: Vec<_> = polled.rows.iter().map(|row| row.row).collect();
    assert_eq!((rows, polled.lines_lost), ((19..30).collect(), 19));
    assert!(!poll.take(1).ended);
    feed.end();
    assert!(poll.take(1).ended);
}

#[test]
fn rows_go_on_when_a_new_grid_begins() {
    let feeds = Feed::of_job(&"".into(), Limits::default(), 2);
    let on_grid = |epoch: u64, period: Rational, first_line: u64| {
        let mut frame = lines(first_line, 0, 2);
        Arc::make_mut(&mut frame.acquisition).epoch = epoch;
        Arc::make_mut(&mut frame.stream).line_period_s = period;
        frame
    };
    let (slow, fast) = (Rational::new(1, 20).unwrap(), Rational::new(1, 100).unwrap());
    let pushed =
        [(1, slow, 100, 100), (1, slow, 107, 107), (1, fast, 540, 109), (1, fast, 545, 114), (9, fast, 3, 116)];
    let mut readers: Vec<_> = feeds.iter().map(Feed::reader).collect();
    for (epoch, period, first_line, row) in pushed {
        for (feed, reader) in feeds.iter().zip(&mut readers) {
            feed.push(on_grid(epoch, period, first_line));
            let Look::Run(run) = reader.look() else { panic!("a frame was pushed") };
            assert_eq!(run.frames[0].row(), row);
        }
    }
}

#[test]
fn bytes_are_made_once_and_shared_between_formats() {
    let feed = Arc::new(Feed::new("glass".into(), Limits::default()));
    let mut frame = lines(5, 0, 2);
    let stream = Stream { dtype: Dtype::F16, ..Stream::clone(&frame.stream) };
    frame.stream = Arc::new(stream);
    let wire = crate::wire::encode_vec(&frame, "glass");
    feed.push(frame);
    let (mut one, mut other) = (feed.reader(), feed.reader());
    let (Look::Run(one), Look::Run(other)) = (one.look(), other.look()) else { panic!("a frame was pushed") };
    let (one, other) = (&one.frames[0], &other.frames[0]);
    assert_eq!(one.wire(), wire);
    assert_eq!(one.wire().as_ptr(), other.wire().as_ptr());
    let second_line = wire.len() - 6;
    assert_eq!(one.f16(1), wire[second_line..]);
    assert_eq!(one.f16(1).as_ptr(), other.wire()[second_line..].as_ptr());
    assert!(one.f16(2).is_empty() && one.values(2).is_empty());
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
        assert_eq!((run.frames[0].values(0).as_ref(), run.frames[0].values(1).as_ref()), flat.split_at(3));
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
