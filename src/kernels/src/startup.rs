//! How a kernel starts and ends: arguments, MPI, events, and one line that says why when it fails.
//!
//! A failure of one rank is a failure of all: an error or a panic anywhere aborts the job with a non-zero status.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::communicator::{Communicator, Solo};
use crate::events::Events;
use crate::output::OutputError;

/// Exit status of arguments that make no sense, as clap itself uses it.
const USAGE: u8 = 2;
/// Exit status of a panic, as Rust itself uses it.
#[cfg(feature = "mpi")]
const PANIC: i32 = 101;

/// A kernel under way.
pub struct Run<'a, C> {
    /// The ranks that take part.
    pub communicator: &'a C,
    /// Where rank 0 tells of progress.
    pub events: Events,
    /// Where rank 0 leaves its files: the working folder, unless another is named.
    pub folder: PathBuf,
}

impl<'a, C: Communicator> Run<'a, C> {
    /// A run that tells nothing and writes into `folder`.
    pub fn silent(communicator: &'a C, folder: impl Into<PathBuf>) -> Self {
        Self { communicator, events: Events::silent("test"), folder: folder.into() }
    }

    /// Makes the folder that results are to be left in, from here on, if any is named.
    pub fn leave_in(&mut self, output: Option<&Path>) -> Result<(), OutputError> {
        let Some(output) = output else { return Ok(()) };
        self.folder = self.folder.join(output);
        match self.is_first() {
            true => std::fs::create_dir_all(&self.folder).map_err(|error| OutputError::new(&self.folder, error)),
            false => Ok(()),
        }
    }

    /// Whether this is rank 0, which alone reads, writes and speaks.
    pub fn is_first(&self) -> bool {
        self.communicator.rank() == 0
    }
}

/// A program: its arguments, and what it does with them on every rank.
pub trait Kernel: Parser {
    /// The program's name, as in `/opt/ewulf/bin/NAME`.
    const NAME: &'static str;
    /// Whether helper threads compute beside the one that talks to other ranks. Open MPI locks its queues then, which
    /// adds a fifth to the time of a small message in shared memory.
    const HAS_THREADS: bool = true;
    /// Why it fails.
    type Error: Error;

    /// Does the work of this rank.
    fn run<C: Communicator>(&self, run: &mut Run<'_, C>) -> Result<(), Self::Error>;
}

/// An argument that is a number of at least 0.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number of at least 0 is expected".into()),
    }
}

/// Runs a kernel on the ranks that `mpirun` started, or on one without it.
#[cfg(feature = "mpi")]
pub fn run_kernel<K: Kernel>() -> ExitCode {
    use crate::communicator::open_mpi::OpenMpi;
    use mpi::traits::Communicator as _;

    let arguments = K::try_parse();
    // Without a launcher, --help needs no MPI; with one, leaving before the other ranks would end them mid-sentence.
    let arguments = match arguments {
        Err(message) if launcher_rank().is_none() => return answer(&message),
        arguments => arguments,
    };
    let threading = if K::HAS_THREADS { mpi::Threading::Funneled } else { mpi::Threading::Single };
    let Some((universe, _threading)) = mpi::initialize_with_threading(threading) else {
        eprintln!("{}: MPI is initialized already", K::NAME);
        return ExitCode::FAILURE;
    };
    let world = OpenMpi::new(universe.world());
    std::panic::set_hook(Box::new(move |panic| {
        report(K::NAME, rank_or_zero(), &panic_line(panic));
        mpi::topology::SimpleCommunicator::world().abort(PANIC);
    }));
    match arguments {
        Err(message) => {
            let status = if world.rank() == 0 { answer(&message) } else { status_of(&message) };
            world.barrier();
            status
        }
        Ok(kernel) => match execute(&kernel, &world) {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => {
                report(K::NAME, world.rank(), &line);
                universe.world().abort(1)
            }
        },
    }
}

/// Runs a kernel that needs no MPI on one rank; under `mpirun`, every rank but the first has nothing to do.
pub fn run_alone<K: Kernel>() -> ExitCode {
    if rank_or_zero() != 0 {
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(move |panic| report(K::NAME, 0, &panic_line(panic))));
    match K::try_parse() {
        Err(message) => answer(&message),
        Ok(kernel) => match execute(&kernel, &Solo) {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => {
                report(K::NAME, 0, &line);
                ExitCode::FAILURE
            }
        },
    }
}

/// The work itself; an error comes back as one line.
fn execute<K: Kernel>(kernel: &K, communicator: &impl Communicator) -> Result<(), String> {
    let events = Events::from_environment(K::NAME, communicator.rank()).map_err(|error| one_line(&error))?;
    let mut run = Run { communicator, events, folder: PathBuf::from(".") };
    kernel.run(&mut run).map_err(|error| one_line(&error))
}

/// Prints what clap has to say: help to stdout, complaints to stderr.
fn answer(message: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the terminal itself is gone.
    let _ = message.print();
    status_of(message)
}

fn status_of(message: &clap::Error) -> ExitCode {
    if message.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// This process's rank as its launcher put it into the environment: Open MPI, any PMIx launcher, MPICH and Slurm.
fn launcher_rank() -> Option<usize> {
    ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"]
        .into_iter()
        .find_map(|variable| std::env::var(variable).ok()?.parse().ok())
}

fn rank_or_zero() -> usize {
    launcher_rank().unwrap_or(0)
}

/// One write, so that lines of several ranks do not mix.
fn report(kernel: &str, rank: usize, line: &str) {
    use std::io::Write;
    // Nobody is left to tell when stderr is gone.
    let _ = std::io::stderr().write_all(format!("{kernel}: rank {rank}: {line}\n").as_bytes());
}

/// An error and its causes on one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.replace(['\n', '\r'], " ")
}

fn panic_line(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown cause")
        .replace(['\n', '\r'], " ");
    match panic.location() {
        Some(location) => format!("panicked at {}:{}: {text}", location.file(), location.line()),
        None => format!("panicked: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_0_and_no_numbers_are_no_arguments() {
        assert_eq!((not_negative("0"), not_negative("1e-5")), (Ok(0.0), Ok(1e-5)));
        assert!(["-1", "nan", "inf", "", "many"].into_iter().all(|text| not_negative(text).is_err()));
    }

    #[test]
    fn one_line_chains_causes_and_keeps_to_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("ratings could not be\nread")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no such file"));
        assert_eq!(one_line(&error), "ratings could not be read: no such file");
    }
}
