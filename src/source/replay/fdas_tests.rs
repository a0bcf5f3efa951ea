//! Captures of our own with damage: what is whole comes out exactly where it belongs, and all else is counted.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::format::{CHUNK_HEAD, Chunk, End, decode_header, encode_chunk, encode_end, encode_header, padded};
use super::{Replay, describe};
use crate::acquisition::{Acquisition, Band, Quantity, Region};
use crate::block::{BlockLayout, InstrumentState, RawBlock};
use crate::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};
use crate::units::Rational;

const ROW_BYTES: usize = 6;
const UTC_NS: i64 = 1_700_000_000_000_000_000;

fn acquisition() -> Acquisition {
    let regions = [Region { first_channel: 1, start_m: 500.0, dx_m: 0.5 }];
    let prr = Rational::new(16089, 5).expect("positive");
    let source = crate::acquisition::SourceKind::Replay;
    let levels = Arc::from([1e9, -2.5, 0.0]);
    Acquisition { channels: 3, prr, regions: Arc::from(regions), levels, source, ..Acquisition::example() }
}

#[test]
fn band_energy_has_a_band_and_nothing_else_has_one() {
    let band = Some(Band { low_hz: -0.5, high_hz: 1.5 });
    let lines = Acquisition { band, quantity: Quantity::BandEnergy, ..acquisition() };
    assert_eq!(decode_header(&encode_header(&lines, 7)), Ok((lines.clone(), Some(7))));
    let turned = Some(Band { low_hz: 1.5, high_hz: f64::NAN });
    for wrong in [
        Acquisition { band: None, ..lines.clone() },
        Acquisition { quantity: Quantity::Strain, ..lines.clone() },
        Acquisition { band: turned, ..lines },
    ] {
        let why = decode_header(&encode_header(&wrong, 0)).unwrap_err();
        assert!(why.contains("band"), "{why}");
    }
}

/// A chunk and where its bytes are.
struct Piece {
    chunk: Chunk,
    bytes: std::ops::Range<usize>,
    samples: Vec<u8>,
}

/// A whole capture from `first` on: gap before each chunk, its traces, and what its stamp is off.
fn capture(first: u64, chunks: &[(u64, u32, i64, u8)]) -> (Vec<u8>, Vec<Piece>, End) {
    let mut bytes = encode_header(&acquisition(), first);
    let (mut pieces, mut end, mut next) = (Vec::new(), End::default(), first);
    for (number, &(gap, traces, off, bits)) in chunks.iter().enumerate() {
        let gap_before = if number == 0 { 0 } else { gap };
        let first_trace = next + gap_before;
        let samples: Vec<u8> =
            (0..traces as usize * ROW_BYTES).map(|i| (first_trace as usize * 97 + i * 31) as u8).collect();
        let chunk = Chunk {
            first_trace,
            traces,
            utc_ns: UTC_NS + acquisition().prr.traces_to_ns(first_trace) + off,
            gap_before,
            payload_bytes: samples.len() as u32,
            payload_crc: crc32fast::hash(&samples),
            is_stamped: bits & 1 == 0,
            state: InstrumentState { overloaded: bits & 2 != 0, calibrating: bits & 4 != 0 },
        };
        let at = bytes.len();
        bytes.extend_from_slice(&encode_chunk(&chunk));
        bytes.extend_from_slice(&samples);
        bytes.resize(at + CHUNK_HEAD + padded(samples.len()), 0);
        next = first_trace + u64::from(traces);
        end = End {
            chunks: end.chunks + 1,
            traces: end.traces + u64::from(traces),
            gap_traces: end.gap_traces + gap_before,
        };
        pieces.push(Piece { chunk, bytes: at..at + CHUNK_HEAD + samples.len(), samples });
    }
    bytes.extend_from_slice(&encode_end(&end));
    (bytes, pieces, end)
}

/// A trace that came: its number, time, the stamp and the state that it was marked with, and its samples.
type Came = (u64, i64, Option<i64>, InstrumentState, Vec<u8>);

