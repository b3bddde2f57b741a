//! The program `blend`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ewulf_kernels::startup::run_kernel::<ewulf_kernels::blend::Blend>()
}
