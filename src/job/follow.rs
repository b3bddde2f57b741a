//! Following a run: new bytes of its log and of its kernel's events, until it ends or the user has seen enough.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::answer::News;
use super::lines::{Line, Lines};
use super::runner::{checked, odd_answer, refused};
use super::scripts::{self, Offsets};
use super::{Group, JobError, MASTER, Outcome, Plan, RunHandle, Runner, Status};
use crate::aws::{Class, Script};
use crate::events::{Events, Level, Work};

/// Pause between looks while there is news; doubles up to the longest while there is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Seconds that the master waits for news before it answers.
const PATIENCE: f64 = 0.4;
/// How often the cloud is asked whether all nodes are still there.
const NODE_CHECK: Duration = Duration::from_secs(10);
/// How long a cloud that does not answer is asked again.
const OUTAGE: Duration = Duration::from_secs(300);
/// A reader that is further behind than this skips to the last part: one answer carries some tens of kilobytes.
const BACKLOG_MAX: u64 = 4 << 20;
const BACKLOG_SHOWN: u64 = 64 << 10;

/// Why following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowEnd {
    /// The run has ended, and everything it said was told.
    Ended,
    /// The user interrupted; the run goes on, and following it again continues where this left off.
    Interrupted,
}

/// How far a run has been read, and what is shown of it.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub status: Status,
    /// Whether the run is over: by its own word, or because its unit is gone.
    pub over: bool,
    offsets: Offsets,
    output: Lines,
    events: Lines,
    phase: Option<(String, Work)>,
    /// Addresses of lost nodes that the run goes on without.
    lost: Vec<String>,
    /// News that came with the answer to the start.
    first: Option<News>,
}

impl Live {
    pub fn beginning_with(news: News) -> Self {
        Self { first: Some(news), ..Self::default() }
    }
}

/// One line that a kernel wrote about itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum KernelEvent {
    Phase { phase: String },
    Progress { phase: String, done: u64, total: u64 },
}

impl Runner {
    /// Tells of a run as it goes on, until it ends or `interrupt` completes.
    pub async fn follow(&self, handle: &mut RunHandle, interrupt: impl Future<Output = ()>) -> Result<FollowEnd, JobError> {
        let mut interrupt = pin!(interrupt);
        tokio::select! {
            biased;
            () = &mut interrupt => Ok(FollowEnd::Interrupted),
            ended = self.follow_to_end(handle) => ended.map(|()| FollowEnd::Ended),
        }
    }

    /// Tells everything that a run has said so far, without waiting for more.
    pub async fn show_log(&self, handle: &mut RunHandle) -> Result<(), JobError> {
        loop {
            let news = News { events: Vec::new(), ..self.poll(handle, 0.0).await? };
            // What a kernel was at does not matter any more; its bar would only flash.
            handle.live.offsets.events = news.sizes.1;
            if !self.tell(handle, news)? {
                return Ok(());
            }
        }
    }

