//! `ewulf ps`: what an account has of ewulf's, in all clusters and regions; and where to look, for `reap` as well.

use std::collections::BTreeSet;

use ewulf_core::names::Region;
use ewulf_core::orphans::{self, Belongs, Mark, Part, PartKind};
use ewulf_core::quantity::{Duration, Money};
use ewulf_core::spec;
use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;

use crate::aws::{CallError, Cloud, failure};
use crate::events::Events;
use crate::observe;
use crate::ui::{Table, text};

use super::connect::{CloudChoice, CloudOptions};
use super::failure::{Exit, Failure, Outcome};
use super::project::Kind;
use super::session::Session;

/// Regions that are read at once: each takes a dozen calls, and EC2 counts them by region.
const REGIONS_AT_ONCE: usize = 4;

/// Lists what an account has of ewulf's, whatever specs there are: instances, or with `--all` everything.
///
/// Age, price per hour by the built-in list, and what nobody will come back for are told of each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf ps
  ewulf ps --all --cloud aws --region us-east-1 --region eu-central-1
  ewulf ps --all --cloud aws --all-regions
  ewulf ps --all --json | jq -r '.[] | select(.orphan).id'")]
pub struct Ps {
    /// Also networks, volumes, launch templates, images, snapshots and locks
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    age: OrphanAge,
    #[command(flatten)]
    places: Places,
}

/// From when on something may count as orphaned.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OrphanAge {
    /// Call orphaned only what is older than this
    #[arg(long, value_name = "DURATION", default_value_t = orphans::USUAL_AGE)]
    pub older_than: Duration,
}

/// Where to look.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// The cloud, aws or local [default: that of the specs]
    #[arg(long, value_name = "CLOUD", value_enum, hide_possible_values = true)]
    cloud: Option<CloudChoice>,
    /// A region; may be given several times [default: those of the specs]
    #[arg(long, value_name = "REGION", conflicts_with = "all_regions")]
    region: Vec<Region>,
    /// Every region that the account may use
    #[arg(long)]
    all_regions: bool,
}

/// A part, where it is, and what is to be said of it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub region: String,
    pub part: Part,
    pub mark: Option<Mark>,
}

