//! `ewulf apply`: makes a cluster what its spec says.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ewulf_core::plan::Plan;
use ewulf_core::spec::ClusterSpec;

use super::cluster::{self, SavedPlan};
use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::session::Session;
use super::turn::TurnOptions;
use super::user::User;
use crate::apply::{self, Applied, ApplyError, Ascent, Lock, OnFailure};
use crate::aws::Cloud;
use crate::events::Events;
use crate::observe::settled;
use crate::ui;

/// Makes a cluster what its spec says: shows the plan, asks, carries it out.
///
/// Killed or failed anywhere, the same command goes on from what is there. A saved plan is carried out exactly, or
/// refused if the world has moved since it was made. What is found out about a failure is kept in results/failures/; a
/// new node that failed is then terminated, and the old ones stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf apply clusters/demo.yaml
  ewulf apply clusters/prod.yaml --yes
  ewulf apply clusters/prod.yaml --yes --wait 20m
  ewulf apply monday.plan             a plan saved by ewulf plan --out
  ewulf apply clusters/demo.yaml --on-error keep")]
pub struct Apply {
    /// A cluster spec, or a saved plan
    file: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// What happens to a new node that failed before it was part of the cluster
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_error: OnError,
    #[command(flatten)]
    turn: TurnOptions,
    #[command(flatten)]
    cloud: CloudOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    /// Terminate it, once everything about its failure is saved
    #[default]
    Unwind,
    /// Leave it running, to look at
    Keep,
}

/// Where failures are kept, below a project.
const FAILURES: &str = "results/failures";

impl Apply {
    pub async fn run(self, session: &Session) -> Outcome {
        let begun = Instant::now();
        let saved = SavedPlan::read(&self.file)?;
        let spec = match &saved {
            Some(saved) => saved.spec.clone(),
            None => cluster::spec(session.project()?, &self.file.to_string_lossy(), &self.cloud)?,
        };
        let cloud = session.connect_for(&spec, &session.event_stream()).await?;
        let lock = self.turn.lock(session, &cloud, &spec.cluster, "apply").await?;
        // Only what is seen under the lock is sure not to be changed by others until it is changed here.
        let outcome = match settled(lock.is_unsettled(), || cluster::plan(session, &cloud, &spec)).await {
            Ok(planned) => {
                lock.mark(true);
                match refuse_if_moved(saved, &planned.plan) {
                    Ok(()) => self.carry_out(session, &cloud, &spec, planned.plan, begun, &lock).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        };
        let released = lock.release().await;
        let exit = outcome?;
        released?;
        session.tell_calls(&cloud);
        Ok(exit)
    }

    async fn carry_out(
        &self,
        session: &Session,
        cloud: &Cloud,
        spec: &ClusterSpec,
        plan: Plan,
        begun: Instant,
        lock: &Lock,
    ) -> Outcome {
        session.screen.tell(ui::plan::render(&plan, session.screen.stderr_style()).trim_end());
        if !plan.blockers.is_empty() {
            let mut failure = Failure::invalid(format!("cluster {}: the plan cannot be carried out", spec.cluster));
            for blocker in &plan.blockers {
                failure = failure.hint(blocker.hint.clone());
            }
            return Err(failure);
        }
        if plan.is_empty() {
            if session.screen.is_json() {
                session.screen.print_json(&cluster::applied_document(&plan, None, &[], cloud))?;
            }
            return Ok(Exit::Done);
        }
        if !self.yes && !session.screen.confirm(&format!("Carry this out on cluster {}?", spec.cluster))? {
            return Err(Failure::interrupted("nothing was changed"));
        }
        let events = session.event_stream();
        session.announce_interrupt(&events);
        let mut ascent = Ascent::default();
        let (plan, applied) = self.climb(session, cloud, spec, plan, &events, lock, &mut ascent).await?;
        if session.screen.is_json() {
            let document = cluster::applied_document(&plan, Some(&applied), &ascent.attempts, cloud);
            session.screen.print_json_line(&document)?;
        } else {
            let missing: u64 = plan.shortfalls.iter().map(|it| u64::from(it.count - it.standing)).sum();
            let nodes = match missing {
                0 => ui::text::count(spec.node_count(), "node"),
                missing => format!("{} of {}", spec.node_count() - missing, ui::text::count(spec.node_count(), "node")),
            };
            session.screen.say(&format!(
                "Cluster {} is ready: {nodes}, {}, {:.1} s.",
                spec.cluster,
                cluster::calls_sentence(&cloud.calls.totals()),
                begun.elapsed().as_secs_f64()
            ));
        }
        Ok(Exit::Done)
    }

    /// Carries out the plan, and plans anew wherever EC2 has no room, until a plan is carried out to its end or no rung is
    /// left; answers the last plan.
    #[expect(clippy::too_many_arguments, reason = "the arguments of one command, on their way through it")]
    async fn climb(
        &self,
        session: &Session,
        cloud: &Cloud,
        spec: &ClusterSpec,
        mut plan: Plan,
        events: &Events,
        lock: &Lock,
        ascent: &mut Ascent,
    ) -> Result<(Plan, Applied), Failure> {
        let folder = session.project()?.output_folder().join(FAILURES);
        let on_failure = OnFailure { folder: Some(folder), unwind: self.on_error == OnError::Unwind };
        loop {
            let applied = apply::apply(cloud, &plan, events, &session.interrupt, &on_failure, &lock.guard()).await;
            let error = match applied {
                Ok(applied) if !plan.is_hopeless() => {
                    lock.mark(true);
                    return Ok((plan, applied));
                }
                // What was launched in vain is taken back, and no rung is left.
                Ok(_) => match std::mem::take(ascent).end() {
                    Some(error) => error,
                    None => return Err(Failure::invalid(format!("cluster {}: no rung of a ladder can be tried", spec.cluster))),
                },
                Err(error) => match ascent.learn(error, events) {
                    Ok(folders) => {
                        folders.iter().for_each(|folder| own(folder));
                        plan = cluster::plan_on(session, cloud, spec, ascent).await?;
                        ascent.announce(&plan, events);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            lock.mark(false);
            if let ApplyError::Step { after, .. } | ApplyError::Room { after, .. } = &error
                && let Some(folder) = &after.folder
            {
                own(folder);
            }
            return Err(error.into());
        }
    }
}

/// Gives evidence to whoever called. The failure itself is what matters: files that stay root's can still be read with sudo.
fn own(folder: &Path) {
    let _ = User::invoking().own_all(folder);
}

/// A saved plan is carried out exactly or not at all.
fn refuse_if_moved(saved: Option<SavedPlan>, plan: &Plan) -> Result<(), Failure> {
    if saved.is_none_or(|saved| saved.plan == *plan) {
        return Ok(());
    }
    let message = format!("cluster {}: the world moved since the plan was saved", plan.cluster);
    Err(Failure::new(Kind::Failed, message).hint("make a new plan: ewulf plan FILE --out PLAN"))
}
