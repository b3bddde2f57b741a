//! `ewulf status`: the nodes of a cluster, and whether it is healthy.

use ewulf_core::address::{JOINED_TAG, Role};
use ewulf_core::instance_types::price_per_hour;
use ewulf_core::spec::{ClusterSpec, Ready, WorkerGroup};
use ewulf_core::world::{Node, NodeState, World};
use jiff::Timestamp;
use serde::Serialize;

use super::cluster;
use super::connect::CloudOptions;
use super::failure::{Exit, Outcome};
use super::session::Session;
use crate::aws::Cloud;
use crate::ui::{self, Table};

/// Lists the nodes of clusters; exits with 1 if any is missing, not running or not ready.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf status
  ewulf status demo
  ewulf status clusters/prod.yaml --json | jq '.[].nodes[] | select(.ready | not)'")]
pub struct Status {
    /// A cluster's name, or its spec [default: all of clusters/]
    cluster: Option<String>,
    #[command(flatten)]
    cloud: CloudOptions,
}

/// What is told of a cluster.
#[derive(Serialize)]
struct Report {
    cluster: String,
    healthy: bool,
    wanted_nodes: u64,
    price_per_hour: Option<f64>,
    nodes: Vec<NodeReport>,
}

#[derive(Serialize)]
struct NodeReport {
    address: String,
    id: String,
    instance_type: String,
    state: NodeState,
    private_address: Option<String>,
    public_address: Option<String>,
    launched: String,
    age_seconds: i64,
    price_per_hour: Option<f64>,
    ready: bool,
}

impl Status {
    pub async fn run(self, session: &Session) -> Outcome {
        let project = session.project()?;
        let specs = match &self.cluster {
            Some(cluster) => vec![cluster::spec(project, cluster, &self.cloud)?],
            None => cluster::specs(project, &[], &self.cloud)?.into_iter().map(|loaded| loaded.spec).collect(),
        };
        let mut reports = Vec::new();
        for spec in &specs {
            let cloud = session.connect_for(spec, &session.events()).await?;
            let world = crate::observe::cluster(&cloud, &spec.cluster).await?;
            reports.push(report(&cloud, spec, &world).await?);
            session.tell_calls(&cloud);
        }
        let healthy = reports.iter().all(|report| report.healthy);
        if session.screen.is_json() {
            session.screen.print_json(&reports)?;
        } else {
            for report in &reports {
                show(session, report)?;
            }
        }
        Ok(if healthy { Exit::Done } else { Exit::Unhealthy })
    }
}

async fn report(cloud: &Cloud, spec: &ClusterSpec, world: &World) -> Result<Report, crate::aws::CallError> {
    let running: Vec<String> =
        world.nodes.iter().filter(|node| node.state == NodeState::Running).map(|node| node.id.clone()).collect();
    let joins = spec.ready == Ready::Joined;
    let offline = if joins { cloud.wait_online(&running, std::time::Duration::ZERO).await? } else { Vec::new() };
    let master = world.master().map(|master| master.id.clone());
    let is_ready = |node: &Node| {
        node.state == NodeState::Running
            && !offline.contains(&node.id)
            && (!joins || (master.is_some() && node.tag(JOINED_TAG) == master.as_deref()))
    };
    let nodes: Vec<NodeReport> = world.nodes.iter().map(|node| node_report(node, is_ready(node))).collect();
    let ready = nodes.iter().filter(|node| node.ready).count() as u64;
    let ready_in = |role: Role| world.nodes.iter().filter(|node| node.role == role && is_ready(node)).count();
    let has_enough = |group: &WorkerGroup| ready_in(Role::Worker(group.group.clone())) >= group.least() as usize;
    let is_enough = ready_in(Role::Master) == 1 && spec.workers.iter().all(has_enough);
    Ok(Report {
        cluster: spec.cluster.to_string(),
        healthy: is_enough && nodes.len() as u64 == ready && ready <= spec.node_count(),
        wanted_nodes: spec.node_count(),
        price_per_hour: nodes.iter().map(|node| node.price_per_hour).sum(),
        nodes,
    })
}

fn node_report(node: &Node, ready: bool) -> NodeReport {
    let launched: Option<Timestamp> = node.launched.parse().ok();
    let age = launched.map(|launched| Timestamp::now().as_second() - launched.as_second());
    NodeReport {
        address: node.address().to_string(),
        id: node.id.clone(),
        instance_type: node.instance_type.clone(),
        state: node.state,
        private_address: node.private_address.map(|address| address.to_string()),
        public_address: node.public_address.map(|address| address.to_string()),
        launched: node.launched.clone(),
        age_seconds: age.unwrap_or(0).max(0),
        price_per_hour: price_per_hour(&node.instance_type, node.market).map(|price| price.as_dollars()),
        ready,
    }
}

fn show(session: &Session, report: &Report) -> Result<(), super::failure::Failure> {
    let style = session.screen.style();
    if report.nodes.is_empty() {
        session.screen.print_line(&format!("Cluster {} has no nodes; {} are specified.", report.cluster, report.wanted_nodes))?;
        return Ok(());
    }
    let mut table = Table::new(["ADDRESS", "ID", "TYPE", "STATE", "PRIVATE", ">AGE", ">$/HOUR", "READY"]);
    for node in &report.nodes {
        table.row([
            node.address.clone(),
            node.id.clone(),
            node.instance_type.clone(),
            node.state.to_string(),
            node.private_address.clone().unwrap_or_else(|| "-".to_owned()),
            ui::text::duration(std::time::Duration::from_secs(node.age_seconds.unsigned_abs())),
            node.price_per_hour.map_or_else(|| "?".to_owned(), |price| format!("{price:.4}")),
            if node.ready { style.green("yes") } else { style.red("no") },
        ]);
    }
    session.screen.print_table(&table)?;
    let ready = report.nodes.iter().filter(|node| node.ready).count();
    let price = report.price_per_hour.map_or_else(|| "unknown".to_owned(), |price| format!("${price:.4}"));
    session
        .screen
        .print_line(&format!("Cluster {}: {ready} of {} nodes ready, {price} per hour.", report.cluster, report.wanted_nodes))?;
    Ok(())
}
