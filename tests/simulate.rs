//! `fiberd simulate` as a process of its own, read through the ring as the daemon reads it.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::daemon::Process;
use common::wait_for;
use fiberd::acquisition::{Acquisition, DarkReason};
use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::ring::{Ring, RingOptions};
use fiberd::source::synthetic::{Generator, Scene};
use fiberd::source::{Interrogator, Probe, ReadOutcome};
use fiberd::units::Rational;
use rustix::process::Signal;

const SCENE: &str = "
    seed = 3
    source = [{ kind = 'walker', place_m = 30.0 }, { kind = 'pump', place_m = 60.0 }]
    lost = [{ at_s = 0.8, traces = 37 }]
    pulled = [{ from_s = 1.5, to_s = 3.0 }]
    [fiber]
    channels = 70
    [interrogator]
    prr_hz = 1000.0
    prr_max_hz = 4000.0
";

struct Simulator {
    process: Process,
    ring: PathBuf,
    scene: Scene,
    _dir: tempfile::TempDir,
}

impl Simulator {
    fn start(scene: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, ring) = (dir.path().join("scene.toml"), dir.path().join("ring"));
        std::fs::write(&file, scene).unwrap();
        let args = [Path::new("simulate"), Path::new("--scene"), &file, Path::new("--ring"), &ring];
        Self { process: Process::fiberd(args), ring, scene: Scene::from_toml(scene).unwrap(), _dir: dir }
    }

    fn consumer(&self, prr_asked: Option<Rational>) -> Ring {
        Ring::new(RingOptions { prr_asked, ..RingOptions::new(&self.ring) })
    }
}

fn acquisition(ring: &mut Ring) -> Arc<Acquisition> {
    wait_for("an acquisition", || match ring.probe().unwrap() {
        Probe::Ready(acquisition) => Some(Arc::new(acquisition)),
        Probe::Waiting(_) => None,
    })
}

fn block_for(acquisition: &Arc<Acquisition>) -> RawBlock {
    let layout = BlockLayout::for_acquisition(acquisition, Duration::from_millis(20));
    RawBlock::new(layout, Arc::clone(acquisition))
}

/// The next block that is not empty, or the reason why there is none.
fn next(ring: &mut Ring, block: &mut RawBlock) -> Result<(), DarkReason> {
    let acquisition = Arc::clone(&block.acquisition);
    wait_for("traces", || {
        block.clear(&acquisition);
        match ring.read_block(block, Duration::from_millis(100)).unwrap() {
            ReadOutcome::Filled => Some(Ok(())),
            ReadOutcome::FiberLost(reason) => Some(Err(reason)),
            ReadOutcome::TimedOut => None,
            other => panic!("{other:?}"),
        }
    })
}

/// Every sample of the block is the scene's own.
fn must_be_the_scenes(block: &RawBlock, generator: &mut Generator) {
    let mut row = vec![0u8; generator.row_bytes()];
    for t in 0..block.traces {
        let trace = block.first_trace.0 + t as u64;
        generator.generate(trace, &mut row);
        assert!(block.row(t) == row, "trace {trace} is not the scene's");
    }
}

