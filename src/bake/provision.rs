//! Provisioning: scripts that run detached on the builder, followed by offset while they run.
//!
//! A step is a script of `templates/bake` under a prologue that holds the recipe's lists as shell arrays, so that the
//! scripts themselves are plain shell. SSM starts a step and reads its output; losing SSM for a moment loses nothing.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use super::payload::payload;
use super::progress::{Progress, Voice};
use super::{Bake, BakeError};
use crate::aws::{CallError, Class, Script, retry, shell_quote};
use crate::events::Work;

/// Scripts, logs and statuses of the steps, in memory: nothing of them can get into the image.
const STATE_FOLDER: &str = "/run/ewulf-bake";
/// What a bake needs on disk; the last step removes it.
const WORK_FOLDER: &str = "/var/tmp/ewulf-bake";
/// Bytes of output read at once: in base64 they stay under the 24,000 characters that SSM keeps (ec2.md 7.12).
const CHUNK: usize = 16_000;
/// How long the builder waits for more output before it answers.
const PAUSE_TENTHS: u32 = 8;
/// Lines of a failed step that an error shows; the log has all.
const SHOWN_LINES: usize = 25;
/// Readings in a row that may fail before the builder counts as lost.
const LOST_READINGS: u32 = 15;

/// One step of provisioning.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Name of the script and of the step in messages.
    name: &'static str,
    /// What is being done, and what was done.
    sentences: (&'static str, &'static str),
    voice: Voice,
    /// Far beyond what the step takes on a slow machine: it ends what hangs.
    patience: Duration,
}

const STEPS: [Step; 7] = [
    Step::new("prepare", "preparing the builder", "Prepared the builder", Voice::Plain, 10),
    Step::new("packages", "installing packages", "Installed packages", Voice::Apt, 60),
    Step::new("kernels", "compiling kernels", "Compiled kernels", Voice::Cargo, 90),
    Step::new("files", "putting files in place", "Put files in place", Voice::Plain, 10),
    Step::new("prune", "removing build packages", "Removed build packages", Voice::Plain, 30),
    Step::new("checks", "running checks", "Ran checks", Voice::Checks, 60),
    Step::new("clean", "cleaning the image", "Cleaned the image", Voice::Plain, 10),
];

impl Step {
    const fn new(name: &'static str, doing: &'static str, done: &'static str, voice: Voice, minutes: u64) -> Self {
        Self { name, sentences: (doing, done), voice, patience: Duration::from_secs(minutes * 60) }
    }
}

/// What a reading of a step's output brought.
#[derive(Debug)]
struct Reading {
    /// Exit status, once the step has ended.
    status: Option<i32>,
    /// Whether its unit still runs.
    is_running: bool,
    output: Vec<u8>,
}

