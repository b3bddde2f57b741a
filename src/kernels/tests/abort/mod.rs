//! One rank that fails ends all, soon, with its number and its reason.
//!
//! The failing kernel is a test of its own here, started under `mpirun` by the others: it goes through the same startup as
//! every program.

use std::process::Output;
use std::time::{Duration, Instant};

use clap::Parser;
use ewulf_kernels::communicator::Communicator;
use ewulf_kernels::startup::{Kernel, Run, run_kernel};

/// How rank 1 fails.
const VARIABLE: &str = "EWULF_TEST_FAILURE";

#[derive(Debug, Parser)]
struct Failing {
    /// What the test harness was started with.
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    _harness: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("disk of rank 1 is full")]
struct DiskFull;

impl Kernel for Failing {
    const NAME: &'static str = "failing";
    type Error = DiskFull;

    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), DiskFull> {
        run.communicator.barrier();
        if run.communicator.rank() == 1 {
            match std::env::var(VARIABLE).as_deref() {
                Ok("error") => return Err(DiskFull),
                Ok("panic") => panic!("row 7 is missing"),
                _ => std::thread::scope(|scope| scope.spawn(|| panic!("row 7 is missing")).join().unwrap()),
            }
        }
        // Where the others would wait for ever.
        run.communicator.barrier();
        Ok(())
    }
}

#[test]
#[ignore = "started by the other tests, under mpirun"]
fn failing() {
    run_kernel::<Failing>();
}

/// Three ranks of which the second fails.
fn failure(how: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let harness = ["--ignored", "--exact", "abort::failing", "--nocapture", "--test-threads=1"];
    let mut command = crate::mpirun(3, &program.display().to_string(), &harness, folder.path());
    let begin = Instant::now();
    let output = crate::outcome({
        command.env(VARIABLE, how);
        command
    });
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    assert!(!output.status.success());
    output
}

fn lines(output: &Output) -> Vec<String> {
    let text = crate::text(&output.stderr);
    text.lines().filter(|line| line.starts_with("failing: rank")).map(str::to_owned).collect()
}

#[test]
fn an_error_in_one_rank_ends_all_with_its_reason() {
    assert_eq!(lines(&failure("error")), ["failing: rank 1: disk of rank 1 is full"]);
}

#[test]
fn a_panic_in_one_rank_or_in_a_thread_of_it_ends_all_with_its_place() {
    for how in ["panic", "thread"] {
        let lines = lines(&failure(how));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("failing: rank 1: panicked at ") && lines[0].ends_with(": row 7 is missing"), "{lines:?}");
    }
}
