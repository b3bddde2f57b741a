//! `ewulf reap`: removes what nobody will come back for.

use std::collections::{BTreeMap, BTreeSet};

use ewulf_core::address::Address;
use ewulf_core::names::ClusterName;
use ewulf_core::orphans::{self, Belongs, Cause, Mark, Part, PartKind};
use ewulf_core::plan::{self, Action, Plan, Step};
use jiff::Timestamp;
use serde_json::json;

use crate::apply::{self, Lock, OnFailure};
use crate::aws::Cloud;
use crate::events::Events;
use crate::{bake, observe};

use super::failure::{Exit, Failure, Kind, Outcome};
use super::ps::{self, OrphanAge, Places, Seen};
use super::session::Session;

/// Removes what is orphaned: shows it, asks, takes each cluster's lock, looks again, and removes it.
///
/// Clusters that live, kept volumes and everything without ewulf's tags stay. `ewulf ps --all` shows what would be
/// called orphaned, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf reap
  ewulf reap --cloud aws --all-regions
  ewulf reap --cloud aws --region us-east-1 --older-than 12h --yes")]
pub struct Reap {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    age: OrphanAge,
    #[command(flatten)]
    places: Places,
}

/// Ids that the user has seen, by whose they are.
type Confirmed = BTreeMap<Belongs, BTreeSet<String>>;

impl Reap {
    pub async fn run(self, session: &Session) -> Outcome {
        let events = session.event_stream();
        let clouds = self.places.connect(session, &events).await?;
        let seen = ps::observe_all(&clouds, self.age.older_than).await?;
        let orphaned: Vec<&Seen> = seen.iter().filter(|seen| seen.mark.and_then(Mark::orphan).is_some()).collect();
        if orphaned.is_empty() {
            session.screen.tell("Nothing is orphaned.");
            return finished(session, &[], Vec::new());
        }
        session.screen.tell(ps::table(session, &orphaned).render(session.screen.stderr_style(), None).trim_end());
        let what = crate::ui::text::count(orphaned.len() as u64, "thing");
        if !self.yes && !session.screen.confirm(&format!("Remove {what} for good?"))? {
            return Err(Failure::interrupted("nothing was removed"));
        }
        session.announce_interrupt(&events);
        let (mut removed, mut failures) = (Vec::new(), Vec::new());
        for cloud in &clouds {
            let here: Vec<&Seen> = orphaned.iter().copied().filter(|seen| seen.region == cloud.region).collect();
            let mut confirmed = Confirmed::new();
            for seen in &here {
                confirmed.entry(seen.part.belongs.clone()).or_default().insert(seen.part.id.clone());
            }
            // Bakes first: what they left may stand in the network of a cluster, which cannot go before.
            let (bakes, clusters): (Vec<_>, Vec<_>) =
                confirmed.iter().partition(|(belongs, _)| matches!(belongs, Belongs::Image(_)));
            for (belongs, ids) in bakes.into_iter().chain(clusters) {
                if session.interrupt.is_requested() {
                    failures.push(Failure::interrupted("interrupted; what was not begun is still there").hint("ewulf reap"));
                    break;
                }
                let outcome = match belongs {
                    Belongs::Cluster(name) => self.cluster(session, cloud, name, ids, &events).await,
                    Belongs::Image(name) => self.bakes(cloud, name, ids, &events).await,
                };
                match outcome {
                    Ok(gone) => removed.extend(here.iter().copied().filter(|seen| gone.contains(&seen.part.id))),
                    Err(failure) => failures.push(failure),
                }
            }
            session.tell_calls(cloud);
        }
        finished(session, &removed, failures)
    }

    /// Removes what is orphaned of one cluster, under its lock.
    async fn cluster(
        &self,
        session: &Session,
        cloud: &Cloud,
        name: &str,
        confirmed: &BTreeSet<String>,
        events: &Events,
    ) -> Result<BTreeSet<String>, Failure> {
        let cluster: ClusterName = name.parse().map_err(|_| {
            Failure::new(Kind::Failed, format!("cluster {name}: not a name that ewulf gives; its parts are left alone"))
        })?;
        let lock = Lock::acquire(cloud, &cluster, "reap").await?;
        let outcome = self.under_lock(session, cloud, &cluster, confirmed, events, &lock).await;
        let released = lock.release().await;
        let mut gone = outcome?;
        released?;
        // The lock of a dead holder was taken over, and given back just now.
        gone.extend(confirmed.iter().filter(|id| id.starts_with('/')).cloned());
        Ok(gone)
    }