/// All that comes, trace by trace, and how many were missing in gaps.
fn play(replay: &mut Replay) -> (Vec<Came>, u64) {
    let Probe::Ready(found) = replay.probe().unwrap() else { panic!("a file is ready") };
    let told = |a: &Acquisition| (a.regions.clone(), a.levels.clone());
    assert_eq!(told(&found), told(&acquisition()), "regions and levels travel with the header");
    let found = Arc::new(found);
    let layout = BlockLayout { channels: 3, format: found.sample_format, capacity_traces: 1 };
    let mut block = RawBlock::new(layout, Arc::clone(&found));
    let (mut came, mut gaps) = (Vec::new(), 0);
    loop {
        block.clear(&found);
        match replay.read_block(&mut block, Duration::from_secs(20)).unwrap() {
            ReadOutcome::Filled => {
                let (mark, _) = block.spans().next().unwrap();
                let row = block.row(0).to_vec();
                came.push((block.first_trace.0, block.utc_ns, mark.stamp_ns, mark.state, row));
                gaps += block.gap_before;
            }
            ReadOutcome::EndOfStream => return (came, gaps),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_whole_comes_out_where_it_belongs(
        first in prop_oneof![Just(0u64), 1u64..1000],
        chunks in prop::collection::vec((prop_oneof![3 => Just(0u64), 1 => 1u64..50], 1u32..40, -1_000_000i64..1_000_000, 0u8..8), 1..30),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 1usize..700, 1u8..=255), 0..8),
        told in any::<bool>(),
    ) {
        let (mut bytes, pieces, end) = capture(first, &chunks);
        let header = pieces[0].bytes.start;
        if !told {
            // As older files are: they say nothing of the first trace, and know no levels.
            bytes[116] &= !1;
            bytes[120..128].fill(0);
            let crc = crc32fast::hash(&bytes[..header - 4]);
            bytes[header - 4..header].copy_from_slice(&crc.to_le_bytes());
        }
        let mut damaged = vec![false; bytes.len()];
        for (at, len, by) in damages {
            let from = header + at.index(bytes.len() - header);
            for at in from..(from + len).min(bytes.len()) {
                // What is damaged twice must not become whole.
                if !std::mem::replace(&mut damaged[at], true) {
                    bytes[at] ^= by;
                }
            }
        }
        let is_whole = |range: std::ops::Range<usize>| damaged[range].iter().all(|damaged| !damaged);
        let whole: Vec<_> = pieces.iter().filter(|piece| is_whole(piece.bytes.clone())).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("damaged.fdas");
        std::fs::write(&file, &bytes).unwrap();
        let opened = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, false);
        if whole.is_empty() && opened.is_err() {
            return Ok(());
        }
        let mut replay = opened.unwrap();
        let (mut came, gaps) = play(&mut replay);
        // Where nothing tells the first trace, it is reckoned from what the damaged bytes can have held.
        let begins_told = told || is_whole(header..header + CHUNK_HEAD);
        let reckoned = whole.first().zip(came.first()).map(|(piece, came)| piece.chunk.first_trace - came.0);
        let begins = if begins_told { first } else { reckoned.unwrap_or(first) };
        let mut right: Vec<Came> = Vec::new();
        for Piece { chunk, samples, .. } in &whole {
            for (row, samples) in samples.chunks_exact(ROW_BYTES).enumerate() {
                let utc_ns = chunk.utc_ns + acquisition().prr.traces_to_ns(row as u64);
                let stamp_ns = (chunk.is_stamped && row == 0).then_some(chunk.utc_ns);
                right.push((chunk.first_trace - begins + row as u64, utc_ns, stamp_ns, chunk.state, samples.to_vec()));
            }
        }
        // Between stamps a time is reckoned from a chunk before, which may round it the other way.
        for (came, right) in came.iter_mut().zip(&right) {
            prop_assert!(came.1.abs_diff(right.1) <= u64::from(right.2.is_none()), "{came:?} for {right:?}");
            came.1 = right.1;
        }
        prop_assert_eq!(&came, &right);
        let lost: u64 = end.traces - whole.iter().map(|piece| u64::from(piece.chunk.traces)).sum::<u64>();
        let told = describe(&file).unwrap();
        prop_assert_eq!(told.damaged_traces, replay.damaged_traces());
        if begins_told && is_whole(bytes.len() - CHUNK_HEAD..bytes.len()) && !came.is_empty() {
            let all = end.traces + end.gap_traces;
            prop_assert_eq!(came.len() as u64 + gaps + replay.missing_at_ends(), all, "each trace came or is missing");
            // Gaps between two damaged chunks cannot be told from them.
            prop_assert!((lost..=lost + end.gap_traces).contains(&replay.damaged_traces()));
            prop_assert!(lost == 0 || told.notes.len() + usize::from(told.checksums == "damaged") > 0);
            prop_assert!(lost > 0 || replay.damaged_traces() == 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever a recorder died: what is whole comes, what the last head tells of is counted as missing, nothing is damaged.
    #[test]
    fn a_recorder_that_died_has_damaged_nothing(
        first in 0u64..1000, chunks in prop::collection::vec((0u64..9, 1u32..40, Just(0i64), 0u8..8), 1..12),
        at: prop::sample::Index,
    ) {
        let (mut bytes, pieces, _) = capture(first, &chunks);
        let first_end = pieces[0].bytes.end;
        bytes.truncate(first_end + at.index(bytes.len() - first_end));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cut.fdas");
        std::fs::write(&file, &bytes).unwrap();
        let mut replay = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, false).unwrap();
        let (came, gaps) = play(&mut replay);
        let whole = pieces.iter().filter(|piece| piece.bytes.end <= bytes.len());
        prop_assert_eq!(came.len() as u64, whole.map(|piece| u64::from(piece.chunk.traces)).sum::<u64>());
        let told = pieces.iter().rfind(|piece| piece.bytes.start + CHUNK_HEAD <= bytes.len()).unwrap();
        let all = told.chunk.first_trace + u64::from(told.chunk.traces) - first;
        prop_assert_eq!(came.len() as u64 + gaps + replay.missing_at_ends(), all);
        let info = describe(&file).unwrap();
        prop_assert_eq!((replay.damaged_traces(), info.is_whole()), (0, true), "{:?}", info.findings);
        prop_assert!(info.notes.iter().any(|note| note.contains("no end mark")));
    }
}

/// Times that were rounded from other traces than the reader's are no news, or a reader would hold one for each chunk.
#[test]
fn chunks_that_count_on_share_one_anchor_and_stay_on_its_line() {
    let chunks: Vec<_> = (0..5000u64).map(|n| (0, 37, [0, -1, 1, 0, 1][n as usize % 5], u8::from(n > 0))).collect();
    let (bytes, pieces, _) = capture(0, &chunks);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.fdas");
    std::fs::write(&file, &bytes).unwrap();
    let opened = super::fdas::open(&file).unwrap();
    assert_eq!(opened.anchors.len(), 1);
    let playlist = super::playlist::Playlist::of(&file, &opened).unwrap();
    let epoch = &playlist.epochs[0];
    for Piece { chunk, .. } in &pieces {
        let utc_ns = epoch.parts[0].utc_ns(&epoch.acquisition, chunk.first_trace);
        assert!(utc_ns.abs_diff(chunk.utc_ns) <= 1, "trace {}", chunk.first_trace);
    }
}

#[test]
fn times_at_both_ends_of_what_there_is_are_told() {
    let (bytes, ..) = capture(0, &[(0, 5, i64::MIN + 1, 1), (9, 5, i64::MAX - 2 * UTC_NS, 1)]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ends.fdas");
    std::fs::write(&file, &bytes).unwrap();
    assert!(describe(&file).is_ok_and(|told| told.duration_s > 0.0));
}

#[test]
fn regions_that_make_no_sense_are_refused() {
    let header = encode_header(&acquisition(), 0);
    let texts = acquisition().unit.len() + acquisition().description.len();
    let table = 128 + texts;
    let cases = [
        ("600 regions", 112, &600u32.to_le_bytes()[..]),
        ("more than the header holds", 112, &9u32.to_le_bytes()),
        ("begins with the first channel", table, &0u64.to_le_bytes()),
        ("begins behind the last channel", table, &3u64.to_le_bytes()),
        ("lies nowhere", table + 8, &f64::NAN.to_le_bytes()),
        ("has no width", table + 16, &0f64.to_le_bytes()),
    ];
    assert!(decode_header(&header).is_ok());
    for (what, at, value) in cases {
        let mut broken = header.clone();
        broken[at..at + value.len()].copy_from_slice(value);
        let body = broken.len() - 4;
        let crc = crc32fast::hash(&broken[..body]);
        broken[body..].copy_from_slice(&crc.to_le_bytes());
        assert!(decode_header(&broken).is_err(), "a region that {what}");
    }
}
