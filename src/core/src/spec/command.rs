//! Command lines of jobs as data.
//!
//! Everything is a list of words for `execve`; nothing here is ever read by a shell, and so nothing is quoted.

use super::job::{Argument, Arguments, Bind, JobManifest, Program, Step};
use super::scalar::Scalar;
use crate::names::OptionName;
use crate::quantity::Ipv4Network;

/// Folder of the kernels in an image.
pub const KERNEL_FOLDER: &str = "/opt/ewulf/bin";

/// What mpirun needs to know beyond the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Path of the hostfile on the master.
    pub hostfile: &'a str,
    /// How many ranks to start.
    pub ranks: u32,
    /// The cluster's network: the only one that ranks and daemons talk over.
    pub network: Ipv4Network,
    /// Names of environment variables that ranks receive besides the manifest's.
    pub exports: &'a [&'a str],
}

impl Program {
    /// Returns the words of the program with options.
    ///
    /// An option with a value is two words, `--key` and `value`; or one, `--key=value`, where the value alone could be
    /// taken for something else.
    pub fn argv(&self, args: &Arguments) -> Vec<String> {
        let mut argv = match self {
            Self::Kernel(name) => vec![format!("{KERNEL_FOLDER}/{name}")],
            Self::Command(words) => words.iter().map(ToString::to_string).collect(),
        };
        for (option, argument) in args {
            match argument {
                Argument::One(value) => push_option(&mut argv, option, value),
                Argument::Many(values) => values.iter().for_each(|value| push_option(&mut argv, option, value)),
            }
        }
        argv
    }
}

fn push_option(argv: &mut Vec<String>, option: &OptionName, value: &Scalar) {
    match value {
        Scalar::Bool(true) => argv.push(format!("--{option}")),
        Scalar::Bool(false) => {}
        _ => {
            let value = value.to_string();
            // Parsers take a word with a dash for an option, and mpirun takes `:` for the start of another program.
            if value.starts_with('-') || value == ":" {
                argv.push(format!("--{option}={value}"));
            } else {
                argv.extend([format!("--{option}"), value]);
            }
        }
    }
}

impl Step {
    /// Returns the words of the step.
    pub fn argv(&self) -> Vec<String> {
        self.program.argv(&self.args)
    }
}

impl JobManifest {
    /// Returns the words that every rank runs, without mpirun.
    pub fn program_argv(&self) -> Vec<String> {
        self.program.argv(&self.args)
    }

    /// Returns the words of mpirun (Open MPI 5) that start the job.
    ///
    /// Values of environment variables are not among them: `-x NAME` hands on what mpirun's own environment has, so
    /// that no value shows in a list of processes.
    pub fn argv(&self, launch: &Launch<'_>) -> Vec<String> {
        let network = launch.network.to_string();
        let mut argv: Vec<String> =
            ["mpirun", "--hostfile", launch.hostfile, "-n", &launch.ranks.to_string()].map(str::to_owned).to_vec();
        // MPI's traffic and the daemons' own must both stay in the cluster's network: a second interface hangs them.
        argv.extend(["--prtemca", "prte_if_include", &network, "--mca", "btl_tcp_if_include", &network].map(str::to_owned));
        argv.extend(["--output", "tag"].map(str::to_owned));
        if let Some(mapping) = self.mapping() {
            argv.extend(["--map-by".to_owned(), mapping]);
        }
        if let Some(bind) = self.bind {
            argv.extend(["--bind-to".to_owned(), bind.word().to_owned()]);
        }
        let own = self.environment.keys().map(AsRef::as_ref);
        for name in own.chain(launch.exports.iter().copied()) {
            argv.extend(["-x".to_owned(), name.to_owned()]);
        }
        argv.extend(self.program_argv());
        argv
    }

    /// Returns the environment of the steps and of mpirun, as texts.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn mapping(&self) -> Option<String> {
        let share = if self.oversubscribe { ":OVERSUBSCRIBE" } else { "" };
        match self.ranks_per_node {
            Some(ranks) => Some(format!("ppr:{ranks}:node{share}")),
            None if self.oversubscribe => Some(format!("slot{share}")),
            None => None,
        }
    }
}

impl Bind {
    fn word(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Numa => "numa",
            Self::Package => "package",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
