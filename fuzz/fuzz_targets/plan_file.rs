//! Plans as files; what is read is written as it was.
#![no_main]

use ewulf_core::plan::Plan;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(plan) = serde_json::from_slice::<Plan>(text) {
        let written = serde_json::to_vec(&plan).expect("a plan can be written");
        assert_eq!(serde_json::from_slice::<Plan>(&written).expect("and read again"), plan);
    }
});
