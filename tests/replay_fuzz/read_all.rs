//! Describes a capture and replays all of it; shared by the property test and the fuzz target `capture`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fiberd::block::{BlockLayout, RawBlock};
use fiberd::source::replay::{Depth, Replay, describe, look};
use fiberd::source::{Interrogator, Probe, ReadOutcome, ReplaySpeed};

/// Any answer will do, so long as there is one.
///
/// # Errors
/// When a file that can be read gives something else than what was said to be in it.
pub(crate) fn read_all(file: &Path) -> Result<(), String> {
    let described = describe(file);
    // Whatever it says, so long as it comes to an end.
    drop(look(file, Depth::Sample, true, &mut |_| {}));
    let Ok(mut replay) = Replay::open(&[file.to_owned()], ReplaySpeed::Unpaced, false) else { return Ok(()) };
    let mut traces = 0;
    for _ in 0..64 {
        let Ok(Probe::Ready(acquisition)) = replay.probe() else { return Ok(()) };
        let acquisition = Arc::new(acquisition);
        let mut layout = BlockLayout::for_acquisition(&acquisition, Duration::from_millis(37));
        layout.capacity_traces = layout.capacity_traces.min((1 << 24) / layout.stride_bytes()).max(1);
        let mut block = RawBlock::new(layout, Arc::clone(&acquisition));
        loop {
            block.clear(&acquisition);
            match replay.read_block(&mut block, Duration::from_secs(20)) {
                Ok(ReadOutcome::Filled) => traces += block.traces as u64,
                Ok(ReadOutcome::EpochChanged) => break,
                Ok(ReadOutcome::EndOfStream) => {
                    let (mut said, mut others) = (0, 0);
                    if let Ok(info) = described {
                        said = info.traces - info.damaged_traces;
                        others = info.other_pieces.iter().map(|piece| piece.traces).sum();
                    }
                    // Of pieces that were not looked at, it is not known how much is damaged.
                    let same = (said..=said + others).contains(&traces);
                    return if same {
                        Ok(())
                    } else {
                        Err(format!("{traces} traces were read, {said} were described"))
                    };
                }
                Ok(outcome) => return Err(format!("{outcome:?}")),
                // A panic of the thread that reads ahead is told as an error, and is none that a file may cause.
                Err(error) if error.to_string().contains("please report it") => return Err(error.to_string()),
                Err(_) => return Ok(()),
            }
        }
    }
    Ok(())
}
