//! Image recipes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = ewulf_core::spec::load_image("fuzz.yaml", text);
});
