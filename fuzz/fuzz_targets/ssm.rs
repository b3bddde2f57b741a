//! SSM's documents; the first line names the action.
#![no_main]

use ewulf_cloud::operations::ssm;
use ewulf_fuzz::{GROUND, judge};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let Ok(action) = std::str::from_utf8(&input[..end]) else { return };
    let body = input.get(end + 1..).unwrap_or_default();
    judge(GROUND.runtime.block_on(ssm::call(&GROUND.cloud, action, body)));
});
