//! A cloud to call, and a look at what its driver was told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cloud::{Cloud, State};
use crate::config::Config;
use crate::model::ec2::PUBLIC_IMAGES;
use crate::node::records::Records;
use crate::node::{Answer, Disturbance, Driver, NodeBoot, NodeCommand, NodeCommandResult, NodeDevice, NodeFirewall, VpcNetwork};
use crate::operations::{ebs, ec2};
use crate::store::Log;
use crate::wire::query::Query;

/// Records, with a note of each deed.
pub(super) struct Witness {
    records: Records,
    deeds: Mutex<Vec<String>>,
    firewall: Mutex<Vec<NodeFirewall>>,
    boots: Mutex<Vec<NodeBoot>>,
    networks: Mutex<Vec<VpcNetwork>>,
    /// Nodes that adoption finds dead.
    pub dead: Mutex<Vec<String>>,
    /// Boots under way and the most there ever were.
    booting: Mutex<(usize, usize)>,
}

impl Witness {
    fn note(&self, deed: String) {
        self.deeds.lock().unwrap().push(deed);
    }
}

macro_rules! pass {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $name<'a>(&'a self, $($argument: $kind),*) -> Answer<'a, ()> {
            let words = [stringify!($name).to_owned() $(, format!("{:?}", $argument).trim_matches('"').to_owned())*];
            self.note(words.join(" "));
            self.records.$name($($argument),*)
        })*
    };
}

impl Driver for Witness {
    pass! {
        remove_network(vpc_id: &'a str);
        create_root(instance_id: &'a str, layers: &'a [String]);
        freeze_layer(instance_id: &'a str, layer: &'a str);
        delete_layer(layer: &'a str);
        stop(instance_id: &'a str, force: bool);
        reboot(instance_id: &'a str);
        destroy(instance_id: &'a str);
        delete_share(key: &'a str);
        create_volume(volume_id: &'a str, gibibytes: u64, from_snapshot: Option<&'a str>);
        grow_volume(volume_id: &'a str, gibibytes: u64);
        snapshot_volume(volume_id: &'a str, snapshot_id: &'a str);
        delete_volume(volume_id: &'a str);
        delete_volume_snapshot(snapshot_id: &'a str);
        shut_down();
    }

    fn ensure_base<'a>(&'a self, name: &'a str, progress: mpsc::UnboundedSender<String>) -> Answer<'a, ()> {
        self.note(format!("ensure_base {name}"));
        self.records.ensure_base(name, progress)
    }

    fn set_network<'a>(&'a self, network: &'a VpcNetwork) -> Answer<'a, ()> {
        self.networks.lock().unwrap().push(network.clone());
        self.records.set_network(network)
    }

    fn set_firewall<'a>(&'a self, vpc_id: &'a str, nodes: &'a [NodeFirewall]) -> Answer<'a, ()> {
        self.note(format!("set_firewall {vpc_id}"));
        *self.firewall.lock().unwrap() = nodes.to_vec();
        self.records.set_firewall(vpc_id, nodes)
    }

    fn listen<'a>(&'a self, vpc_id: &'a str, address: std::net::Ipv4Addr, port: u16) -> Answer<'a, std::net::TcpListener> {
        self.records.listen(vpc_id, address, port)
    }

    fn blocks(&self) -> crate::node::blocks::Blocks {
        self.records.blocks()
    }

    fn boot<'a>(&'a self, node: &'a NodeBoot) -> Answer<'a, ()> {
        Box::pin(async move {
            {
                let mut booting = self.booting.lock().unwrap();
                booting.0 += 1;
                booting.1 = booting.1.max(booting.0);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.boots.lock().unwrap().push(node.clone());
            self.booting.lock().unwrap().0 -= 1;
            self.records.boot(node).await
        })
    }

    fn attach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()> {
        self.note(format!("attach_volume {instance_id} {} {}", device.volume_id, device.device));
        self.records.attach_volume(instance_id, device)
    }

    fn detach_volume<'a>(&'a self, instance_id: &'a str, device: &'a NodeDevice) -> Answer<'a, ()> {
        self.note(format!("detach_volume {instance_id} {} {}", device.volume_id, device.device));
        self.records.detach_volume(instance_id, device)
    }

    fn disturb<'a>(&'a self, instance_id: &'a str, disturbance: &'a Disturbance) -> Answer<'a, ()> {
        self.note(format!("disturb {instance_id} {disturbance:?}"));
        self.records.disturb(instance_id, disturbance)
    }

    fn is_up<'a>(&'a self, instance_id: &'a str) -> Answer<'a, bool> {
        self.records.is_up(instance_id)
    }

    fn run<'a>(
        &'a self,
        instance_id: &'a str,
        command: &'a NodeCommand,
        limits: (usize, usize),
        cancel: tokio::sync::oneshot::Receiver<()>,
    ) -> Answer<'a, NodeCommandResult> {
        self.records.run(instance_id, command, limits, cancel)
    }

    fn console<'a>(&'a self, instance_id: &'a str, limit: usize) -> Answer<'a, Vec<u8>> {
        self.records.console(instance_id, limit)
    }

    fn adopt<'a>(&'a self, nodes: &'a [NodeBoot], networks: &'a [VpcNetwork]) -> Answer<'a, Vec<String>> {
        Box::pin(async move {
            let mut alive = self.records.adopt(nodes, networks).await?;
            let dead = self.dead.lock().unwrap();
            alive.retain(|id| !dead.contains(id));
            Ok(alive)
        })
    }
}

