//! The transform stage beside its peers: the same counts in memory, the same lines out, verified against the definition
//! in f64, then measured in turns within one process, so that what disturbs one disturbs all.
//!
//! ```sh
//! cargo bench --bench transform                           # beside realfft
//! cargo bench --bench transform --features bench-fftw     # and FFTW (Debian: libfftw3-dev)
//! cargo bench --bench transform -- --only W1 --rounds 15  # a part of it
//! cargo bench --bench transform -- --save                 # rewrites the page beside this file and its picture
//! ```
//! As a test (`cargo test --benches`) it verifies and measures nothing. `benches/peers.py` does the same workloads with
//! Python's libraries.

// A program of its own: nothing here is anybody's interface.
#![allow(missing_docs, unreachable_pub, clippy::inline_always)]

mod ours;
mod peers;
mod report;
mod sharing;
mod work;

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::ours::Ours;
use crate::peers::{Straightforward, Transposed};
use crate::report::{Row, median};
use crate::work::{Contender, Recording, Workload, decibel, energy, spec, verify};

/// How long a contender is measured before the next one's turn: long enough for two threads to have a core each.
const TURN: Duration = Duration::from_millis(80);

/// What the command line asks for.
pub struct Options {
    pub rounds: usize,
    pub only: Option<String>,
    pub save: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |key: &str| arguments.iter().position(|a| a == key).and_then(|i| arguments.get(i + 1)).cloned();
    if !arguments.iter().any(|a| a == "--bench") {
        return verify_all();
    }
    let options = Options {
        rounds: value("--rounds").and_then(|n| n.parse().ok()).unwrap_or(9),
        only: value("--only"),
        save: arguments.iter().any(|a| a == "--save"),
    };
    let (set, lanes) = fiberd::dsp::instruction_set();
    let mut page = report::Page::new(set, lanes, options.rounds);
    for workload in Workload::all().into_iter().filter(|w| options.wants(w.name)) {
        page.workload(&workload, &measure(&workload, contenders(&workload), options.rounds));
    }
    if options.wants("overlap") {
        page.overlap(&overlap(&options));
    }
    if options.wants("growth") {
        page.growth(&growth(&options));
    }
    if options.wants("sharing") {
        page.sharing(&sharing::measure(options.rounds));
    }
    if options.save {
        page.save();
    }
}

/// Small versions of all workloads, every contender held against the definition.
fn verify_all() {
    for mut workload in Workload::all() {
        workload.channels = workload.channels.min(75);
        workload.traces = workload.spec.nfft + 3 * workload.hop();
        let recording = Recording::new(&workload);
        for mut contender in contenders(&workload) {
            verify(&workload, contender.as_mut(), &recording, workload.acquisition().scale);
        }
    }
    sharing::verify();
    println!("every contender agrees with the definition on every workload; `cargo bench` measures");
}

fn contenders(workload: &Workload) -> Vec<Box<dyn Contender>> {
    let scale = workload.acquisition().scale;
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(Ours::new(workload, 1)),
        Box::new(Straightforward::new(workload, scale)),
        Box::new(Transposed::new(workload, scale)),
    ];
    // One channel gives a second thread nothing to do.
    if workload.channels > 1 {
        all.insert(1, Box::new(Ours::new(workload, 2)));
    }
    #[cfg(feature = "bench-fftw")]
    for interleaved in [false, true] {
        all.push(Box::new(peers::fftw::Fftw::new(workload, scale, interleaved)));
    }
    all
}

/// Measures the contenders in turns. The first row is the ceiling: reading the input once.
fn measure(workload: &Workload, mut contenders: Vec<Box<dyn Contender>>, rounds: usize) -> Vec<Row> {
    let recording = Recording::new(workload);
    let scale = workload.acquisition().scale;
    for contender in &mut contenders {
        verify(workload, contender.as_mut(), &recording, scale);
    }
    let mut rows = vec![Row::new("reading the input once (ceiling)".into())];
    rows.extend(contenders.iter().map(|c| Row::new(c.name())));
    for round in 0..rounds {
        eprint!("\r{}: round {} of {rounds}   ", workload.name, round + 1);
        rows[0].seconds.push(read_once(&recording, workload.traces));
        for (contender, row) in contenders.iter_mut().zip(&mut rows[1..]) {
            row.seconds.push(seconds_a_pass(contender.as_mut(), &recording));
        }
    }
    eprintln!();
    rows
}

/// As in a service that has run for a while: after a pass that brings memory and threads back to where they work.
fn seconds_a_pass(contender: &mut dyn Contender, recording: &Recording) -> f64 {
    contender.pass(recording);
    let (began, mut passes) = (Instant::now(), 0);
    while passes == 0 || began.elapsed() < TURN {
        contender.pass(black_box(recording));
        passes += 1;
    }
    began.elapsed().as_secs_f64() / f64::from(passes)
}

