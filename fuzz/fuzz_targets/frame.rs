//! The reader of frames. In the gate: `src/wire/tests.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = fiberd::wire::decode(bytes) {
        assert_eq!(frame.values().count(), frame.shape().iter().map(|&n| n as usize).product::<usize>());
        let _ = (frame.site(), frame.name(), frame.job(), frame.unit(), frame.axes());
    }
});
