#![no_main]
//! The target `event`; what it does is told by `fuzz/src/lib.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fastness_fuzz::event(data);
});
