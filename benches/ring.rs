//! Ring to block: how fast the consumer moves traces, beside a plain memcpy of the same bytes in the same run, and how
//! long a trace is under way from the producer's store to the block.
//!
//! Everything is verified before it is measured. Throughput is in samples/s; the lines at the end say how many times
//! real time that is (2337 channels of int16 at 2000 Hz) and which share of memcpy. The target is 60 %.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use fiberd::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::ring::{Producer, Ring, RingOptions, RingSpec};
use fiberd::source::{Interrogator, Probe, ReadOutcome};

const CHANNELS: usize = 2337;
const PRR_HZ: f64 = 2000.0;
/// 20 ms, as a block is by default.
const TRACES: usize = 40;
const SLOTS: usize = 64;
const SAMPLES: usize = CHANNELS * TRACES;

fn spec(traces_per_slot: usize) -> RingSpec {
    let a = Acquisition::example();
    RingSpec {
        sample_format: SampleFormat::I16,
        channels: CHANNELS,
        traces_per_slot,
        slots: SLOTS,
        prr_hz: PRR_HZ,
        dx_m: a.dx_m,
        gauge_length_m: a.gauge_length_m,
        fiber_start_m: 0.0,
        scale: a.scale,
        quantity: Quantity::Phase,
        unit: a.unit,
        wavelength_m: a.wavelength_m,
        refractive_index: a.refractive_index,
        description: a.description,
        clock: ClockQuality::FreeRunning,
        source: fiberd::acquisition::SourceKind::Ring,
    }
}

/// Some moment that a ring may name.
const UTC_NS: i64 = 1_790_000_000_000_000_000;

fn sample(trace: u64, channel: usize) -> i16 {
    (trace.wrapping_mul(40_503).wrapping_add(channel as u64 * 271) >> 3) as i16
}

fn scratch() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    root.join(format!("fiberd-bench-{}.ring", std::process::id()))
}

fn ready(ring: &mut Ring, producer: &Producer) -> Arc<Acquisition> {
    loop {
        producer.heartbeat();
        match ring.probe().expect("a ring knows no errors that waiting does not mend") {
            Probe::Ready(acquisition) => return Arc::new(acquisition),
            Probe::Waiting(_) => std::thread::yield_now(),
        }
    }
}

/// As many blocks as the default pool has, so that both copies leave the cache as they do in the daemon.
fn blocks(acquisition: &Arc<Acquisition>) -> Vec<RawBlock> {
    let layout = BlockLayout { channels: CHANNELS, format: SampleFormat::I16, capacity_traces: TRACES };
    (0..SLOTS).map(|_| RawBlock::new(layout, Arc::clone(acquisition))).collect()
}

fn read(ring: &mut Ring, block: &mut RawBlock, acquisition: &Arc<Acquisition>) {
    block.clear(acquisition);
    let outcome = ring.read_block(block, Duration::from_secs(1)).expect("readable");
    assert_eq!((outcome, block.traces, block.gap_before), (ReadOutcome::Filled, TRACES, 0));
}

