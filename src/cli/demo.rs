//! `ewulf demo`: the whole way once, by the commands a user would type.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use crate::ui::{Table, text};

use super::failure::{Exit, Failure, Kind, Outcome};
use super::session::Session;

/// Bakes images, brings a cluster of three real nodes up on this machine, and runs MPI jobs on it.
///
/// Every command is shown before it runs, and is one that you may type yourself. The cluster stays, to be looked at; a
/// second demo is quick, since nothing needs to be baked or made again. Needs root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sudo ewulf demo
  sudo ewulf demo --local-state /var/tmp/demo")]
pub struct Demo {}

/// The tour, with what each stop is for.
const TOUR: [(&str, &[&str]); 7] = [
    ("Bake a master and a worker image; the local cloud is started on first use.", &["bake-ami", "--cloud", "local"]),
    ("See what would change.", &["plan", "clusters/demo.yaml"]),
    ("Make it so: one master and two workers.", &["apply", "clusters/demo.yaml", "--yes"]),
    ("Check MPI's collective operations on every slot.", &["run", "jobs/primitives.yaml"]),
    ("Estimate pi.", &["run", "jobs/pi.yaml"]),
    ("Find every movie's nearest neighbours in a million ratings.", &["run", "jobs/knn.yaml"]),
    ("Look at the nodes.", &["status", "demo"]),
];

impl Demo {
    pub async fn run(self, session: &Session) -> Outcome {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::Failed, "ewulf's own program file cannot be found").caused_by(Some(&error)))?;
        let begun = Instant::now();
        let mut table = Table::new(["COMMAND", ">TIME"]);
        for (purpose, arguments) in TOUR {
            let shown = shown(&program, session, arguments);
            let style = session.screen.stderr_style();
            session.screen.say(&format!("\n{}\n{} {}", style.dim(&format!("# {purpose}")), style.green("$"), style.bold(&shown)));
            let step = Instant::now();
            let mut command = tokio::process::Command::new(&program);
            command.args(inherited(session)).args(arguments);
            let status = command
                .status()
                .await
                .map_err(|error| Failure::new(Kind::Failed, format!("`{shown}` cannot be started")).caused_by(Some(&error)))?;
            if !status.success() || session.interrupt.is_requested() {
                return Err(stopped(&shown, status));
            }
            table.row([shown, text::seconds(step.elapsed().as_secs_f64())]);
        }
        let total = text::seconds(begun.elapsed().as_secs_f64());
        table.row(["all of it".to_owned(), total]);
        session.screen.say("");
        session.screen.print_table(&table)?;
        session.screen.print(&what_next(&program, session))?;
        Ok(Exit::Done)
    }
}

/// The global options that the tour's commands share with the demo.
fn inherited(session: &Session) -> Vec<String> {
    let mut options = Vec::new();
    if let Some(project) = &session.options.project {
        options.extend(["-C".to_owned(), project.to_string_lossy().into_owned()]);
    }
    if let Some(state) = &session.options.local_state {
        options.extend(["--local-state".to_owned(), state.to_string_lossy().into_owned()]);
    }
    if session.options.verbose {
        options.push("--verbose".to_owned());
    }
    options
}

/// A command as the user would type it here: by name if that finds this program, else by its path.
fn shown(program: &Path, session: &Session, arguments: &[&str]) -> String {
    let by_name = super::doctor::find_program("ewulf").and_then(|found| found.canonicalize().ok());
    let name = if by_name.as_deref() == program.canonicalize().ok().as_deref() {
        "ewulf".to_owned()
    } else {
        std::env::args().next().unwrap_or_else(|| program.to_string_lossy().into_owned())
    };
    let words = std::iter::once(name).chain(inherited(session)).chain(arguments.iter().map(|word| (*word).to_owned()));
    words.map(|word| text::shell_word(&word)).collect::<Vec<_>>().join(" ")
}

/// Passes on why a command of the tour did not end well; it said so itself already.
fn stopped(shown: &str, status: ExitStatus) -> Failure {
    let kind = match status.code() {
        Some(3) => Kind::InvalidInput,
        Some(4) => Kind::Refused,
        Some(5) => Kind::JobFailed,
        Some(0 | 130) => Kind::Interrupted,
        _ => Kind::Failed,
    };
    Failure::new(kind, format!("the demo stopped at `{shown}`")).hint("run it again: it goes on from what is there")
}

fn what_next(program: &Path, session: &Session) -> String {
    let sudo = if std::env::var_os("SUDO_UID").is_some() { "sudo " } else { "" };
    let line = |purpose: &str, arguments: &[&str]| format!("  {sudo}{:<48}  {purpose}\n", shown(program, session, arguments));
    let mut text = "\nThe cluster is yours. Look further:\n".to_owned();
    text.push_str(&line("a shell on the master", &["ssh", "demo/master"]));
    text.push_str(&line("a program on every node", &["exec", "demo/all", "--", "uptime"]));
    text.push_str(&line("every run so far; results are in results/", &["runs", "demo"]));
    text.push_str(&line("the same in Python", &["run", "jobs/pi-python.yaml"]));
    text.push_str("Remove it:\n");
    text.push_str(&line("the cluster; images stay", &["destroy", "demo"]));
    text.push_str(&line("everything of the local cloud", &["local", "reset"]));
    text
}