impl Ps {
    pub async fn run(self, session: &Session) -> Outcome {
        let clouds = self.places.connect(session, &session.events()).await?;
        let seen = observe_all(&clouds, self.age.older_than).await?;
        for cloud in &clouds {
            session.tell_calls(cloud);
        }
        let is_shown = |seen: &&Seen| self.all || seen.part.kind == PartKind::Instance;
        let shown: Vec<&Seen> = seen.iter().filter(is_shown).collect();
        if session.screen.is_json() {
            session.screen.print_json(&shown.iter().map(|seen| document(seen)).collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        if !shown.is_empty() {
            session.screen.print_table(&table(session, &shown))?;
        }
        session.screen.print_line(&summary(&seen, shown.len()))?;
        Ok(Exit::Done)
    }
}

impl Places {
    /// Makes clients for every place that is meant.
    pub async fn connect(&self, session: &Session, events: &Events) -> Result<Vec<Cloud>, Failure> {
        let project = session.project()?;
        let anywhere: Region = "us-east-1".parse().map_err(|_| Failure::invalid("us-east-1 is no region"))?;
        let (kind, _) = CloudOptions { cloud: self.cloud, region: Some(anywhere.clone()) }.or_of_specs(project)?;
        let mut regions: BTreeSet<String> = self.region.iter().map(ToString::to_string).collect();
        if regions.is_empty() {
            let files = project.own_names(Kind::Cluster);
            let specs = files.iter().filter_map(|name| Some(project.cluster_named(name).ok()?.spec));
            regions = specs.filter(|spec| spec.cloud == kind).map(|spec| spec.region.to_string()).collect();
        }
        let mut regions: Vec<Region> = regions.iter().filter_map(|region| region.parse().ok()).collect();
        if regions.is_empty() {
            regions.push(anywhere);
        }
        if self.all_regions {
            let first = session.connect(kind, &regions[0], events).await?;
            regions = all_regions(&first).await?.iter().filter_map(|region| region.parse().ok()).collect();
        }
        // One server serves one region: whatever a spec says, there is no other.
        if kind == spec::Cloud::Local {
            regions.truncate(1);
        }
        let mut clouds = Vec::with_capacity(regions.len());
        for region in &regions {
            clouds.push(session.connect(kind, region, events).await?);
        }
        Ok(clouds)
    }
}

/// Regions that the account has switched on.
async fn all_regions(cloud: &Cloud) -> Result<Vec<String>, CallError> {
    let answer = cloud.ec2.describe_regions().send().await;
    let answer = answer.map_err(|error| failure("DescribeRegions", cloud.region.as_str(), error))?;
    Ok(answer.regions.unwrap_or_default().into_iter().filter_map(|region| region.region_name).collect())
}

/// Reads every place, a few at a time, and marks what is there.
pub async fn observe_all(clouds: &[Cloud], age: Duration) -> Result<Vec<Seen>, Failure> {
    let mut seen = Vec::new();
    for some in clouds.chunks(REGIONS_AT_ONCE) {
        let mut reading = JoinSet::new();
        for cloud in some.iter().cloned() {
            reading.spawn(async move { observe::account(&cloud).await.map(|parts| (cloud.region, parts)) });
        }
        while let Some(done) = reading.join_next().await {
            let (region, parts) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            let marks = orphans::marks(&parts, Timestamp::now().as_second(), age);
            seen.extend(parts.into_iter().zip(marks).map(|(part, mark)| Seen { region: region.clone(), part, mark }));
        }
    }
    seen.sort_by(|a, b| (&a.region, &a.part.belongs, a.part.kind).cmp(&(&b.region, &b.part.belongs, b.part.kind)));
    Ok(seen)
}

/// A row for each part.
pub fn table(session: &Session, seen: &[&Seen]) -> Table {
    let style = session.screen.style();
    let mut table = Table::new(["REGION", "CLUSTER", "KIND", "ID", "ADDRESS", "STATE", ">AGE", ">$/HOUR", "NOTE"]);
    for Seen { region, part, mark } in seen {
        let note = match mark {
            Some(Mark::Orphan(_)) => style.red(&mark.map(|mark| mark.to_string()).unwrap_or_default()),
            Some(Mark::Kept) => style.cyan(&Mark::Kept.to_string()),
            None => String::new(),
        };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.row([
            region.clone(),
            part.belongs.to_string(),
            part.kind.to_string(),
            part.id.clone(),
            or_dash(part.address.as_deref().unwrap_or_default()),
            or_dash(&part.state),
            age(part).map_or_else(|| "-".to_owned(), |age| text::duration(std::time::Duration::from_secs(age))),
            part.price_per_hour.map_or_else(|| "-".to_owned(), |price| format!("{:.4}", price.as_dollars())),
            note,
        ]);
    }
    table
}

/// Seconds since it was made.
fn age(part: &Part) -> Option<u64> {
    let seconds = Timestamp::now().as_second().saturating_sub(part.made?);
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// A part as `--json` shows it.
pub fn document(seen: &Seen) -> serde_json::Value {
    let Seen { region, part, mark } = seen;
    let (cluster, image) = match &part.belongs {
        Belongs::Cluster(name) => (Some(name), None),
        Belongs::Image(name) => (None, Some(name)),
    };
    json!({
        "region": region,
        "cluster": cluster,
        "image": image,
        "kind": part.kind,
        "id": part.id,
        "address": part.address,
        "state": part.state,
        "made": part.made.and_then(|made| Timestamp::from_second(made).ok()).map(|time| time.to_string()),
        "age_seconds": age(part),
        "price_per_hour": part.price_per_hour.map(Money::as_dollars),
        "kept": *mark == Some(Mark::Kept),
        "orphan": mark.and_then(Mark::orphan),
        "reason": mark.map(|mark| mark.to_string()),
    })
}

fn summary(seen: &[Seen], shown: usize) -> String {
    if seen.is_empty() {
        return "Nothing of ewulf's is there.".to_owned();
    }
    let clusters: BTreeSet<(&str, &Belongs)> = seen
        .iter()
        .filter(|seen| matches!(seen.part.belongs, Belongs::Cluster(_)))
        .map(|seen| (seen.region.as_str(), &seen.part.belongs))
        .collect();
    let price: Money = seen.iter().filter_map(|seen| seen.part.price_per_hour).sum();
    let orphans = seen.iter().filter(|seen| seen.mark.and_then(Mark::orphan).is_some()).count();
    let mut text = format!(
        "{} of {} in {}; all of it costs ${:.4} per hour.",
        shown,
        text::count(seen.len() as u64, "thing"),
        text::count(clusters.len() as u64, "cluster"),
        price.as_dollars()
    );
    if shown < seen.len() {
        text.push_str(" `ewulf ps --all` shows the others.");
    }
    if orphans > 0 {
        let are = if orphans == 1 { "is" } else { "are" };
        text.push_str(&format!(" {orphans} {are} orphaned: `ewulf reap` removes what is."));
    }
    text
}