#[test]
fn what_is_read_from_the_ring_is_the_scene_with_its_losses_and_its_darkness() {
    let simulator = Simulator::start(SCENE);
    let mut ring = simulator.consumer(None);
    let seen = acquisition(&mut ring);
    let stated = Acquisition { epoch: seen.epoch, ..simulator.scene.acquisition(0) };
    // The wavelength makes a way through metres and back.
    assert_eq!(Acquisition { wavelength_m: stated.wavelength_m, ..(*seen).clone() }, stated);
    let mut generator = Generator::new(&simulator.scene).unwrap();
    let mut block = block_for(&seen);
    let (mut end, mut began_ns, mut gaps, mut dark) = (None, None, Vec::new(), 0);
    while end.is_none_or(|end| end < 3400) {
        match next(&mut ring, &mut block) {
            Ok(()) => {}
            Err(reason) => {
                assert_eq!(reason, DarkReason::LightOff);
                assert!(end.unwrap() <= 1500, "dark from 1500 on, after {end:?}");
                dark += 1;
                assert_eq!(acquisition(&mut ring), seen, "the same epoch goes on");
                continue;
            }
        }
        must_be_the_scenes(&block, &mut generator);
        let first = block.first_trace.0;
        if let Some(end) = end {
            assert_eq!(first, end + block.gap_before, "what is missing is counted exactly");
        }
        if block.gap_before > 0 {
            gaps.push((first, block.gap_before));
        }
        let zero_ns = block.utc_ns - i64::try_from(first * 1_000_000).unwrap();
        assert_eq!(*began_ns.get_or_insert(zero_ns), zero_ns, "timestamps follow the trace number");
        end = Some(block.end_trace().0);
    }
    assert_eq!(dark, 1);
    assert!(gaps.contains(&(837, 37)), "{gaps:?}");
    assert!(gaps.iter().any(|&(first, missing)| first == 3000 && missing >= 1500), "{gaps:?}");
    assert_eq!(ring.lost_before_source(), 37, "what the instrument lost it has said; darkness is no loss");
}

#[test]
fn a_daemon_may_ask_for_another_rate_within_the_limits() {
    let simulator =
        Simulator::start("source = []\n[fiber]\nchannels = 20\n[interrogator]\nprr_hz = 1000.0\nprr_max_hz = 4000.0");
    let mut ring = simulator.consumer(Rational::new(2500, 1));
    let seen = acquisition(&mut ring);
    assert_eq!(seen.prr, Rational::new(2500, 1).unwrap());
    let mut block = block_for(&seen);
    next(&mut ring, &mut block).unwrap();
    assert!(block.first_trace.0 < 2500, "a new epoch counts from 0, here {:?}", block.first_trace);

    let mut greedy = simulator.consumer(Rational::new(5000, 1));
    let reason = wait_for("a refusal", || match greedy.probe().unwrap() {
        Probe::Ready(acquisition) => panic!("it must not run at {}", acquisition.prr),
        Probe::Waiting(DarkReason::Refused(why)) => Some(why),
        Probe::Waiting(_) => None,
    });
    assert!(reason.contains("rate"), "{reason}");
}

#[test]
fn the_pull_file_pulls_the_fiber_and_stopping_leaves_nothing_behind() {
    let mut simulator = Simulator::start("source = []\n[fiber]\nchannels = 20\n[interrogator]\nprr_hz = 500.0");
    let mut ring = simulator.consumer(None);
    let mut block = block_for(&acquisition(&mut ring));
    let pull_file = simulator.ring.with_extension("pulled");
    for _ in 0..3 {
        next(&mut ring, &mut block).unwrap();
        std::fs::write(&pull_file, "").unwrap();
        wait_for("darkness", || next(&mut ring, &mut block).err().filter(|r| *r == DarkReason::LightOff));
        std::fs::remove_file(&pull_file).unwrap();
        acquisition(&mut ring);
    }
    let status = simulator.process.stop();
    assert!(status.success(), "{status}: {:?}", simulator.process.lines());
    assert!(!simulator.ring.exists(), "the ring is removed");
}

#[test]
fn after_a_long_stall_it_declares_what_it_cannot_catch_up() {
    let mut simulator = Simulator::start("source = []\n[fiber]\nchannels = 20\n[interrogator]\nprr_hz = 1000.0");
    let mut ring = simulator.consumer(None);
    let seen = acquisition(&mut ring);
    let mut block = block_for(&seen);
    let mut generator = Generator::new(&simulator.scene).unwrap();
    next(&mut ring, &mut block).unwrap();
    // The ring holds 2048 traces; half of that is as far as it catches up.
    simulator.process.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    let before = block.end_trace().0;
    simulator.process.signal(Signal::CONT);
    let lost = wait_for("a declared loss", || {
        if next(&mut ring, &mut block).is_err() {
            acquisition(&mut ring);
            return None;
        }
        must_be_the_scenes(&block, &mut generator);
        Some(ring.lost_before_source()).filter(|&lost| lost > 0)
    });
    assert!(lost >= 1024, "{lost} traces");
    wait_for("traces behind the loss", || {
        next(&mut ring, &mut block).ok()?;
        must_be_the_scenes(&block, &mut generator);
        (block.first_trace.0 >= before + lost).then_some(())
    });
    assert!(simulator.process.stop().success());
    let last = simulator.process.lines().last().unwrap().clone();
    assert!(last.contains(&format!("{lost} of them to stalls")), "{last}");
}

