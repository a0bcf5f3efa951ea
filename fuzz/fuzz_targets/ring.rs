//! Hostile headers and slots against the consumer of the hardware ring. In the gate: `src/source/ring/tests.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    fiberd::source::ring::hostile::play(script);
});