/// A cloud of a test, with shares by the tags `app:shared` and `app:cluster`.
pub(super) struct Bench {
    pub cloud: Arc<Cloud>,
    pub witness: Arc<Witness>,
    folder: tempfile::TempDir,
}

/// The public base image.
pub(super) const BASE: &str = PUBLIC_IMAGES[0].id;

impl Bench {
    pub fn new() -> Self {
        Self::with_state(State::default())
    }

    /// A cloud whose configuration says that its nodes are records, as those of every test are.
    pub fn of_records() -> Self {
        Self::configured(State::default(), true)
    }

    /// A new server over a state that a former one left.
    pub fn with_state(state: State) -> Self {
        Self::configured(state, false)
    }

    fn configured(state: State, records: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut config = Config::new(folder.path(), folder.path());
        config.records = records;
        config.share_path_tag = Some("app:shared".to_owned());
        config.share_group_tag = Some("app:cluster".to_owned());
        let log = Log::open(config.files(), config.owner_uid).expect("a log can be opened");
        let (records, _) = Records::new(folder.path());
        let witness = Arc::new(Witness {
            records,
            deeds: Mutex::default(),
            firewall: Mutex::default(),
            boots: Mutex::default(),
            networks: Mutex::default(),
            dead: Mutex::default(),
            booting: Mutex::default(),
        });
        let driver: Arc<dyn Driver> = witness.clone();
        Self { cloud: Cloud::new(config, driver, state, log), witness, folder }
    }

    /// Calls an action with a form body; panics with the refusal if it is refused.
    pub async fn ok(&self, action: &str, form: &str) -> String {
        let query = Query::parse(form).expect("a form");
        match ec2::call(&self.cloud, action, &query).await {
            Ok(answer) => answer.as_str().to_owned(),
            Err(error) => panic!("{action} {form}: {error}"),
        }
    }

    /// Calls an action that must be refused; answers with the code.
    pub async fn code(&self, action: &str, form: &str) -> String {
        let query = Query::parse(form).expect("a form");
        match ec2::call(&self.cloud, action, &query).await {
            Ok(answer) => panic!("{action} {form} was not refused: {}", answer.as_str()),
            Err(error) => error.code.into_owned(),
        }
    }

    /// Calls an action and answers with the texts of all elements of this name.
    pub async fn all(&self, action: &str, form: &str, element: &str) -> Vec<String> {
        texts(&self.ok(action, form).await, element)
    }

    /// As [`Bench::all`], for a name that must be there once or more: the first.
    pub async fn first(&self, action: &str, form: &str, element: &str) -> String {
        let answer = self.ok(action, form).await;
        texts(&answer, element).into_iter().next().unwrap_or_else(|| panic!("no {element} in {answer}"))
    }

