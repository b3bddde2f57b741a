//! The engine's side of the event stream: a handle to emit with, and a guard that times one piece of work.

use std::sync::Arc;
use std::time::Instant;

pub use ewulf_core::events::{Event, Level};

/// Where events go; clones share one consumer.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Events")
    }
}

impl Events {
    /// Sends every event to `consumer`, which must not block.
    pub fn new(consumer: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(consumer))
    }

    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// Announces a piece of work; the guard reports how it goes on.
    pub fn begin(&self, task: impl Into<String>, sentence: impl Into<String>) -> Work {
        let task = task.into();
        self.emit(Event::Begun { task: task.clone(), sentence: sentence.into() });
        Work { events: self.clone(), task, begun: Instant::now() }
    }

    pub fn notice(&self, level: Level, sentence: impl Into<String>) {
        self.emit(Event::Notice { level, sentence: sentence.into() });
    }

    pub fn output(&self, source: impl Into<String>, line: impl Into<String>, error: bool) {
        self.emit(Event::Output { source: source.into(), line: line.into(), error });
    }
}

/// One piece of work under way.
#[derive(Debug)]
pub struct Work {
    events: Events,
    task: String,
    begun: Instant,
}

impl Work {
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.events.emit(Event::Progress { task: self.task.clone(), done, total, unit: unit.to_owned() });
    }

    pub fn waiting(&self, sentence: impl Into<String>) {
        self.events.emit(Event::Waiting { task: self.task.clone(), sentence: sentence.into() });
    }

    /// Ends the work well; `sentence` says what came of it.
    pub fn done(self, sentence: impl Into<String>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.events.emit(Event::Done { task: self.task, sentence: sentence.into(), seconds });
    }

    /// Ends the work badly; the chain of causes is kept apart, outermost first.
    pub fn failed(self, error: &dyn std::error::Error) {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        self.events.emit(Event::Failed { task: self.task, causes });
    }
}
