//! The command line: one file a verb, which loads, observes, plans, confirms, applies and reports.
//!
//! Owns arguments, exit codes and hints. Decides nothing about clouds: a verb calls the engine and shows what it says.

mod apply;
mod bake_ami;
mod cancel;
mod cluster;
mod completions;
pub mod connect;
mod demo;
mod destroy;
mod doctor;
mod exec;
pub mod failure;
mod faults;
mod images;
mod init;
mod jobs;
mod local;
mod logs;
mod nodes;
mod plan;
pub mod project;
mod ps;
mod reap;
mod run;
mod runs;
mod schema;
pub mod session;
mod ssh;
mod status;
mod sweep;
mod turn;
pub mod user;
mod validate;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::interrupt::Interrupt;
use crate::ui::Screen;

use failure::{Exit, Failure, Kind, Outcome};
use session::{Options, Session};

/// MPI clusters on EC2 as code: specs reconciled, images baked, jobs run.
#[derive(Debug, Parser)]
#[command(
    name = "ewulf",
    version,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  ewulf bake-ami                      bake every stale image in images/
  ewulf plan                          what would change, for every spec in clusters/
  ewulf apply clusters/demo.yaml      make it so
  ewulf run jobs/knn.yaml             run an MPI job on it

Exit codes: 0 done, 1 failed, 2 changes pending (plan --detailed-exitcode), 3 invalid input,
4 the cloud refused (permission, quota, capacity), 5 the job failed, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Plan(plan::Plan),
    Apply(apply::Apply),
    Destroy(destroy::Destroy),
    Status(status::Status),
    Ps(ps::Ps),
    Reap(reap::Reap),
    BakeAmi(bake_ami::BakeAmi),
    Images(images::Images),
    Run(run::Run),
    Runs(runs::Runs),
    Logs(logs::Logs),
    Cancel(cancel::Cancel),
    Ssh(ssh::Ssh),
    Exec(exec::Exec),
    Local(local::Local),
    Doctor(doctor::Doctor),
    Schema(schema::Schema),
    Validate(validate::Validate),
    Init(init::Init),
    Completions(completions::Completions),
    Demo(demo::Demo),
}

/// What the first Ctrl-C does to a verb; the second always ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnInterrupt {
    /// It only reads: it ends at once.
    End,
    /// It finishes what is in flight, or asks; the verb sees to it.
    Ask,
}

impl Verb {
    fn on_interrupt(&self) -> OnInterrupt {
        match self {
            Self::Local(verb) if verb.only_reads() => OnInterrupt::End,
            Self::Logs(verb) if verb.only_reads() => OnInterrupt::End,
            Self::Apply(_)
            | Self::Destroy(_)
            | Self::Reap(_)
            | Self::BakeAmi(_)
            | Self::Local(_)
            | Self::Run(_)
            | Self::Logs(_)
            | Self::Cancel(_)
            | Self::Demo(_) => OnInterrupt::Ask,
            Self::Plan(_) | Self::Status(_) | Self::Ps(_) | Self::Images(_) | Self::Runs(_) | Self::Ssh(_) | Self::Exec(_) => {
                OnInterrupt::End
            }
            Self::Doctor(_) | Self::Schema(_) | Self::Validate(_) | Self::Init(_) | Self::Completions(_) => OnInterrupt::End,
        }
    }

    async fn run(self, session: &Session) -> Outcome {
        match self {
            Self::Plan(verb) => verb.run(session).await,
            Self::Apply(verb) => verb.run(session).await,
            Self::Destroy(verb) => verb.run(session).await,
            Self::Status(verb) => verb.run(session).await,
            Self::Ps(verb) => verb.run(session).await,
            Self::Reap(verb) => verb.run(session).await,
            Self::BakeAmi(verb) => verb.run(session).await,
            Self::Images(verb) => verb.run(session).await,
            Self::Run(verb) => verb.run(session).await,
            Self::Runs(verb) => verb.run(session).await,
            Self::Logs(verb) => verb.run(session).await,
            Self::Cancel(verb) => verb.run(session).await,
            Self::Ssh(verb) => verb.run(session).await,
            Self::Exec(verb) => verb.run(session).await,
            Self::Local(verb) => verb.run(session).await,
            Self::Doctor(verb) => verb.run(session).await,
            Self::Schema(verb) => verb.run(session),
            Self::Validate(verb) => verb.run(session),
            Self::Init(verb) => verb.run(session),
            Self::Completions(verb) => verb.run(session),
            Self::Demo(verb) => verb.run(session).await,
        }
    }
}

/// Runs the process's command line and returns its exit code.
pub fn main() -> i32 {
    report_panics();
    let cli = match Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    let screen = Screen::new(cli.options.json, cli.options.color, cli.options.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(&screen, Err(Failure::of(Kind::Failed, &error))),
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(cli, screen.clone()))));
    // Calls that an interrupted verb left in flight must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(outcome) => finish(&screen, outcome),
        // Told by the hook already.
        Err(_) => Kind::Failed.code(),
    }
}

async fn run(cli: Cli, screen: Screen) -> Outcome {
    let interrupt = Interrupt::install().map_err(|error| Failure::of(Kind::Failed, &error))?;
    let on_interrupt = cli.verb.on_interrupt();
    let session = Session::new(cli.options, screen, interrupt.clone());
    match on_interrupt {
        OnInterrupt::Ask => cli.verb.run(&session).await,
        OnInterrupt::End => tokio::select! {
            outcome = cli.verb.run(&session) => outcome,
            () = interrupt.requested() => Err(Failure::interrupted("interrupted")),
        },
    }
}

/// Says the last words and decides the exit code.
fn finish(screen: &Screen, outcome: Outcome) -> i32 {
    screen.finish();
    match outcome {
        Ok(exit) => exit.code(),
        Err(failure) if failure.kind == Kind::Closed => failure.kind.code(),
        Err(failure) => {
            let text = if screen.is_json() {
                failure.to_json().to_string()
            } else {
                failure.render(screen.stderr_style()).trim_end().to_owned()
            };
            screen.say(&text);
            failure.kind.code()
        }
    }
}

/// Prints help, version or what is wrong with the arguments: invalid input, like a spec's.
fn explain_usage(error: &clap::Error) -> i32 {
    // Nobody is left to tell if this fails.
    let _ = error.print();
    if error.use_stderr() { Kind::InvalidInput.code() } else { Exit::Done.code() }
}

/// Makes a panic one line that asks for a report; RUST_BACKTRACE adds the usual trace.
fn report_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        crate::ui::say_last(&format!(
            "error: ewulf {version} has a bug{place}: {text}; please report this line and what you ran"
        ));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            usual(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_a_description_and_examples() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "`{}` has no description", command.get_name());
            let has_examples = command.get_after_help().is_some_and(|help| help.to_string().starts_with("Examples:\n"));
            assert!(has_examples || command.is_hide_set(), "`{}` has no examples", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
