//! The consumer driven by hostile bytes: the entry that the fuzzer (`fuzz/`) and, bounded, a property test share.
//!
//! A valid small ring is made in plain memory; a script then writes to it as a producer would, scribbles over it, and
//! reads. The code that reads is the daemon's own. Runs under miri: no file, no mapping, no signal.

use std::sync::Arc;
use std::time::Duration;

use super::consumer::{Ring, RingOptions};
use super::{Producer, RingSpec};
use crate::acquisition::{Acquisition, ClockQuality, Quantity, SampleFormat, SourceKind};
use crate::block::{BlockLayout, RawBlock};
use crate::source::{Interrogator, Probe, ReadOutcome};
use crate::units::Rational;

/// Most actions of one script.
const MAX_ACTIONS: usize = 64;

struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }
}

pub(super) fn small_spec(channels: usize, traces_per_slot: usize, slots: usize) -> RingSpec {
    RingSpec {
        sample_format: SampleFormat::I16,
        channels,
        traces_per_slot,
        slots,
        prr_hz: 1000.0,
        dx_m: 1.0,
        gauge_length_m: None,
        fiber_start_m: 0.0,
        scale: 1.0,
        quantity: Quantity::Phase,
        unit: "rad".into(),
        wavelength_m: None,
        refractive_index: None,
        description: String::new(),
        clock: ClockQuality::FreeRunning,
        source: SourceKind::Ring,
    }
}

/// Plays a script. Returns the number of traces that came through; panics only when fiberd has a bug.
pub fn play(script: &[u8]) -> u64 {
    let mut script = Script(script);
    let spec =
        small_spec(1 + usize::from(script.byte() % 40), 1 + usize::from(script.byte() % 8), 2 << (script.byte() % 4));
    let Ok((mut producer, memory)) = Producer::in_memory(&spec) else { return 0 };
    let prr_asked = (script.byte() % 2 == 1).then(|| Rational::new(1000, 1)).flatten();
    let options = RingOptions { prr_asked, ..RingOptions::new("in memory") };
    let mut ring = Ring::over(Arc::clone(&memory), options);
    let mut block: Option<RawBlock> = None;
    let (mut next_trace, mut read) = (0u64, 0u64);
    for _ in 0..MAX_ACTIONS {
        if script.0.is_empty() {
            break;
        }
        match script.byte() % 8 {
            0 | 1 => {
                let traces = 1 + usize::from(script.byte()) % spec.traces_per_slot;
                producer.write_slot(next_trace, 1_700_000_000_000_000_000, traces, |samples| samples.fill(0x11));
                next_trace += traces as u64;
            }
            2 => {
                let (at, n) = (script.number() % memory.len(), 1 + usize::from(script.byte() % 16));
                let bytes = script.bytes(n.min(memory.len() - at));
                memory.copy_in(at, bytes);
            }
            3 => {
                // One word, aligned: what a header field or a sequence number is made of.
                let at = script.number() % (memory.len() / 8) * 8;
                let mut word = [0; 8];
                word[..].iter_mut().zip(script.bytes(8)).for_each(|(to, from)| *to = *from);
                memory.store(at, u64::from_le_bytes(word));
            }
            4 => {
                let prr_hz = 1.0 + script.number() as f64;
                let _ = producer.change_epoch(&RingSpec { prr_hz, ..spec.clone() });
                next_trace = 0;
            }
            5 => {
                next_trace += u64::from(script.byte());
                producer.set_state(u32::from(script.byte()));
            }
            action => {
                producer.heartbeat();
                if action == 6 || block.is_none() {
                    block = probe(&mut ring, usize::from(script.byte() % 32) + 1);
                }
                read += block.as_mut().map_or(0, |block| read_one(&mut ring, block));
            }
        }
    }
    read
}

fn probe(ring: &mut Ring, capacity_traces: usize) -> Option<RawBlock> {
    match ring.probe() {
        Ok(Probe::Ready(acquisition)) if acquisition.channels <= 4096 => Some(block_for(acquisition, capacity_traces)),
        _ => None,
    }
}

fn read_one(ring: &mut Ring, block: &mut RawBlock) -> u64 {
    let acquisition = Arc::clone(&block.acquisition);
    block.clear(&acquisition);
    match ring.read_block(block, Duration::ZERO) {
        Ok(ReadOutcome::Filled) => {
            assert!(block.traces > 0 && block.traces <= block.layout().capacity_traces);
            block.traces as u64
        }
        Ok(_) => {
            assert_eq!(block.traces, 0, "only a filled block holds traces");
            0
        }
        Err(e) => panic!("a ring in memory knows no system errors: {e}"),
    }
}

pub(super) fn block_for(acquisition: Acquisition, capacity_traces: usize) -> RawBlock {
    let layout = BlockLayout { channels: acquisition.channels, format: acquisition.sample_format, capacity_traces };
    RawBlock::new(layout, Arc::new(acquisition))
}