    async fn under_lock(
        &self,
        session: &Session,
        cloud: &Cloud,
        cluster: &ClusterName,
        confirmed: &BTreeSet<String>,
        events: &Events,
        lock: &Lock,
    ) -> Result<BTreeSet<String>, Failure> {
        let world = observe::settled(lock.is_unsettled(), || observe::cluster(cloud, cluster));
        let (world, parts) = (world.await?, observe::account(cloud).await?);
        lock.mark(true);
        let is_meant = |part: &Part| part.kind != PartKind::Lock && part.belongs == Belongs::Cluster(cluster.to_string());
        let parts: Vec<Part> = parts.into_iter().filter(is_meant).collect();
        let orphaned = self.orphaned(&parts);
        if let Some((part, _)) = orphaned.iter().find(|(part, _)| !confirmed.contains(&part.id)) {
            let message = format!("cluster {cluster}: it changed meanwhile; {} {} was not shown", part.kind, part.id);
            return Err(Failure::new(Kind::Failed, message).hint("look again: ewulf reap"));
        }
        let ids: BTreeSet<String> = orphaned.iter().map(|(part, _)| part.id.clone()).collect();
        let is_dead = orphaned.iter().any(|(_, cause)| matches!(cause, Cause::NoNodes | Cause::NoMaster));
        let mut plan =
            if is_dead { plan::destroy(&world, false) } else { plan::remove_strays(&world, |id: &str| ids.contains(id)) };
        remove_volumes(&mut plan, &orphaned);
        if plan.is_empty() {
            return Ok(BTreeSet::new());
        }
        let applied = apply::apply(cloud, &plan, events, &session.interrupt, &OnFailure::default(), &lock.guard()).await;
        lock.mark(applied.is_ok());
        applied?;
        Ok(ids)
    }

    /// Removes what dead bakes of an image left, its failed AMIs and its snapshots without an image.
    async fn bakes(
        &self,
        cloud: &Cloud,
        image: &str,
        confirmed: &BTreeSet<String>,
        events: &Events,
    ) -> Result<BTreeSet<String>, Failure> {
        let of_image = |part: &Part| part.belongs == Belongs::Image(image.to_owned());
        let parts = observe::account(cloud).await?.into_iter().filter(of_image).collect::<Vec<_>>();
        let orphaned = self.orphaned(&parts);
        let of_bake = |part: &Part| matches!(part.kind, PartKind::Instance | PartKind::SecurityGroup);
        if orphaned.iter().any(|(part, _)| of_bake(part)) {
            bake::remove_dead(cloud, events, image).await?;
        }
        for (part, _) in orphaned.iter().filter(|(part, _)| !of_bake(part) && confirmed.contains(&part.id)) {
            // A builder's volume ends with it.
            if part.kind == PartKind::Volume && part.in_use {
                continue;
            }
            let work = events.begin(part.id.clone(), format!("removing {} of image {image}", part.kind));
            match bake::remove_part(cloud, part.kind, &part.id).await {
                Ok(()) => work.done(format!("removed {}", part.id)),
                Err(error) => {
                    work.failed(&error);
                    return Err(error.into());
                }
            }
        }
        let left = observe::account(cloud).await?.into_iter().filter(of_image).collect::<Vec<_>>();
        let left: BTreeSet<String> = self.orphaned(&left).iter().map(|(part, _)| part.id.clone()).collect();
        if let Some(id) = left.intersection(confirmed).next() {
            let message = format!("image {image}: {id} is still there");
            return Err(Failure::new(Kind::Failed, message).hint("try again in a minute: ewulf reap"));
        }
        Ok(confirmed.clone())
    }

    fn orphaned<'a>(&self, parts: &'a [Part]) -> Vec<(&'a Part, Cause)> {
        let marks = orphans::marks(parts, Timestamp::now().as_second(), self.age.older_than);
        parts.iter().zip(marks).filter_map(|(part, mark)| Some((part, mark?.orphan()?))).collect()
    }
}

/// Adds the volumes of nodes that are gone: the plan of a cluster knows the shared one alone.
fn remove_volumes(plan: &mut Plan, orphaned: &[(&Part, Cause)]) {
    for (part, _) in orphaned.iter().filter(|(part, _)| part.kind == PartKind::Volume && !part.in_use) {
        let action = Action::DeleteVolume { id: part.id.clone() };
        if !plan.steps.iter().any(|step| step.action == action) {
            plan.steps.push(Step { address: Address::Volume, after: Vec::new(), action });
        }
    }
}

/// Says what came of it; the first failure decides the exit code.
fn finished(session: &Session, removed: &[&Seen], failures: Vec<Failure>) -> Outcome {
    if session.screen.is_json() {
        let removed: Vec<_> = removed.iter().map(|seen| ps::document(seen)).collect();
        session.screen.print_json_line(&json!({ "event": "finished", "removed": removed }))?;
    } else if !removed.is_empty() {
        session.screen.say(&format!("Removed {}.", crate::ui::text::count(removed.len() as u64, "orphaned thing")));
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => Err(super::bake_ami::joined(first, failures)),
        None => Ok(Exit::Done),
    }
}
