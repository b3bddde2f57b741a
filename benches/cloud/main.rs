//! What a cluster costs as it grows: `make bench`, or `cargo bench --bench cloud`.
//!
//! A cloud of records in this process, a wire that counts calls and can make each wait, the ordinary binary, and beside
//! it in the same run a script in boto3 that was written for speed alone, Ansible, and Terraform's core for the graph.
//! Sizes as arguments measure those only, `plan` the plan, `ansible` Ansible at the sizes it is measured at.

#[path = "../../src/kernels/benches/kit/mod.rs"]
mod kit;
mod memory;
mod peers;
mod plan;
mod size;
#[path = "../../tests/wire/mod.rs"]
mod wire;
#[path = "../../tests/world/mod.rs"]
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut rows = Vec::new();
    let mut failed = false;
    for (subject, measured) in [("cloud size", size::rows(&arguments)), ("cloud plan", plan::rows(&arguments))] {
        match measured.and_then(|rows| kit::table::save(subject, &rows).map(|()| rows)) {
            Ok(measured) => rows.extend(measured),
            Err(failure) => {
                failed = true;
                eprintln!("{subject}: {failure}");
            }
        }
    }
    print!("{}", kit::table::render(&rows));
    if failed || rows.iter().any(|row| !row.reaches_bar()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
