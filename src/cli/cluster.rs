//! What the verbs on clusters share: from a spec to clients, a world and a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ewulf_core::names::ImageName;
use ewulf_core::plan::{self, Plan};
use ewulf_core::spec::{ClusterSpec, ImageReference, Loaded};
use ewulf_core::world::{Image, World};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connect::CloudOptions;
use super::failure::Failure;
use super::project::{Kind, Project};
use super::session::Session;
use crate::apply::{Applied, Ascent, Attempt};
use crate::aws::{Backoff, CallTotals, Cloud};
use crate::observe;

/// A world and the plan for it.
#[derive(Debug, PartialEq)]
pub struct Planned {
    pub world: World,
    pub plan: Plan,
}

/// Loads the specs that a verb was given, or all of the project; the command line's cloud wins over theirs.
pub fn specs(project: &Project, files: &[PathBuf], cloud: &CloudOptions) -> Result<Vec<Loaded<ClusterSpec>>, Failure> {
    let files = if files.is_empty() { project.files(Kind::Cluster) } else { files.to_vec() };
    let mut specs = Vec::new();
    let mut failures = Vec::new();
    for file in &files {
        match project.cluster(file) {
            Ok(mut loaded) => {
                cloud.override_spec(&mut loaded.spec);
                specs.push(loaded);
                failures.push(Ok(()));
            }
            Err(failure) => failures.push(Err(failure)),
        }
    }
    super::project::gather(failures)?;
    Ok(specs)
}

/// Loads a cluster's spec by its file or its name.
pub fn spec(project: &Project, cluster: &str, cloud: &CloudOptions) -> Result<ClusterSpec, Failure> {
    let is_file = cluster.contains('/') || cluster.ends_with(".yaml") || cluster.ends_with(".yml");
    let loaded = if is_file { project.cluster(Path::new(cluster)) } else { project.cluster_named(cluster) };
    let mut spec = loaded?.spec;
    cloud.override_spec(&mut spec);
    Ok(spec)
}

/// Observes the spec's cluster, images included, and plans.
pub async fn plan(session: &Session, cloud: &Cloud, spec: &ClusterSpec) -> Result<Planned, Failure> {
    let world = world(session, cloud, spec).await?;
    let plan = plan::plan(spec, &world);
    Ok(Planned { world, plan })
}

/// Plans again in the middle of an apply, once everything that it made is seen.
pub async fn plan_on(session: &Session, cloud: &Cloud, spec: &ClusterSpec, ascent: &Ascent) -> Result<Plan, Failure> {
    let mut backoff = Backoff::polling(SEEN);
    loop {
        let mut world = world(session, cloud, spec).await?;
        if ascent.is_seen_in(&world) || !backoff.pause().await {
            world.findings = ascent.findings.clone();
            return Ok(plan::plan(spec, &world));
        }
    }
}

async fn world(session: &Session, cloud: &Cloud, spec: &ClusterSpec) -> Result<World, Failure> {
    let (world, images) = tokio::join!(observe::observe(cloud, spec), images(session, cloud, spec));
    let mut world = world?;
    world.images = images?;
    world.limits = cloud.budget.limits();
    Ok(world)
}

/// How long what was made moments ago may stay unseen (ec2.md 1.1).
const SEEN: Duration = Duration::from_secs(300);

/// Looks up what stands for the recipes that a spec names.
async fn images(session: &Session, cloud: &Cloud, spec: &ClusterSpec) -> Result<BTreeMap<ImageName, Image>, Failure> {
    let project = session.project()?;
    let references = std::iter::once(&spec.master.image).chain(spec.workers.iter().map(|group| &group.image));
    let mut recipes = BTreeMap::new();
    for reference in references {
        if let ImageReference::Recipe(name) = reference
            && !recipes.contains_key(name)
        {
            let file = project.path(Kind::Image, name.as_str());
            recipes.insert(name.clone(), project.image(&file)?.spec);
        }
    }
    super::images::resolve(session, cloud, recipes).await
}

/// A plan as `--json` shows it.
pub fn plan_document(plan: &Plan) -> serde_json::Value {
    json!({ "cluster": plan.cluster, "empty": plan.is_empty(), "totals": plan.totals(), "plan": plan })
}

/// What an apply or destroy came to, as `--json` shows it; `attempts` are the rungs that had no room.
pub fn applied_document(plan: &Plan, applied: Option<&Applied>, attempts: &[Attempt], cloud: &Cloud) -> serde_json::Value {
    json!({
        "event": "finished",
        "cluster": plan.cluster,
        "totals": plan.totals(),
        "applied": applied,
        "attempts": attempts,
        "ladders": plan.ladders,
        "shortfalls": plan.shortfalls,
        "calls": cloud.calls.totals(),
    })
}

/// How many calls it took, and of those to EC2 how many one after the other: what a large cluster waits for.
pub fn calls_sentence(calls: &CallTotals) -> String {
    let ec2 = calls.ec2();
    format!("{} API calls ({} to EC2, {} in sequence)", calls.requests, ec2.requests, ec2.in_sequence)
}

/// A plan with the spec it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// Version of this file's form.
    ewulf_plan: u32,
    pub spec: ClusterSpec,
    pub plan: Plan,
}

/// The one form there is.
const SAVED_PLAN_VERSION: u32 = 1;

impl SavedPlan {
    pub fn new(spec: ClusterSpec, plan: Plan) -> Self {
        Self { ewulf_plan: SAVED_PLAN_VERSION, spec, plan }
    }

    /// Reads a saved plan; None if the file is not one.
    pub fn read(file: &Path) -> Result<Option<Self>, Failure> {
        // What cannot be read is reported by whoever loads it as a spec.
        let Ok(text) = std::fs::read(file) else { return Ok(None) };
        let head = &text[..text.len().min(200)];
        if !head.trim_ascii_start().starts_with(b"{") || !head.windows(12).any(|part| part == b"\"ewulf_plan\"") {
            return Ok(None);
        }
        let saved: Self = serde_json::from_slice(&text).map_err(|error| {
            Failure::invalid(format!("{}: it looks like a saved plan and cannot be read: {error}", file.display()))
                .hint("make a new one: ewulf plan FILE --out PLAN")
        })?;
        if saved.ewulf_plan != SAVED_PLAN_VERSION {
            return Err(Failure::invalid(format!("{}: a plan of version {}", file.display(), saved.ewulf_plan))
                .hint("make a new one with this version of ewulf: ewulf plan FILE --out PLAN"));
        }
        Ok(Some(saved))
    }
}