    async fn follow_to_end(&self, handle: &mut RunHandle) -> Result<(), JobError> {
        let mut pause = SHORTEST_PAUSE;
        let mut nodes_checked = Instant::now();
        loop {
            let asked = Instant::now();
            let news = match handle.live.first.take() {
                Some(news) => news,
                None => self.poll_patiently(handle).await?,
            };
            // How long the way to the node and back takes; slow clouds throttle eager callers, too.
            let latency = asked.elapsed().saturating_sub(Duration::from_secs_f64(PATIENCE));
            let is_news = !news.output.is_empty() || !news.events.is_empty();
            let more = self.tell(handle, news)?;
            if more {
                continue;
            }
            if handle.live.over {
                self.end_phase(handle);
                return Ok(());
            }
            pause = if is_news { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            if nodes_checked.elapsed() > NODE_CHECK {
                nodes_checked = Instant::now();
                self.end_if_a_node_is_lost(handle).await?;
            }
            sleep(pause.max(latency)).await;
        }
    }

    async fn poll(&self, handle: &RunHandle, patience: f64) -> Result<News, JobError> {
        let plan = &handle.plan;
        let text = scripts::poll(&plan.folder, &plan.run, handle.live.offsets, patience);
        let script = Script::new(format!("follow {}", plan.run), text).timeout(Duration::from_secs(60));
        let outcome = self.cloud.run_on_one(&handle.master, &script).await.map_err(|source| refused(&plan.run, source))?;
        let answer = checked(outcome, "following the run", MASTER)?;
        News::read(&answer).map_err(|error| odd_answer(MASTER, "following the run", &error))
    }

    /// Polls again as long as the cloud or the master may only be out of reach for a while.
    async fn poll_patiently(&self, handle: &mut RunHandle) -> Result<News, JobError> {
        let begun = Instant::now();
        let mut pause = Duration::from_secs(1);
        loop {
            let error = match self.poll(handle, PATIENCE).await {
                Ok(news) => return Ok(news),
                Err(error) => error,
            };
            let passing = match &error {
                JobError::Cloud { source, .. } => {
                    matches!(source.class, Class::Unreachable | Class::Ambiguous | Class::Throttled | Class::Conflict)
                }
                JobError::Node { .. } => {
                    !self.lost_nodes(&handle.plan).await.is_ok_and(|lost| lost.iter().any(|node| node == MASTER))
                }
                _ => false,
            };
            if !passing || begun.elapsed() > OUTAGE {
                return Err(error);
            }
            if begun.elapsed() < pause {
                self.events
                    .notice(Level::Warning, format!("The master of run {} does not answer; asking again.", handle.plan.run));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    /// Turns news into events; answers whether more is there already.
    fn tell(&self, handle: &mut RunHandle, news: News) -> Result<bool, JobError> {
        if news.unit == "missing" {
            let (run, cluster) = (handle.plan.run.clone(), handle.plan.cluster.to_string());
            return Err(JobError::UnknownRun { run, cluster });
        }
        let RunHandle { plan, live, .. } = handle;
        for line in live.output.take(&news.output) {
            let line = Line::parse(&line);
            self.events.output(line.speaker(plan), line.text, line.error);
        }
        for line in live.events.take(&news.events) {
            tell_kernel_event(&self.events, plan, &mut live.phase, &line);
        }
        live.offsets.output += news.output.len() as u64;
        live.offsets.events += news.events.len() as u64;
        let behind = news.sizes.0.saturating_sub(live.offsets.output);
        if behind > BACKLOG_MAX {
            let skipped = behind - BACKLOG_SHOWN;
            live.offsets.output += skipped;
            live.output.forget();
            let sentence = format!("Skipped {} MiB of output; all of it is in {}/.ewulf/output.log.", skipped >> 20, plan.folder);
            self.events.notice(Level::Info, sentence);
        }
        live.over = news.status.outcome.is_some() || !news.is_active();
        live.status = news.status;
        Ok(behind > 0 || news.sizes.1 > live.offsets.events)
    }

    fn end_phase(&self, handle: &mut RunHandle) {
        if let Some((phase, work)) = handle.live.phase.take() {
            match handle.live.status.outcome {
                Some(Outcome::Succeeded) => work.done(format!("{}: {phase} done", handle.plan.job)),
                _ => work.failed(&Ended),
            }
        }
    }

    /// Ends the run when the cloud says that a node with ranks is not running: MPI cannot go on without it.
    ///
    /// Members on other nodes can, and the runner sees to that: such a run is ended only if every group has lost a node.
    async fn end_if_a_node_is_lost(&self, handle: &mut RunHandle) -> Result<(), JobError> {
        let plan = &handle.plan;
        let lost = match self.lost_nodes(plan).await {
            Ok(lost) if !lost.is_empty() => lost,
            // Nothing is lost, or nobody can tell: the run itself will show.
            _ => return Ok(()),
        };
        if goes_on_without(plan, &lost) {
            if handle.live.lost != lost {
                let sentence = format!("Lost {}; members of run {} go on elsewhere.", lost.join(" and "), plan.run);
                self.events.notice(Level::Warning, sentence);
                handle.live.lost = lost;
            }
            return Ok(());
        }
        self.events.notice(Level::Warning, format!("Lost {}; ending run {}.", lost.join(" and "), plan.run));
        if lost.iter().any(|node| node == MASTER) {
            let message = "it is not running any more".to_owned();
            return Err(JobError::Node { node: MASTER.to_owned(), doing: "following the run", message });
        }
        let text = format!("systemctl stop {}\n", crate::aws::shell_quote(&plan.run.unit()));
        let script = Script::new(format!("end {}", plan.run), text).timeout(Duration::from_secs(90));
        self.cloud.run_on_one(&handle.master, &script).await.map_err(|source| refused(&plan.run, source))?;
        Ok(())
    }

    /// Addresses of the run's nodes that are not running.
    pub(super) async fn lost_nodes(&self, plan: &Plan) -> Result<Vec<String>, JobError> {
        let ids: Vec<String> = plan.nodes.iter().map(|node| node.instance_id.clone()).collect();
        let filter = aws_sdk_ec2::types::Filter::builder().name("instance-id").set_values(Some(ids)).build();
        let pages = self.cloud.ec2.describe_instances().filters(filter).into_paginator().items().send();
        let reservations = pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| refused(&plan.run, crate::aws::failure("DescribeInstances", plan.run.as_str(), error)))?;
        let running: Vec<&str> = reservations
            .iter()
            .flat_map(|reservation| reservation.instances())
            .filter(|instance| {
                let state = instance.state().and_then(|state| state.name());
                matches!(state, Some(aws_sdk_ec2::types::InstanceStateName::Running))
            })
            .filter_map(|instance| instance.instance_id())
            .collect();
        let lost = plan.nodes.iter().filter(|node| !running.contains(&node.instance_id.as_str()));
        Ok(lost.map(|node| node.address.clone()).collect())
    }
}

/// Whether some members of a run can go on when nodes are lost.
fn goes_on_without(plan: &Plan, lost: &[String]) -> bool {
    let is_whole = |group: &Group| group.nodes.iter().all(|node| !lost.contains(&node.address));
    lost.iter().all(|node| node != MASTER) && plan.groups.iter().any(is_whole)
}

/// The cause of a phase that did not end well; the failure itself is told by whoever finishes the run.
#[derive(Debug, thiserror::Error)]
#[error("the run ended in this phase")]
struct Ended;

/// Tells one event of a kernel; what is no such event is passed over, because any program may write there.
fn tell_kernel_event(events: &Events, plan: &Plan, current: &mut Option<(String, Work)>, line: &str) {
    let Ok(event) = serde_json::from_str::<KernelEvent>(line) else { return };
    let (KernelEvent::Phase { phase } | KernelEvent::Progress { phase, .. }) = &event;
    if current.as_ref().is_none_or(|(name, _)| name != phase) {
        if let Some((ended, work)) = current.take() {
            work.done(format!("{}: {ended} done", plan.job));
        }
        let task = format!("{}: {phase}", plan.job);
        *current = Some((phase.clone(), events.begin(task, format!("{}: {phase}", plan.job))));
    }
    if let (KernelEvent::Progress { done, total, .. }, Some((_, work))) = (&event, current.as_ref()) {
        work.progress(*done, *total, "");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ewulf_core::events::Event;
    use jiff::Timestamp;

    use super::super::tests::{cluster, manifest};
    use super::*;

    #[test]
    fn members_go_on_without_a_node_as_long_as_a_group_is_whole() {
        let plan = |keys: &str| Plan::new(&manifest(keys), &cluster(&[2, 2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let lost = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>();
        let split = plan("{folds: 5, split: 2}");
        assert!(goes_on_without(&split, &lost(&["node/compute/0", "node/compute/1"])));
        assert!(!goes_on_without(&split, &lost(&["node/master"])));
        assert!(!goes_on_without(&plan("folds: 5"), &lost(&["node/compute/1"])));
        assert!(!goes_on_without(&plan(""), &lost(&["node/compute/1"])));
    }

    #[test]
    fn phases_of_a_kernel_become_pieces_of_work_with_progress() {
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let events = Events::new({
            let seen = seen.clone();
            move |event| seen.lock().unwrap().push(event)
        });
        let plan = Plan::new(&manifest(""), &cluster(&[2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let mut current = None;
        for line in [
            r#"{"event":"phase","phase":"load"}"#,
            "no event at all",
            r#"{"event":"progress","phase":"correlate","done":3,"total":10}"#,
            r#"{"event":"progress","phase":"correlate","done":10,"total":10}"#,
        ] {
            tell_kernel_event(&events, &plan, &mut current, line);
        }
        let told: Vec<String> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|event| match event {
                Event::Begun { task, .. } => format!("begun {task}"),
                Event::Done { task, .. } => format!("done {task}"),
                Event::Progress { task, done, total, .. } => format!("{task} {done}/{total}"),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            told,
            ["begun test: load", "done test: load", "begun test: correlate", "test: correlate 3/10", "test: correlate 10/10"]
        );
    }
}
