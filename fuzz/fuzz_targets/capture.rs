//! Broken captures of every format. In the gate: `tests/replay_fuzz.rs`. Begin with `fixtures/*.fdas` as a corpus.
#![no_main]

#[path = "../../tests/replay_fuzz/read_all.rs"]
mod read_all;

libfuzzer_sys::fuzz_target!(|capture: &[u8]| {
    // Captures are read from files; one for each process that fuzzes.
    let file = std::env::temp_dir().join(format!("fiberd-fuzz-{}", std::process::id()));
    std::fs::write(&file, capture).expect("the folder for temporary files can be written");
    read_all::read_all(&file).expect("what is read is what was described");
});