    /// A completed snapshot of this many GiB with one block, written through the EBS direct API.
    pub async fn uploaded(&self, gibibytes: u64) -> String {
        use base64::Engine as _;
        use hyper::body::Bytes;
        use sha2::Digest as _;
        let block = vec![7; crate::node::blocks::BLOCK];
        let sum = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&block));
        let call = async |method: hyper::Method, path: &str, headers: &[(&'static str, &str)], body: Bytes| {
            let headers = headers.iter().map(|(name, value)| {
                let value = hyper::header::HeaderValue::from_str(value).expect("a header value");
                (hyper::header::HeaderName::from_static(name), value)
            });
            let (path, query, headers) = (path.to_owned(), String::new(), headers.collect());
            let reply = ebs::call(&self.cloud, &ebs::Call { method, path, query, headers, body }).await;
            reply.expect("an answer").body
        };
        let input = format!("{{\"VolumeSize\":{gibibytes}}}");
        let started = call(hyper::Method::POST, "/snapshots", &[], input.into()).await;
        let started: serde_json::Value = serde_json::from_slice(&started).expect("JSON");
        let id = started["SnapshotId"].as_str().expect("an id").to_owned();
        let headers = [("x-amz-data-length", "524288"), ("x-amz-checksum", sum.as_str()), ("x-amz-checksum-algorithm", "SHA256")];
        call(hyper::Method::PUT, &format!("/snapshots/{id}/blocks/0"), &headers, block.into()).await;
        let path = format!("/snapshots/completion/{id}");
        call(hyper::Method::POST, &path, &[("x-amz-changedblockscount", "1")], Bytes::new()).await;
        if let Some(snapshot) = self.cloud.state().ec2.snapshots.get_mut(&id) {
            snapshot.state = crate::model::ec2::SnapshotState::Completed;
        }
        id
    }

    /// The contents of snapshots.
    pub fn cloud_blocks(&self) -> crate::node::blocks::Blocks {
        self.cloud.driver.blocks()
    }

    /// Waits until a snapshot is completed.
    pub async fn until_completed(&self, id: &str) {
        self.until(|bench| bench.cloud.state().ec2.snapshots[id].state.wire() == "completed").await;
    }

    /// Lets so many seconds pass for all snapshots.
    pub fn age_snapshots(&self, seconds: i64) {
        use jiff::ToSpan as _;
        for snapshot in self.cloud.state().ec2.snapshots.values_mut() {
            snapshot.started = snapshot.started.checked_sub(seconds.seconds()).expect("an earlier time");
        }
    }

    /// A VPC 10.0.0.0/16 with a subnet 10.0.0.0/24 in the first zone.
    pub async fn network(&self) -> (String, String) {
        let vpc = self.first("CreateVpc", "CidrBlock=10.0.0.0/16", "vpcId").await;
        let form = format!("VpcId={vpc}&CidrBlock=10.0.0.0/24&AvailabilityZone=us-east-1a");
        let subnet = self.first("CreateSubnet", &form, "subnetId").await;
        (vpc, subnet)
    }

    /// Launches instances of the base image and waits until they run.
    pub async fn launch(&self, count: usize, form: &str) -> Vec<String> {
        let form = format!("ImageId={BASE}&InstanceType=c7i.large&MinCount={count}&MaxCount={count}&{form}");
        let ids = self.all("RunInstances", &form, "instanceId").await;
        for id in &ids {
            self.until_state(id, "running").await;
        }
        ids
    }

    /// Waits until the instance is in this state.
    pub async fn until_state(&self, id: &str, state: &str) {
        self.until(|bench| {
            let held = bench.cloud.state();
            let found = held.ec2.instance(id).map(|instance| instance.state.wire().1);
            found == Some(state)
        })
        .await;
    }

    /// Waits until something holds.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("waited in vain; deeds: {:?}; log: {}", self.deeds(), self.log());
    }

    pub fn deeds(&self) -> Vec<String> {
        self.witness.deeds.lock().unwrap().clone()
    }

    pub fn did(&self, deed: &str) -> bool {
        self.deeds().iter().any(|done| done == deed)
    }

    /// The rules last set for the node of this instance.
    pub fn firewall(&self, id: &str) -> NodeFirewall {
        let address = self.cloud.state().ec2.instance(id).expect("an instance").private_address;
        let firewall = self.witness.firewall.lock().unwrap();
        firewall.iter().find(|node| node.address == address).expect("rules of the node").clone()
    }

    /// The last boot of the instance.
    pub fn boot(&self, id: &str) -> NodeBoot {
        let boots = self.witness.boots.lock().unwrap();
        boots.iter().rev().find(|boot| boot.instance_id == id).expect("a boot").clone()
    }

    pub fn most_boots_at_once(&self) -> usize {
        self.witness.booting.lock().unwrap().1
    }

    pub fn last_network(&self) -> VpcNetwork {
        self.witness.networks.lock().unwrap().last().expect("a network").clone()
    }

    /// The state as it would be read from disk.
    pub fn saved(&self) -> State {
        let text = serde_json::to_string(&*self.cloud.state()).expect("a state can be written");
        serde_json::from_str(&text).expect("a state can be read")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// The texts of all elements of this name.
pub(super) fn texts(xml: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}
