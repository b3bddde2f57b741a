//! Events on a terminal: a line with a spinner or a bar for each piece of work under way, a lasting line for each done.
//!
//! What a piece of work itself prints shows on its line and passes, unless everything is to be seen.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ewulf_core::events::{Event, Level};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::style::Style;
use super::text;

/// Lines that work under way may take: a terminal has at least 24, and the lasting lines need some of them.
const LINES: usize = 12;
/// Between two steps of a spinner; slower looks stuck.
const TICK: Duration = Duration::from_millis(120);
/// Widest name column; longer names push their sentence to the right.
const NAME_WIDTH: usize = 24;

/// Draws events on stderr.
pub struct Terminal {
    lines: MultiProgress,
    style: Style,
    verbose: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Work under way, oldest first; those without a line wait for one.
    tasks: VecDeque<Task>,
    /// Widest name so far.
    name_width: usize,
    /// Says how many wait for a line.
    rest: Option<ProgressBar>,
}

struct Task {
    name: String,
    sentence: String,
    progress: Option<Progress>,
    /// Last line that it printed.
    said: Option<String>,
    line: Option<ProgressBar>,
}

#[derive(Clone)]
struct Progress {
    done: u64,
    total: u64,
    unit: String,
}

impl Progress {
    fn amount(&self) -> String {
        text::amount(self.done, self.total, &self.unit)
    }
}

impl Terminal {
    /// `verbose` keeps every line that is printed by a piece of work.
    pub fn new(style: Style, verbose: bool) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { lines, style, verbose, state: Mutex::default() }
    }

    /// Shows one event.
    pub fn show(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begun { task, sentence } => self.begin(&mut state, task, sentence),
            Event::Progress { task, done, total, unit } => {
                self.change(&mut state, &task, |task| task.progress = Some(Progress { done, total, unit }));
            }
            Event::Waiting { task, sentence } => self.change(&mut state, &task, |task| {
                task.sentence = sentence;
                task.progress = None;
                task.said = None;
            }),
            Event::Done { task, sentence, seconds } => {
                let time = self.style.dim(&text::seconds(seconds));
                let line = format!("{sentence}  {time}");
                self.end(&mut state, &task, &self.style.green("✓"), &line);
            }
            Event::Failed { task, causes } => {
                let mut causes = causes.iter();
                let first = causes.next().map_or("failed", String::as_str);
                self.end(&mut state, &task, &self.style.red("✗"), first);
                for cause in causes {
                    self.print(&indented("    ", cause));
                }
            }
            Event::Skipped { task, sentence } => {
                let line = self.style.dim(&sentence);
                self.end(&mut state, &task, &self.style.dim("-"), &line);
            }
            Event::Output { source, line, .. } if !self.verbose && state.tasks.iter().any(|task| task.name == source) => {
                self.change(&mut state, &source, |task| task.said = Some(text::printable(&line)));
            }
            Event::Output { source, line, error } => {
                let bar = if error { self.style.red("│") } else { self.style.dim("│") };
                let name = self.style.dim(&text::printable(&source));
                self.print(&format!("  {name} {bar} {}", text::printable(&line)));
            }
            Event::Notice { level: Level::Info, sentence } => self.print(&sentence),
            Event::Notice { level: Level::Warning, sentence } => {
                self.print(&format!("{} {sentence}", self.style.yellow("warning:")));
            }
        }
    }

    /// Prints above the lines of work under way.
    pub fn print(&self, line: &str) {
        self.lines.suspend(|| eprint_line(line));
    }

    /// Takes the moving lines away while something else uses the terminal.
    pub fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        self.lines.suspend(act)
    }

    /// Removes what is still moving; lasting lines stay.
    pub fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for task in state.tasks.drain(..) {
            if let Some(line) = task.line {
                line.finish_and_clear();
            }
        }
        if let Some(rest) = state.rest.take() {
            rest.finish_and_clear();
        }
    }

    fn begin(&self, state: &mut State, name: String, sentence: String) {
        state.name_width = state.name_width.max(console::measure_text_width(&name)).min(NAME_WIDTH);
        state.tasks.push_back(Task { name, sentence, progress: None, said: None, line: None });
        self.arrange(state);
    }

    fn change(&self, state: &mut State, name: &str, change: impl FnOnce(&mut Task)) {
        let width = state.name_width;
        if let Some(task) = state.tasks.iter_mut().find(|task| task.name == name) {
            change(task);
            self.draw(task, width);
        }
    }

    fn end(&self, state: &mut State, name: &str, mark: &str, sentence: &str) {
        if let Some(index) = state.tasks.iter().position(|task| task.name == name)
            && let Some(task) = state.tasks.remove(index)
            && let Some(line) = task.line
        {
            line.finish_and_clear();
            self.lines.remove(&line);
        }
        let name = self.padded(name, state.name_width);
        self.print(&format!("{mark} {name}  {}", indented("  ", sentence)));
        self.arrange(state);
    }

    /// Gives lines to the oldest tasks, and says how many are left without one.
    fn arrange(&self, state: &mut State) {
        let width = state.name_width;
        for task in state.tasks.iter_mut().take(LINES).filter(|task| task.line.is_none()) {
            let line = match &state.rest {
                Some(rest) => self.lines.insert_before(rest, ProgressBar::no_length()),
                None => self.lines.add(ProgressBar::no_length()),
            };
            task.line = Some(line);
            self.draw(task, width);
            if let Some(line) = &task.line {
                line.enable_steady_tick(TICK);
            }
        }
        let hidden = state.tasks.len().saturating_sub(LINES);
        if hidden == 0 {
            if let Some(rest) = state.rest.take() {
                rest.finish_and_clear();
                self.lines.remove(&rest);
            }
            return;
        }
        let rest = state.rest.get_or_insert_with(|| {
            let rest = self.lines.add(ProgressBar::no_length());
            rest.set_style(style("  {wide_msg}"));
            rest
        });
        rest.set_message(self.style.dim(&format!("and {hidden} more")));
        rest.tick();
    }

    fn draw(&self, task: &Task, name_width: usize) {
        let Some(line) = &task.line else { return };
        line.set_prefix(self.padded(&task.name, name_width));
        let said = task.said.as_deref().unwrap_or_default();
        match &task.progress {
            Some(progress) if progress.total > 0 => {
                line.set_style(style("{spinner} {prefix}  {bar:24} {wide_msg}").progress_chars("━╸ "));
                line.set_length(progress.total);
                line.set_position(progress.done);
                let percent = progress.done.min(progress.total) * 100 / progress.total;
                line.set_message(self.style.dim(&format!("{percent:>3} %  {}  {said}", progress.amount())));
            }
            Some(progress) => {
                line.set_style(style("{spinner} {prefix}  {wide_msg} {elapsed}"));
                line.set_message(format!("{}  {}", task.sentence, self.style.dim(&format!("{}  {said}", progress.amount()))));
            }
            None => {
                line.set_style(style("{spinner} {prefix}  {wide_msg} {elapsed}"));
                line.set_message(format!("{}  {}", task.sentence, self.style.dim(said)));
            }
        }
    }

    fn padded(&self, name: &str, width: usize) -> String {
        let padding = " ".repeat(width.saturating_sub(console::measure_text_width(name)));
        format!("{}{padding}", self.style.bold(name))
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are well formed").tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// Indents every line of a text but the first.
pub(super) fn indented(indent: &str, text: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{indent}"))
}

/// Writes a line to stderr; when nobody reads it any more there is nobody to tell.
pub(super) fn eprint_line(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
