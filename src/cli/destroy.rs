//! `ewulf destroy`: removes a cluster.

use ewulf_core::plan;

use super::cluster;
use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Outcome};
use super::session::Session;
use super::turn::TurnOptions;
use crate::apply::{self, Lock, OnFailure};
use crate::aws::Cloud;
use crate::{observe, ui};

/// Removes everything of a cluster, in order, and nothing else.
///
/// A shared volume with `keep: true` stays, and the next apply of the same cluster adopts it; `--with-volume` removes
/// it too, with all data on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf destroy demo
  ewulf destroy clusters/demo.yaml --yes
  ewulf destroy demo --with-volume    also the shared volume that the spec keeps")]
pub struct Destroy {
    /// A cluster's name, or its spec
    cluster: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also delete a shared volume that is to be kept
    #[arg(long)]
    with_volume: bool,
    #[command(flatten)]
    turn: TurnOptions,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Destroy {
    pub async fn run(self, session: &Session) -> Outcome {
        let spec = cluster::spec(session.project()?, &self.cluster, &self.cloud)?;
        let cloud = session.connect_for(&spec, &session.event_stream()).await?;
        let lock = self.turn.lock(session, &cloud, &spec.cluster, "destroy").await?;
        // Only what is seen under the lock is sure not to be changed by others until it is changed here.
        let world = observe::settled(lock.is_unsettled(), || observe::cluster(&cloud, &spec.cluster)).await;
        let outcome = match world {
            Ok(world) => {
                lock.mark(true);
                let plan = plan::destroy(&world, self.with_volume);
                self.carry_out(session, &cloud, plan, &lock).await
            }
            Err(error) => Err(error.into()),
        };
        let released = lock.release().await;
        let exit = outcome?;
        released?;
        session.tell_calls(&cloud);
        Ok(exit)
    }

    async fn carry_out(&self, session: &Session, cloud: &Cloud, plan: plan::Plan, lock: &Lock) -> Outcome {
        let name = plan.cluster.as_str();
        if plan.is_empty() {
            session.screen.tell(&format!("Cluster {name}: nothing of it exists."));
            if session.screen.is_json() {
                session.screen.print_json(&cluster::applied_document(&plan, None, &[], cloud))?;
            }
            return Ok(Exit::Done);
        }
        session.screen.tell(ui::plan::render(&plan, session.screen.stderr_style()).trim_end());
        let question = format!("This removes cluster {name} and cannot be undone.");
        if !self.yes && !session.screen.confirm_name(&question, name)? {
            return Err(Failure::interrupted("nothing was removed"));
        }
        let events = session.event_stream();
        session.announce_interrupt(&events);
        let on_failure = OnFailure::default();
        let applied = apply::apply(cloud, &plan, &events, &session.interrupt, &on_failure, &lock.guard()).await;
        lock.mark(applied.is_ok());
        let applied = applied?;
        if session.screen.is_json() {
            session.screen.print_json_line(&cluster::applied_document(&plan, Some(&applied), &[], cloud))?;
        } else {
            let calls = cloud.calls.totals();
            session.screen.say(&format!(
                "Removed cluster {name}: {}, {:.1} s.",
                cluster::calls_sentence(&calls),
                applied.seconds
            ));
        }
        Ok(Exit::Done)
    }
}