impl Bake<'_> {
    /// Sends the tree and the sources to the builder.
    pub(super) async fn upload(&self, builder: &str) -> Result<(), BakeError> {
        let work = self.begin_work("upload", "sending files and sources");
        let content = payload(&self.prepared);
        let ids = [builder.to_owned()];
        let target = format!("{WORK_FOLDER}/payload.tar");
        let progress = |sent: usize, all: usize| work.progress(sent as u64, all as u64, "chunks");
        let sent = self.interruptible(self.cloud.upload(&ids, &content, &target, 0o600, progress)).await;
        let outcome = sent.and_then(|sent| sent.map_err(BakeError::from));
        super::report(work, outcome, format!("Sent {} KB of files and sources", content.len() / 1_000))
    }

    /// Looks for the scripts of all steps.
    pub(super) fn check_scripts(&self) -> Result<(), BakeError> {
        STEPS.iter().try_for_each(|step| self.script(step.name).map(drop))
    }

    /// Runs all steps; the first that fails ends it.
    pub(super) async fn provision(&self, builder: &str) -> Result<(), BakeError> {
        for step in &STEPS {
            if step.name == "kernels" && self.recipe().kernels.is_empty() {
                continue;
            }
            let work = self.begin_work(step.name, step.sentences.0);
            match self.run_step(builder, step, &work).await {
                Ok(()) => work.done(step.sentences.1),
                Err(error) => {
                    work.failed(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn run_step(&self, builder: &str, step: &Step, work: &Work) -> Result<(), BakeError> {
        self.log.line(&format!("==> {}", step.name));
        let start = Script::new(format!("ewulf bake {}: {}", self.image, step.name), self.start_script(step)?);
        let started = retry(Duration::from_secs(60), &[Class::Ambiguous, Class::Unreachable], || async {
            self.cloud.run_on_one(builder, &start).await
        });
        let started = self.interruptible(started).await??;
        if !started.is_success() {
            return Err(self.step_failed(step, started.exit, started.tail(SHOWN_LINES)));
        }
        let mut listener = Listener::new(self, step, work);
        let mut offset = 0;
        let mut failures = 0;
        let begun = Instant::now();
        loop {
            let reading = match self.interruptible(self.read(builder, step, offset)).await? {
                Ok(reading) => reading,
                Err(_) if failures < LOST_READINGS => {
                    failures += 1;
                    self.interruptible(tokio::time::sleep(Duration::from_secs(2))).await?;
                    continue;
                }
                Err(source) => return Err(BakeError::Lost { image: self.image.clone(), step: step.name, source }),
            };
            failures = 0;
            offset += reading.output.len();
            listener.hear(&reading.output);
            // The status is written after all output, so an empty reading with a status is the end.
            let status = match (reading.status, reading.is_running) {
                _ if !reading.output.is_empty() => None,
                (None, false) => Some(-1),
                (status, _) => status,
            };
            match status {
                Some(0) => return Ok(()),
                Some(status) => return Err(self.step_failed(step, status, listener.tail())),
                None if begun.elapsed() > step.patience => {
                    let minutes = step.patience.as_secs() / 60;
                    return Err(BakeError::Slow { image: self.image.clone(), step: step.name, minutes, tail: listener.tail() });
                }
                None => {}
            }
        }
    }

    fn step_failed(&self, step: &Step, status: i32, tail: String) -> BakeError {
        BakeError::Step { image: self.image.clone(), step: step.name, status, tail, log: self.log.path().to_owned() }
    }

    /// The script that starts a step; run twice, it starts it once.
    fn start_script(&self, step: &Step) -> Result<String, BakeError> {
        let name = step.name;
        let script = STANDARD.encode(format!("{}{}", prologue(&self.prepared.recipe), self.script(name)?));
        Ok(format!(
            "folder={STATE_FOLDER}\n\
             mkdir -p -m 0700 \"$folder\"\n\
             if [ -e \"$folder/{name}.sh\" ]; then exit 0; fi\n\
             printf %s '{script}' | base64 -d > \"$folder/{name}.new\"\n\
             : > \"$folder/{name}.log\"\n\
             mv \"$folder/{name}.new\" \"$folder/{name}.sh\"\n\
             systemd-run --quiet --collect --unit=ewulf-bake-{name} --setenv=HOME=/root /bin/bash -c '\n\
             bash \"$1.sh\" > \"$1.log\" 2>&1 < /dev/null\n\
             echo \"$?\" > \"$1.new\" && mv \"$1.new\" \"$1.status\"' bake \"$folder/{name}\"\n"
        ))
    }

    /// Reads what a step printed beyond `offset`; waits for it on the builder, so that little goes over the wire.
    async fn read(&self, builder: &str, step: &Step, offset: usize) -> Result<Reading, CallError> {
        let name = step.name;
        let script = Script::new(
            format!("ewulf bake {}: follow {name}", self.image),
            format!(
                "state={STATE_FOLDER}/{name}\n\
                 for _ in $(seq {PAUSE_TENTHS}); do\n\
                 if [ -e \"$state.status\" ] || [ $(($(stat -c %s \"$state.log\") - {offset})) -ge {CHUNK} ]; then break; fi\n\
                 sleep 0.1\n\
                 done\n\
                 running=$(systemctl is-active --quiet ewulf-bake-{name}.service && echo yes || echo no)\n\
                 status=$(cat \"$state.status\" 2> /dev/null || echo none)\n\
                 echo \"$status $running\"\n\
                 tail -c +{} \"$state.log\" | head -c {CHUNK} | base64 -w 0\n",
                offset + 1
            ),
        )
        .timeout(Duration::from_secs(60));
        let outcome = self.cloud.run_on_one(builder, &script).await?;
        if !outcome.is_success() {
            let message = format!("reading ended with {:?} and status {}: {}", outcome.status, outcome.exit, outcome.tail(3));
            return Err(CallError::unexpected("SendCommand", builder, message));
        }
        parse_reading(&outcome.stdout)
            .ok_or_else(|| CallError::unexpected("SendCommand", builder, "a reading of the step's output is garbled"))
    }
}

fn parse_reading(text: &str) -> Option<Reading> {
    let (head, output) = text.split_once('\n')?;
    let (status, running) = head.split_once(' ')?;
    Some(Reading {
        status: if status == "none" { None } else { Some(status.parse().ok()?) },
        is_running: running == "yes",
        output: STANDARD.decode(output.trim()).ok()?,
    })
}

/// The head of every script: strict mode, folders, and the recipe's lists as arrays.
fn prologue(recipe: &ewulf_core::spec::ImageRecipe) -> String {
    fn array<T: ToString>(name: &str, values: &[T]) -> String {
        let words: Vec<String> = values.iter().map(|value| shell_quote(&value.to_string())).collect();
        format!("{name}=({})\n", words.join(" "))
    }
    let lists = [
        array("packages", &recipe.packages),
        array("build_packages", &recipe.build_packages),
        array("kernels", &recipe.kernels),
        array("enable", &recipe.enable),
        array("checks", &recipe.checks),
    ];
    format!(
        "set -eEuo pipefail\numask 022\n\
         trap 'echo \"line $LINENO: status $?: $BASH_COMMAND\" >&2' ERR\nexport DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8\n\
         BAKE={STATE_FOLDER} WORK={WORK_FOLDER}\nimage={}\n{}\n",
        shell_quote(recipe.image.as_str()),
        lists.concat()
    )
}

/// Takes a step's output apart into lines, for the log, the events and the bar.
struct Listener<'a> {
    bake: &'a Bake<'a>,
    source: String,
    work: &'a Work,
    progress: Progress,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    last: std::collections::VecDeque<String>,
}

impl<'a> Listener<'a> {
    fn new(bake: &'a Bake<'a>, step: &Step, work: &'a Work) -> Self {
        Self {
            bake,
            source: format!("{}: {}", bake.image, step.name),
            work,
            progress: Progress::new(step.voice),
            partial: Vec::new(),
            last: std::collections::VecDeque::new(),
        }
    }

    fn hear(&mut self, output: &[u8]) {
        self.partial.extend_from_slice(output);
        // A bar ends in a carriage return where a line ends in a line feed.
        while let Some(end) = self.partial.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line[..end]).trim_end());
        }
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        let heard = self.progress.hear(line);
        if let Some(share) = heard.share {
            self.work.progress(share.done, share.total, share.unit);
        }
        if !heard.is_text {
            return;
        }
        self.bake.log.line(line);
        self.bake.events.output(&self.source, line, false);
        if self.last.len() == SHOWN_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// The last lines, the unfinished one included.
    fn tail(&mut self) -> String {
        let rest = std::mem::take(&mut self.partial);
        self.line(String::from_utf8_lossy(&rest).trim_end());
        match self.last.is_empty() {
            true => "(it printed nothing)".to_owned(),
            false => self.last.iter().cloned().collect::<Vec<_>>().join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_tells_status_unit_and_output_apart() {
        let text = format!("none yes\n{}", STANDARD.encode("half a li"));
        let reading = parse_reading(&text).expect("a reading");
        assert_eq!((reading.status, reading.is_running, reading.output.as_slice()), (None, true, b"half a li".as_slice()));
        let reading = parse_reading("17 no\n").expect("a reading");
        assert_eq!((reading.status, reading.output.len()), (Some(17), 0));
        assert!(parse_reading("garbage").is_none());
    }

    #[test]
    fn a_check_cannot_leave_its_array() {
        let text = "image: test\nbuilder: {instance_type: c7i.large}\nchecks: [\"echo 'a'; $(touch /tmp/x) `id` \\\"b\\\"\"]\n";
        let recipe =
            ewulf_core::spec::load_image("x", text.as_bytes()).map_err(|error| format!("{error:?}")).expect("valid").spec;
        let script = format!("{}printf '%s' \"${{checks[0]}}\"", prologue(&recipe));
        let output = std::process::Command::new("bash").arg("-c").arg(&script).output().expect("bash runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), recipe.checks[0].as_str());
    }
}
