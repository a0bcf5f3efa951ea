//! Whatever is done to a capture, opening and reading it neither panics nor aborts nor asks for memory without bound:
//! bytes are changed, cut and spliced, with and without mending the checksums, and the file is described and replayed.
//!
//! The address space of this process is limited, so that an allocation that a hostile length asks for ends the test; and
//! so does an input that takes longer than [`LONGEST`]. Either way the input is left where the last line says.
//!
//! `FIBERD_FUZZ_CASES=1000000 FIBERD_FUZZ_SEEDS=t.tdms,s.pb cargo test --test replay_fuzz no_capture` tries so many, made
//! of these seeds only.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly too")]

#[path = "replay_fuzz/read_all.rs"]
mod read_all;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use fiberd::source::ReplaySpeed;
use fiberd::source::replay::{Replay, describe};
use proptest::prelude::*;
use read_all::read_all;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Bytes of address space: the program, its threads, and what the largest sound capture may take.
const ADDRESS_SPACE: u64 = 4 << 30;

/// One input takes milliseconds; so long is a hang, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(60);

/// Those of vendors; our own comes behind them.
const NAMES: [&str; 32] = [
    "p21.h5",
    "chunked.h5",
    "turned.h5",
    "e.h5",
    "o.h5",
    "t4.h5",
    "f2.h5",
    "r.h5",
    "s.pb",
    "t.tdms",
    "interleaved.tdms",
    "m.mseed",
    "version-3.mseed",
    "y.sgy",
    "three-records.sgy",
    "si.h5",
    "aps.h5",
    "nb.h5",
    "od.h5",
    "dd.h5",
    "xdg.nc",
    "xds.nc",
    "pl-axes.h5",
    "pl-single-values.h5",
    "container-blosc-blosclz-1-i2.h5",
    "container-bitshuffle-f4.h5",
    "container-zstd-i2.h5",
    "container-scale-offset-i4.h5",
    "container-nbit-i2-3.h5",
    "container-new-extensible-array-gzip.h5",
    "container-soft-absolute.h5",
    "container-a-live-writer.h5",
];

/// Small sound captures, one of each kind.
fn seeds() -> &'static [Vec<u8>] {
    static SEEDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SEEDS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var("FIBERD_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let made =
            Command::new(&python).arg(root.join("tests/replay_check.py")).arg("variants").arg(folder.path()).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "{python} cannot run replay_check.py; set FIBERD_TEST_PYTHON to a Python with tests/requirements.txt"
        );
        let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
        setrlimit(Resource::As, limit).unwrap();
        let files = NAMES.map(|name| folder.path().join(name));
        let golden = root.join("fixtures/capture-v1.fdas");
        files.iter().chain([&golden]).map(|file| std::fs::read(file).unwrap()).collect()
    })
}

/// How many cases, when somebody asks for another number.
fn cases() -> u32 {
    let asked = std::env::var("FIBERD_FUZZ_CASES").ok();
    asked.map_or(2500, |number| number.parse().expect("FIBERD_FUZZ_CASES is a number"))
}

/// Which seeds, when somebody asks for some: places in [`seeds`].
fn kinds() -> Vec<usize> {
    let all = || NAMES.into_iter().chain(["capture-v1.fdas"]);
    let Ok(asked) = std::env::var("FIBERD_FUZZ_SEEDS") else { return (0..=NAMES.len()).collect() };
    let place = |name: &str| {
        let found = all().position(|known| known == name);
        found.unwrap_or_else(|| {
            panic!("FIBERD_FUZZ_SEEDS: no seed `{name}`, but {}", all().collect::<Vec<_>>().join(" "))
        })
    };
    asked.split(',').map(place).collect()
}

/// The file that each input is written to: in memory where the system has such a folder. It stays behind when an input
/// ends the process.
fn input() -> &'static Path {
    static INPUT: OnceLock<PathBuf> = OnceLock::new();
    INPUT.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("fiberd-fuzz-{}", std::process::id()))
    })
}

/// Ends the process when `deed` takes longer than [`LONGEST`].
fn in_time<T>(deed: impl FnOnce() -> T) -> T {
    static SINCE: Mutex<Option<Instant>> = Mutex::new(None);
    static WATCH: OnceLock<()> = OnceLock::new();
    WATCH.get_or_init(|| {
        std::thread::spawn(|| {
            while SINCE.lock().unwrap().is_none_or(|since| since.elapsed() < LONGEST) {
                std::thread::sleep(Duration::from_secs(1));
            }
            eprintln!("more than {LONGEST:?} for {}: a hang", input().display());
            std::process::abort();
        });
    });
    *SINCE.lock().unwrap() = Some(Instant::now());
    let done = deed();
    *SINCE.lock().unwrap() = None;
    done
}

