//! The machine stops at any moment, and any of what was written since the last sync is lost, sector by sector.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Disk, Recording, SECTOR};
use crate::acquisition::{Acquisition, SampleFormat};
use crate::block::{BlockLayout, RawBlock};
use crate::source::replay::Replay;
use crate::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use crate::units::{Rational, TraceIndex};

const UTC_NS: i64 = 1_700_000_000_123_456_789;

#[derive(Clone, Debug)]
enum Deed {
    SetLen(u64),
    Write(u64, Vec<u8>),
    Sync,
    Publish,
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<Deed>>>);

impl Log {
    fn add(&self, deed: Deed) {
        self.0.borrow_mut().push(deed);
    }
}

impl Disk for Log {
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.add(Deed::SetLen(len));
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.add(Deed::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.add(Deed::Sync);
        Ok(())
    }

    fn publish(&mut self) -> io::Result<()> {
        self.add(Deed::Publish);
        Ok(())
    }
}

fn acquisition(format: SampleFormat) -> Arc<Acquisition> {
    let prr = Rational::new(16_089, 5).expect("positive");
    let scale = if format == SampleFormat::F32 { 1.0 } else { 1e-3 };
    Arc::new(Acquisition {
        channels: 11,
        prr,
        sample_format: format,
        scale,
        dx_m: 2.0,
        fiber_start_m: 4.0,
        ..Acquisition::example()
    })
}

/// A sample that says where it belongs, and is never 0.
fn sample(format: SampleFormat, row: u64, byte: usize) -> u8 {
    // The high byte of a float must make it a sound one.
    let is_high = byte % format.bytes() == format.bytes() - 1;
    if is_high { 0x3f } else { (row as usize * 31 + byte * 7) as u8 | 1 }
}

fn utc_ns(a: &Acquisition, row: u64) -> i64 {
    UTC_NS + a.prr.traces_to_ns(row)
}

/// What is done for a recording of these blocks, each shown or not, that is ended or not; and what of it was shown behind
/// which deed.
fn deeds(format: SampleFormat, blocks: &[(usize, bool)], room: u64, ended: bool) -> (Vec<Deed>, Vec<(usize, u64)>) {
    let (a, log) = (acquisition(format), Log::default());
    let (mut recording, mut row, mut shown) = (None, 0, Vec::new());
    for &(traces, show) in blocks {
        let layout = BlockLayout { channels: a.channels, format, capacity_traces: traces };
        let mut block = RawBlock::new(layout, Arc::clone(&a));
        block.clear(&a);
        (block.first_trace, block.traces, block.utc_ns) = (TraceIndex(row), traces, utc_ns(&a, row));
        for trace in 0..traces {
            let bytes = block.row_mut(trace);
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = sample(format, row + trace as u64, at));
        }
        let recording =
            recording.get_or_insert_with(|| Recording::create(log.clone(), &block, 0, room).expect("no disk refuses"));
        let traces = traces.min(recording.free() as usize);
        if traces > 0 {
            assert!(recording.goes_on(&block, 0));
            recording.append(&block, 0..traces).unwrap();
            row += traces as u64;
        }
        if show {
            recording.show().unwrap();
            shown.push((log.0.borrow().len(), row));
        }
    }
    if ended && let Some(recording) = recording {
        recording.finish().unwrap();
        shown.push((log.0.borrow().len(), row));
    }
    (log.0.take(), shown)
}

/// The file after the first `count` deeds, of which those behind the last sync are kept as `is_kept` says, sector by
/// sector; `None` while it has no name.
fn after(deeds: &[Deed], count: usize, is_kept: &mut dyn FnMut() -> bool) -> Option<Vec<u8>> {
    let synced = deeds[..count].iter().rposition(|deed| matches!(deed, Deed::Sync)).unwrap_or(0);
    let (mut file, mut named) = (Vec::new(), false);
    for (number, deed) in deeds[..count].iter().enumerate() {
        let mut kept = || number < synced || is_kept();
        match deed {
            Deed::SetLen(len) if kept() => file.resize(*len as usize, 0),
            Deed::Write(at, bytes) => {
                let at = *at as usize;
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min((at + from) / SECTOR * SECTOR + SECTOR - at);
                    if kept() {
                        file[at + from..at + to].copy_from_slice(&bytes[from..to]);
                    }
                    from = to;
                }
            }
            // It is made durable by itself.
            Deed::Publish => named = true,
            Deed::Sync | Deed::SetLen(_) => {}
        }
    }
    named.then_some(file)
}

/// Rows of the file, all of which must be right.
fn rows(format: SampleFormat, bytes: &[u8]) -> u64 {
    let file = tempfile::Builder::new().suffix(".h5").tempfile_in("/dev/shm").unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut replay = Replay::open(&[file.path().to_owned()], ReplaySpeed::Unpaced, false).unwrap();
    let Probe::Ready(found) = replay.probe().unwrap() else { panic!("a file is ready") };
    let a = acquisition(format);
    assert_eq!((found.channels, found.sample_format, found.dx_m), (a.channels, format, a.dx_m));
    assert!((found.fiber_start_m - a.fiber_start_m).abs() < 1e-9);
    let found = Arc::new(found);
    let layout = BlockLayout { channels: 11, format, capacity_traces: 64 };
    let (mut block, mut next) = (RawBlock::new(layout, Arc::clone(&found)), 0);
    loop {
        block.clear(&found);
        match replay.read_block(&mut block, Duration::from_secs(20)).unwrap() {
            ReadOutcome::Filled => {
                assert_eq!((block.first_trace.0, block.gap_before), (next, 0));
                for trace in 0..block.traces {
                    let is = |at: usize, byte: u8| byte == sample(format, next, at);
                    assert!(block.row(trace).iter().enumerate().all(|(at, &byte)| is(at, byte)), "row {next}");
                    let found_ns = block.utc_ns + block.acquisition.prr.traces_to_ns(trace as u64);
                    assert!(found_ns.abs_diff(utc_ns(&a, next)) <= 1000, "row {next} at {found_ns}");
                    next += 1;
                }
            }
            ReadOutcome::EndOfStream => return next,
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_moment_the_machine_stops_at(
        format in prop::sample::select(vec![SampleFormat::I16, SampleFormat::F32]),
        blocks in prop::collection::vec((1usize..60, any::<bool>()), 1..8), room in 3u64..400, ended in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (deeds, shown) = deeds(format, &blocks, room, ended);
        let mut random = seed;
        let mut next = move || {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            random >> 60
        };
        for count in 1..=deeds.len() {
            let synced = deeds[..count].iter().rposition(|deed| matches!(deed, Deed::Sync)).unwrap_or(0);
            let safe = shown.iter().rfind(|(deed, _)| *deed <= synced).map_or(0, |(_, rows)| *rows);
            let all = shown.iter().rfind(|(deed, _)| *deed <= count).map_or(0, |(_, rows)| *rows);
            let later = shown.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
            for share in [0, 4, 8, 12, 16] {
                let Some(file) = after(&deeds, count, &mut || next() < share) else { continue };
                let found = rows(format, &file);
                prop_assert!((safe.max(1)..=later).contains(&found), "{found} rows after {count} of {deeds:?}");
                prop_assert!(share < 16 || found >= all, "{found} of {all} rows");
            }
        }
    }
}
