//! The program `datagen`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ewulf_kernels::startup::run_alone::<ewulf_kernels::datagen::Datagen>()
}