fn throughput(c: &mut Criterion) {
    let path = scratch();
    let mut producer = Producer::create(&path, &spec(TRACES)).expect("a place for the ring");
    let mut ring = Ring::new(RingOptions::new(&path));
    let acquisition = ready(&mut ring, &producer);
    let mut blocks = blocks(&acquisition);

    // Verified before measured: every sample of a whole ring.
    let mut next = 0u64;
    for (slot, block) in blocks.iter_mut().enumerate() {
        producer.write_slot(next, UTC_NS, TRACES, |bytes| {
            for (i, value) in bytes.chunks_exact_mut(2).enumerate() {
                value.copy_from_slice(&sample(next + (i / CHANNELS) as u64, i % CHANNELS).to_le_bytes());
            }
        });
        read(&mut ring, block, &acquisition);
        for t in 0..TRACES {
            let wrong = block.row_as::<i16>(t).iter().enumerate().position(|(c, &v)| v != sample(next + t as u64, c));
            assert_eq!(wrong, None, "slot {slot}, trace {t}");
        }
        next += TRACES as u64;
    }

    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let (mut ring_s, mut ring_blocks) = (0.0, 0u64);
    group.bench_function("slot_to_block/2337xi16", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for i in 0..n {
                // The samples of the first round stay where they are; only the slot is made new.
                producer.write_slot(next, UTC_NS, TRACES, |_| {});
                next += TRACES as u64;
                let block = &mut blocks[i as usize % SLOTS];
                let begun = Instant::now();
                read(&mut ring, block, &acquisition);
                spent += begun.elapsed();
            }
            (ring_s, ring_blocks) = (ring_s + spent.as_secs_f64(), ring_blocks + n);
            spent
        });
    });

    let source: Vec<Vec<u8>> = (0..SLOTS).map(|slot| vec![slot as u8; SAMPLES * 2]).collect();
    let mut target: Vec<Vec<u8>> = source.clone();
    let (mut copy_s, mut copies) = (0.0, 0u64);
    group.bench_function("memcpy/2337xi16", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for i in 0..n {
                let at = i as usize % SLOTS;
                let begun = Instant::now();
                black_box(&mut target[at]).copy_from_slice(black_box(&source[at]));
                spent += begun.elapsed();
            }
            (copy_s, copies) = (copy_s + spent.as_secs_f64(), copies + n);
            spent
        });
    });
    group.finish();
    let _ = std::fs::remove_file(&path);
    assert_eq!(source, target);
    if ring_blocks > 1 && copies > 1 {
        let (per_block, per_copy) = (ring_s / ring_blocks as f64, copy_s / copies as f64);
        println!(
            "ring to block: {:.0} × real time, {:.1} GB/s, {:.0} % of memcpy ({:.1} GB/s)\n",
            TRACES as f64 / PRR_HZ / per_block,
            SAMPLES as f64 * 2e-9 / per_block,
            per_copy / per_block * 100.0,
            SAMPLES as f64 * 2e-9 / per_copy,
        );
    }
}

/// Time from the store of a block's last slot to the block in hand, with the producer on another thread in real time.
fn latency(c: &mut Criterion) {
    const SLOT_TRACES: usize = 10;
    let path = scratch();
    let mut producer = Producer::create(&path, &spec(SLOT_TRACES)).expect("a place for the ring");
    let mut ring = Ring::new(RingOptions::new(&path));
    let acquisition = ready(&mut ring, &producer);
    let mut block = blocks(&acquisition).swap_remove(0);
    let origin = Instant::now();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            let mut first = 0;
            while !stop.load(Ordering::Relaxed) {
                let due = origin + Duration::from_secs_f64((first + SLOT_TRACES as u64) as f64 / PRR_HZ);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // The timestamp carries the moment of the store.
                let nanoseconds = UTC_NS + origin.elapsed().as_nanos() as i64;
                producer.write_slot(first, nanoseconds, SLOT_TRACES, |samples| samples[0] = 1);
                first += SLOT_TRACES as u64;
            }
        });
        let mut group = c.benchmark_group("ring");
        group.sample_size(10).measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_millis(500));
        let mut seen = Vec::new();
        group.bench_function("store_to_block/20ms", |b| {
            b.iter_custom(|n| {
                let mut spent = Duration::ZERO;
                for _ in 0..n {
                    block.clear(&acquisition);
                    while ring.read_block(&mut block, Duration::from_secs(1)).expect("readable") != ReadOutcome::Filled
                    {
                    }
                    // Four slots make a block; the last one was stored three slots after the first.
                    let first_stored = origin + Duration::from_nanos((block.utc_ns - UTC_NS).unsigned_abs());
                    let slots_later = Duration::from_secs_f64((TRACES - SLOT_TRACES) as f64 / PRR_HZ);
                    let late = block.captured_at.saturating_duration_since(first_stored + slots_later);
                    seen.push(late);
                    spent += late;
                }
                spent
            });
        });
        group.finish();
        stop.store(true, Ordering::Relaxed);
        seen.sort_unstable();
        if seen.len() > 10 {
            println!(
                "store to block: median {:?}, 90 % within {:?}\n",
                seen[seen.len() / 2],
                seen[seen.len() * 9 / 10]
            );
        }
    });
    let _ = std::fs::remove_file(&path);
}

criterion_group!(benches, throughput, latency);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
