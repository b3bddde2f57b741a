//! The only code that writes to a terminal: stdout is data, stderr the rest.
//!
//! The engine's events have three consumers here: a terminal, plain lines where there is none, and JSON lines. It
//! decides how things look; what is said is decided by whoever emits.

mod plain;
pub mod plan;
mod prompt;
pub mod style;
pub mod table;
mod terminal;
pub mod text;

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::events::{Event, Events, Level};

pub use prompt::PromptError;
pub use style::{Colour, Style};
pub use table::Table;

use plain::Plain;
use terminal::{Terminal, eprint_line, indented};

/// Why something could not be written to stdout.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Whoever read it has seen enough.
    #[error("standard output: nobody reads it any more")]
    Closed,
    #[error("standard output: cannot be written")]
    Write(#[source] std::io::Error),
    #[error("standard output: the value has no JSON form")]
    Json(#[source] serde_json::Error),
}

impl From<std::io::Error> for OutputError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::Closed } else { Self::Write(error) }
    }
}

/// Where a verb writes; clones share one screen.
#[derive(Clone)]
pub struct Screen(Arc<Inner>);

struct Inner {
    json: bool,
    out: Style,
    err: Style,
    /// Width of the terminal behind stdout, if there is one.
    out_width: Option<usize>,
    face: Face,
}

/// How events are shown to people.
enum Face {
    Terminal(Terminal),
    Plain(Plain),
    /// Under `--json` only what matters is told on stderr.
    Quiet,
}

impl Screen {
    /// Looks at the process's streams and environment once; `verbose` shows what pieces of work print.
    pub fn new(json: bool, colour: Colour, verbose: bool) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
        let style = |is_terminal| Style::new(colour.decide(is_terminal, no_color.as_deref(), term.as_deref()));
        let (out_terminal, err_terminal) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let err = style(err_terminal);
        let face = match (json, err_terminal && term.as_deref().is_some_and(|term| term != "dumb")) {
            (true, _) => Face::Quiet,
            (false, true) => Face::Terminal(Terminal::new(err, verbose)),
            (false, false) => Face::Plain(Plain::new(verbose)),
        };
        let out_width = out_terminal.then(|| usize::from(console::Term::stdout().size().1));
        Self(Arc::new(Inner { json, out: style(out_terminal), err, out_width, face }))
    }

    /// Whether the user wants JSON on stdout.
    pub fn is_json(&self) -> bool {
        self.0.json
    }

    /// Whether a person watches: questions can be asked and lines can move.
    pub fn is_interactive(&self) -> bool {
        matches!(self.0.face, Face::Terminal(_)) && std::io::stdin().is_terminal()
    }

    /// Colours for stdout.
    pub fn style(&self) -> Style {
        self.0.out
    }

    /// Colours for stderr.
    pub fn stderr_style(&self) -> Style {
        self.0.err
    }

    /// A consumer for a verb whose stdout is one document or table: events go to stderr alone.
    pub fn events(&self) -> Events {
        let screen = self.clone();
        Events::new(move |event| screen.show(event))
    }

    /// A consumer for a verb that works for long: under `--json` events are JSON lines on stdout.
    pub fn event_stream(&self) -> Events {
        if !self.0.json {
            return self.events();
        }
        Events::new(|event| {
            // An event is plain data, and a closed stdout must not stop what is under way.
            if let Ok(line) = serde_json::to_string(&event) {
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
        })
    }

    /// A consumer for a verb whose data is what a program says: its lines go to stdout, everything else to stderr.
    ///
    /// Under `--json` all events are JSON lines on stdout. When nobody reads stdout any more, the process ends if it may
    /// `end_when_closed`, and otherwise goes on in silence.
    pub fn output_stream(&self, end_when_closed: bool) -> Events {
        let (screen, json) = (self.clone(), self.event_stream());
        Events::new(move |event| match event {
            event if screen.0.json => json.emit(event),
            Event::Output { source, line, error: _ } => {
                let source = screen.0.out.dim(&format!("{} │", text::printable(&source)));
                let written = screen.print_line(&format!("{source} {}", text::printable(&line)));
                if end_when_closed && matches!(written, Err(OutputError::Closed)) {
                    std::process::exit(0);
                }
            }
            event => screen.show(event),
        })
    }

    fn show(&self, event: Event) {
        match &self.0.face {
            Face::Terminal(terminal) => terminal.show(event),
            Face::Plain(plain) => plain.show(&event),
            Face::Quiet => {
                if let Event::Notice { level: Level::Warning, sentence } = event {
                    eprint_line(&format!("warning: {sentence}"));
                }
            }
        }
    }

    /// Writes text to stdout as it is.
    pub fn print(&self, text: &str) -> Result<(), OutputError> {
        self.suspend(|| {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()?;
            Ok(())
        })
    }

    /// Writes a line to stdout.
    pub fn print_line(&self, line: &str) -> Result<(), OutputError> {
        self.print(&format!("{line}\n"))
    }

    /// Writes a table to stdout, as wide as the terminal at most.
    pub fn print_table(&self, table: &Table) -> Result<(), OutputError> {
        self.print(&table.render(self.0.out, self.0.out_width))
    }

    /// Writes a value to stdout as one indented JSON document.
    pub fn print_json(&self, value: &impl Serialize) -> Result<(), OutputError> {
        let text = serde_json::to_string_pretty(value).map_err(OutputError::Json)?;
        self.print_line(&text)
    }

    /// Writes a value to stdout as one line of a stream of JSON lines.
    pub fn print_json_line(&self, value: &impl Serialize) -> Result<(), OutputError> {
        let text = serde_json::to_string(value).map_err(OutputError::Json)?;
        self.print_line(&text)
    }

    /// Writes a line to stderr, above whatever moves there.
    pub fn say(&self, line: &str) {
        match &self.0.face {
            Face::Terminal(terminal) => terminal.print(line),
            Face::Plain(_) | Face::Quiet => eprint_line(line),
        }
    }

    /// Says something to people only: nothing under `--json`.
    pub fn tell(&self, line: &str) {
        if !self.0.json {
            self.say(line);
        }
    }

    /// Warns on stderr, under `--json` too.
    pub fn warn(&self, sentence: &str) {
        self.say(&format!("{} {}", self.0.err.yellow("warning:"), indented("  ", sentence)));
    }

    /// Asks a question that is answered yes or no; anything but a yes is a no.
    pub fn confirm(&self, question: &str) -> Result<bool, PromptError> {
        self.ask(&format!("{question} [y/N]")).map(|answer| prompt::is_yes(&answer))
    }

    /// Asks for a name to be typed, where a yes is too easily said.
    pub fn confirm_name(&self, question: &str, name: &str) -> Result<bool, PromptError> {
        self.ask(&format!("{question}\nType {} to go on:", self.0.err.bold(name))).map(|answer| answer == name)
    }

    /// Asks for a line.
    pub fn ask(&self, question: &str) -> Result<String, PromptError> {
        self.suspend(|| prompt::line(question))
    }

    /// Takes moving lines away while `act` uses the terminal.
    pub fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.0.face {
            Face::Terminal(terminal) => terminal.suspend(act),
            Face::Plain(_) | Face::Quiet => act(),
        }
    }

    /// Removes what still moves; called before the last words.
    pub fn finish(&self) {
        if let Face::Terminal(terminal) = &self.0.face {
            terminal.finish();
        }
    }
}

/// Writes a line to stderr outside of any screen, for a process that is about to end.
pub fn say_last(line: &str) {
    eprint_line(line);
}