/// Seconds that it takes to read `traces` rows, as fast as this machine reads.
fn read_once(recording: &Recording, traces: usize) -> f64 {
    let bytes: &[u8] = bytemuck::cast_slice(&recording.samples[..traces * recording.stride]);
    let began = Instant::now();
    let mut sums = [0u64; 16];
    for chunk in bytemuck::cast_slice::<u8, u64>(&bytes[..bytes.len() / 128 * 128]).as_chunks::<16>().0 {
        sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    black_box(sums);
    began.elapsed().as_secs_f64()
}

/// A line every few traces at nfft 1024, ns a sample.
pub struct Overlap {
    pub channels: usize,
    pub hop: u64,
    pub bins: usize,
    pub ns_per_sample: f64,
    /// The same kernel on each window by itself, in the same rounds.
    pub whole_ns_per_sample: f64,
    pub model_ns_per_sample: f64,
}

fn overlap(options: &Options) -> Vec<Overlap> {
    let cases =
        [(48, 20, 500.0), (48, 20, 250.0), (48, 20, 1000.0), (48, 10, 500.0), (48, 10, 250.0), (2336, 20, 500.0)];
    let one = |(channels, hop, high_hz)| {
        let traces = 1040 + hop as usize * if channels > 1000 { 300 } else { 3000 };
        let workload = |window| {
            let spec = fiberd::dsp::PlanSpec { window, ..spec(1024, hop, decibel(high_hz, 2000, 1024)) };
            Workload { name: "overlap", channels, prr_hz: 2000, traces, spec }
        };
        // A window of three terms costs the same and never slides.
        let (sliding, whole) = (workload(fiberd::dsp::Window::Hann), workload(fiberd::dsp::Window::Blackman));
        let recording = Recording::new(&sliding);
        let mut stages = [Ours::new(&sliding, 1), Ours::new(&whole, 1)];
        for (workload, stage) in [&sliding, &whole].into_iter().zip(&mut stages) {
            verify(workload, stage, &recording, workload.acquisition().scale);
        }
        let mut rows = [Row::new("sliding".into()), Row::new("whole".into())];
        for _ in 0..options.rounds {
            for (stage, row) in stages.iter_mut().zip(&mut rows) {
                let began = Instant::now();
                stage.pass(black_box(&recording));
                row.seconds.push(began.elapsed().as_secs_f64());
            }
        }
        let bins = sliding.output().values_per_channel();
        let per_sample = |row: &Row| median(&row.seconds) * 1e9 / sliding.samples();
        let hop_traces = hop as f64;
        Overlap {
            channels,
            hop,
            bins,
            ns_per_sample: per_sample(&rows[0]),
            whole_ns_per_sample: per_sample(&rows[1]),
            // t(nfft)·nfft/hop + 0.5·bins/hop + 0.05 with t(1024) = 0.40: one quiet core of an EPYC (Zen 3).
            model_ns_per_sample: 0.40 * 1024.0 / hop_traces + 0.5 * bins as f64 / hop_traces + 0.05,
        }
    };
    cases.into_iter().map(one).collect()
}

/// ns a sample over channels and window lengths, half-overlapping windows, band energy.
pub struct Growth {
    pub name: String,
    /// (window length or number of channels, ns a sample)
    pub points: Vec<(usize, f64)>,
    pub over: &'static str,
}

fn growth(options: &Options) -> Vec<Growth> {
    let rounds = options.rounds.div_ceil(2).max(3);
    let mut all: Vec<Growth> = Vec::new();
    let mut run = |over: &'static str, x: usize, channels: usize, nfft: usize| {
        let spec = spec(nfft, nfft as u64 / 2, energy(2000, nfft));
        // About 20 million samples a pass.
        let traces = (20_000_000 / channels).max(3 * nfft) / (nfft / 2) * (nfft / 2);
        let workload = Workload { name: over, channels, prr_hz: 2000, traces, spec };
        let one_thread = contenders(&workload).into_iter().filter(|c| !c.name().contains("threads")).collect();
        for row in measure(&workload, one_thread, rounds).into_iter().skip(1) {
            let point = (x, median(&row.seconds) * 1e9 / workload.samples());
            match all.iter_mut().find(|g| g.name == row.name && g.over == over) {
                Some(growth) => growth.points.push(point),
                None => all.push(Growth { name: row.name, points: vec![point], over }),
            }
        }
    };
    for nfft in [128, 256, 512, 1024, 2048, 4096, 8192] {
        run("nfft", nfft, 1024, nfft);
    }
    for channels in [64, 512, 2337, 10_000, 50_000] {
        run("channels", channels, channels, 256);
    }
    all
}
