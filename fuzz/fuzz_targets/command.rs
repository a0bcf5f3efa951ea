//! Commands from the broker. In the gate: `src/jobs/commands/command_tests.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let _ = fiberd::jobs::commands::command::parse(body);
});
