#![no_main]
//! The target `note`; what it does is told by `fuzz/src/lib.rs`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fastness_fuzz::note(data);
});