#[test]
fn a_scene_that_cannot_be_played_is_refused_with_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[fiber]\nchannels = 0\ndx_m = -1.0\n").unwrap();
    let mut process = Process::fiberd([
        Path::new("simulate"),
        Path::new("--scene"),
        &file,
        Path::new("--ring"),
        &dir.path().join("ring"),
    ]);
    assert_eq!(process.ended().code(), Some(65));
    wait_for("both problems", || {
        let lines = process.lines().join("\n");
        (lines.contains("fiber.channels = 0") && lines.contains("fiber.dx_m = -1")).then_some(())
    });
}

#[test]
fn a_living_producers_ring_is_left_alone_and_a_dead_ones_is_replaced() {
    let mut first = Simulator::start("source = []\n[fiber]\nchannels = 20\n[interrogator]\nprr_hz = 500.0");
    let mut ring = first.consumer(None);
    let mut block = block_for(&acquisition(&mut ring));
    next(&mut ring, &mut block).unwrap();
    let second = || Process::fiberd([Path::new("simulate"), Path::new("--ring"), &first.ring]);

    let mut refused = second();
    assert_eq!(refused.ended().code(), Some(69), "{:?}", refused.lines());
    wait_for("it says why", || (refused.lines_with("another producer writes the ring there") == 1).then_some(()));
    next(&mut ring, &mut block).unwrap();

    first.process.kill();
    let mut successor = second();
    assert_eq!(wait_for("another shape", || Some(acquisition(&mut ring).channels).filter(|&n| n != 20)), 2337);
    assert!(successor.stop().success());

    std::fs::write(&first.ring, "somebody's notes").unwrap();
    assert_eq!(second().ended().code(), Some(69));
    assert_eq!(std::fs::read_to_string(&first.ring).unwrap(), "somebody's notes");
}

#[test]
fn a_terminal_that_hangs_up_ends_a_recording_in_order_unless_it_is_under_nohup() {
    let simulator = Simulator::start("source = []\n[fiber]\nchannels = 20\n[interrogator]\nprr_hz = 500.0");
    let dir = tempfile::tempdir().unwrap();
    for ignored in [false, true] {
        let file = dir.path().join(format!("{ignored}.fdas"));
        let trap = if ignored { "trap '' HUP; " } else { "" };
        let script = format!("{trap}exec \"$0\" record \"$1\" --ring \"$2\"");
        let mut recorder = Process::spawn(
            std::process::Command::new("sh")
                .args(["-c", &script, env!("CARGO_BIN_EXE_fiberd")])
                .arg(&file)
                .arg(&simulator.ring),
        );
        let part = file.with_extension("fdas.part");
        // Data are flushed once a second.
        wait_for("data on disk", || std::fs::metadata(&part).ok().filter(|meta| meta.len() > 4096));
        recorder.signal(Signal::HUP);
        if ignored {
            std::thread::sleep(Duration::from_millis(300));
            assert!(!file.exists() && part.exists(), "it goes on");
            recorder.signal(Signal::TERM);
        }
        let status = recorder.ended();
        assert!(status.success(), "{status}: {:?}", recorder.lines());
        let info = fiberd::source::replay::describe(&file).unwrap();
        assert!(info.traces > 0 && info.notes.is_empty(), "{info}");
    }
}