/// One way to hurt a file.
#[derive(Clone, Debug)]
enum Hurt {
    /// Flip bits of the byte at this place (of 65536ths of the file, towards its front where metadata is).
    Flip(u16, u8),
    /// Write these bytes at this place.
    Write(u16, Vec<u8>),
    /// Cut the file here.
    Cut(u16),
    /// Copy up to this many bytes from one place to another.
    Splice(u16, u16, u8),
}

fn hurts() -> impl Strategy<Value = Vec<Hurt>> {
    let extreme = prop_oneof![
        Just(vec![0xFF; 8]),
        Just(vec![0; 8]),
        Just(vec![0xFF, 0xFF, 0xFF, 0x7F]),
        Just(vec![0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]),
        prop::collection::vec(any::<u8>(), 1..9),
    ];
    let hurt = prop_oneof![
        4 => (any::<u16>(), 1u8..).prop_map(|(at, bits)| Hurt::Flip(at, bits)),
        4 => (any::<u16>(), extreme).prop_map(|(at, bytes)| Hurt::Write(at, bytes)),
        1 => any::<u16>().prop_map(Hurt::Cut),
        1 => (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(from, to, n)| Hurt::Splice(from, to, n)),
    ];
    prop::collection::vec(hurt, 1..6)
}

fn hurt(bytes: &mut Vec<u8>, hurts: &[Hurt], towards_front: bool) {
    for hurt in hurts {
        let len = bytes.len().max(1);
        let place = |at: u16| {
            let part = f64::from(at) / 65536.0;
            ((if towards_front { part.powi(3) } else { part }) * len as f64) as usize
        };
        match hurt {
            Hurt::Flip(at, bits) => {
                if let Some(byte) = bytes.get_mut(place(*at)) {
                    *byte ^= bits;
                }
            }
            Hurt::Write(at, new) => bytes.iter_mut().skip(place(*at)).zip(new).for_each(|(byte, new)| *byte = *new),
            Hurt::Cut(at) => bytes.truncate(place(*at)),
            Hurt::Splice(from, to, n) => {
                let piece: Vec<u8> = bytes.iter().skip(place(*from)).take(usize::from(*n)).copied().collect();
                bytes.iter_mut().skip(place(*to)).zip(&piece).for_each(|(byte, new)| *byte = *new);
            }
        }
    }
}

/// Makes the checksums of our own format right again, so that what was hurt is believed.
fn mend(bytes: &mut [u8]) {
    for (start, end) in [(0, 192), (192, 256), (320, 384), (448, 512)] {
        if let Some(part) = bytes.get_mut(start..end) {
            let (body, crc) = part.split_at_mut(end - start - 4);
            crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_capture_however_broken_does_harm(
        kind in prop::sample::select(kinds()), hurts in hurts(), towards_front in any::<bool>(), mended in any::<bool>(),
    ) {
        let mut bytes = seeds()[kind].clone();
        hurt(&mut bytes, &hurts, towards_front);
        if mended && kind == NAMES.len() {
            mend(&mut bytes);
        }
        std::fs::write(input(), &bytes).unwrap();
        let read = in_time(|| read_all(input()));
        std::fs::remove_file(input()).unwrap();
        read.map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_dataset_of_fewer_bytes_than_its_shape_is_refused_however_it_is_read_and_room_for_more_is_no_harm() {
    // 300 traces of 7 channels in two bytes: the length stands once, in the layout of the dataset.
    let (length, sound) = (4200u64.to_le_bytes(), &seeds()[0]);
    let places: Vec<usize> = (0..sound.len() - 8).filter(|&at| sound[at..at + 8] == length).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other");
    for (other, reads) in [(4199u64, false), (0, false), (4200, true), (4300, true)] {
        let mut bytes = sound.clone();
        bytes[places[0]..places[0] + 8].copy_from_slice(&other.to_le_bytes());
        std::fs::write(&file, &bytes).unwrap();
        let replay = Replay::open(std::slice::from_ref(&file), ReplaySpeed::Unpaced, false);
        match describe(&file) {
            Ok(info) => assert!(reads && info.traces == 300 && replay.is_ok(), "{other} bytes"),
            Err(error) => {
                let said = error.to_string();
                assert!(!reads && said.contains("bytes are stored"), "{other} bytes: {said}");
                assert_eq!(replay.err().unwrap().to_string(), said);
            }
        }
    }
    assert_eq!(places.len(), 1);
}
