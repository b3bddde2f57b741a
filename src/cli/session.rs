//! What every verb is handed: options, screen, interrupt and the project.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::events::{Events, Level};
use crate::interrupt::Interrupt;
use crate::ui::{Colour, Screen};

use super::failure::Failure;
use super::project::Project;

/// Options of every verb.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Options {
    /// Project folder, with clusters/, images/, templates/ and jobs/ [default: the nearest one upwards from here]
    #[arg(short = 'C', long = "project", value_name = "DIR", global = true)]
    pub project: Option<PathBuf>,
    /// Print facts as JSON on stdout; long verbs print one event a line
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        global = true
    )]
    pub color: Colour,
    /// Send all calls for `cloud: aws` to this address
    #[arg(long, value_name = "URL", global = true)]
    pub endpoint_url: Option<String>,
    /// State folder of the local cloud [env: EWULF_LOCAL_STATE] [default: ~/.local/state/ewulf/local]
    #[arg(long, value_name = "DIR", global = true)]
    pub local_state: Option<PathBuf>,
    /// Also show what each step prints, and which API calls were made
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// One invocation of ewulf.
pub struct Session {
    pub options: Options,
    pub screen: Screen,
    pub interrupt: Interrupt,
    project: OnceLock<Project>,
}

impl Session {
    pub fn new(options: Options, screen: Screen, interrupt: Interrupt) -> Self {
        Self { options, screen, interrupt, project: OnceLock::new() }
    }

    /// Finds the project folder; looks once.
    pub fn project(&self) -> Result<&Project, Failure> {
        if let Some(project) = self.project.get() {
            return Ok(project);
        }
        let project = Project::find(self.options.project.as_deref())?;
        Ok(self.project.get_or_init(|| project))
    }

    /// The state folder of the local cloud.
    pub fn local_state(&self) -> PathBuf {
        super::user::local_state(self.options.local_state.as_deref())
    }

    /// Events for a verb whose stdout is one table or document.
    pub fn events(&self) -> Events {
        self.screen.events()
    }

    /// Events for a verb that works for long: JSON lines on stdout under `--json`.
    pub fn event_stream(&self) -> Events {
        self.screen.event_stream()
    }

    /// Says once, when the first Ctrl-C comes, what happens now. For verbs that stop in two steps.
    pub fn announce_interrupt(&self, events: &Events) {
        let (interrupt, events) = (self.interrupt.clone(), events.clone());
        tokio::spawn(async move {
            interrupt.requested().await;
            let sentence = "Interrupted: finishing what is in flight and starting nothing new; Ctrl-C again stops at once.";
            events.notice(Level::Warning, sentence);
        });
    }

    /// Tells what the calls to a cloud were, if the user wants to know.
    pub fn tell_calls(&self, cloud: &crate::aws::Cloud) {
        if !self.options.verbose {
            return;
        }
        let totals = cloud.calls.totals();
        let actions: Vec<String> = totals.by_action.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let calls = crate::ui::text::count(totals.requests as u64, "API call");
        self.screen.say(&format!("{calls}, {} in sequence: {}", totals.in_sequence, actions.join(", ")));
    }
}
