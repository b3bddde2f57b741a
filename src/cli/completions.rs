//! `ewulf completions`: what a shell needs to complete ewulf's command line.

use clap::CommandFactory;

use super::Cli;
use super::failure::{Exit, Outcome};
use super::session::Session;

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf completions bash > /etc/bash_completion.d/ewulf
  ewulf completions zsh > \"${fpath[1]}/_ewulf\"
  ewulf completions fish > ~/.config/fish/completions/ewulf.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(self, session: &Session) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ewulf", &mut script);
        session.screen.print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
