//! What a line of a job costs between the fence and the endpoints: `cargo bench --bench feed`. Run as tests, the benchmarks
//! verify what they measure.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fiberd::feed::{Feed, Limits, Poll};
use fiberd::frame::{ChannelAxis, Frame, FrequencyAxis, Stream, View};

/// A third of the usual job: 50 channels in three streams, 257 bins.
const CHANNELS: usize = 17;
const BINS: usize = 257;

fn stream() -> Arc<Stream> {
    let example = Frame::example();
    Arc::new(Stream {
        view: View::Multi,
        job: "1-1".into(),
        channels: ChannelAxis { start: 0, step: 1, count: CHANNELS },
        frequencies: FrequencyAxis { start_hz: 0.0, step_hz: 1.0, count: BINS },
        ..Stream::clone(&example.stream)
    })
}

fn line(stream: &Arc<Stream>, row: u64) -> Frame {
    let values: Vec<_> = (0..CHANNELS * BINS).map(|i| (i as u64 + row) as f32).collect();
    let stream = Arc::clone(stream);
    Frame { stream, first_line: row, lines: 1, captured_at: Instant::now(), values: values.into(), ..Frame::example() }
}

fn limits() -> Limits {
    Limits { bytes: 1 << 20, age: Duration::from_secs(10) }
}

/// One line in, and its bytes out to one reader.
fn one_line(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed");
    group.throughput(Throughput::Elements((CHANNELS * BINS) as u64));
    let stream = stream();
    for (name, wire) in [("a line as float16", false), ("a line in the wire format", true)] {
        let feed = Arc::new(Feed::new("site".into(), limits()));
        let mut reader = feed.reader();
        let mut row = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    row += 1;
                    line(&stream, row)
                },
                |frame| {
                    feed.push(frame);
                    let fiberd::feed::Look::Run(run) = reader.look() else { panic!("a frame was pushed") };
                    let frame = &run.frames[0];
                    let bytes = if wire { frame.wire() } else { frame.f16(0) };
                    assert_eq!(
                        bytes.len(),
                        if wire { fiberd::wire::HEADER_BYTES + CHANNELS * BINS * 4 } else { CHANNELS * BINS * 2 }
                    );
                    black_box(bytes)
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
    let feeds = Feed::of_job(&"site".into(), limits(), 3);
    let mut poll = Poll::new(&feeds);
    let mut row = 0;
    group.bench_function("a row of three streams by polling", |bencher| {
        bencher.iter_batched(
            || {
                row += 1;
                for feed in &feeds {
                    feed.push(line(&stream, row));
                }
            },
            |()| {
                let polled = poll.take(1, usize::MAX);
                assert_eq!(polled.rows[0].parts.len(), 3);
                black_box(polled)
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// One line to each of 600 feeds whose readers wait as tasks: 200 jobs of three streams.
fn many_readers(criterion: &mut Criterion) {
    const FEEDS: usize = 600;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let feeds: Vec<_> = (0..FEEDS).map(|_| Arc::new(Feed::new("site".into(), limits()))).collect();
    let (read_tx, read_rx) = crossbeam_channel::unbounded();
    for feed in &feeds {
        let (mut reader, read_tx) = (feed.reader(), read_tx.clone());
        runtime.spawn(async move {
            while let Some(run) = reader.next().await {
                let _ = read_tx.send(run.frames[0].f16(0).len());
            }
        });
    }
    let stream = stream();
    let mut row = 0;
    let mut group = criterion.benchmark_group("feeds");
    group.throughput(Throughput::Elements(FEEDS as u64));
    group.bench_function("a line to 600 readers", |bencher| {
        bencher.iter_batched(
            || {
                row += 1;
                feeds.iter().map(|_| line(&stream, row)).collect::<Vec<_>>()
            },
            |frames| {
                feeds.iter().zip(frames).for_each(|(feed, frame)| feed.push(frame));
                let bytes: usize = (0..FEEDS).filter_map(|_| read_rx.recv().ok()).sum();
                assert_eq!(bytes, FEEDS * CHANNELS * BINS * 2);
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
    feeds.iter().map(Arc::as_ref).for_each(Feed::end);
}

criterion_group!(benches, one_line, many_readers);
criterion_main!(benches);
