//! Whether the path of a ring is somebody else's: a producer that lives there is never replaced, whoever started it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::abi::{AT_HEARTBEAT, AT_SLOTS_WRITTEN, MAGIC};

/// A producer that lives shows it at least every 200 ms, and counts as gone after a second.
const WATCH: Duration = Duration::from_millis(1200);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why `path` must not be replaced, if it must not: somebody writes the ring there, or it is no ring at all. Takes 1.2 s
/// where a ring stands still.
///
/// # Errors
/// When what is there cannot be looked at.
pub(super) fn why_taken(path: &Path) -> io::Result<Option<&'static str>> {
    // Without following: a link would be replaced, not what it leads to.
    let kind = match path.symlink_metadata() {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !kind.is_file() {
        return Ok(Some("not a file; it is left alone"));
    }
    let file = File::open(path)?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact_at(&mut magic, 0) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Ok(()) if magic == MAGIC => {}
        // A ring that was cut off to nothing has no producer that could be disturbed.
        Err(_) if file.metadata()?.len() == 0 => return Ok(None),
        _ => return Ok(Some("not a ring; it is left alone")),
    }
    let first = signs(&file);
    let begun = Instant::now();
    while begun.elapsed() < WATCH {
        std::thread::sleep(LOOK_EVERY);
        if signs(&file) != first {
            return Ok(Some("another producer writes the ring there; stop it, or choose another path"));
        }
    }
    Ok(None)
}

/// The words that only a living producer changes; read through the file, so that truncation does no harm.
fn signs(file: &File) -> [Option<u64>; 2] {
    [AT_HEARTBEAT, AT_SLOTS_WRITTEN].map(|at| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at as u64).ok().map(|()| u64::from_le_bytes(word))
    })
}
