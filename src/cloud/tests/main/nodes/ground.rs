//! A local cloud's driver with a folder and a name of its own, and a metadata service for its nodes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ewulf_cloud::node::containers::{Containers, ContainersConfig};
use ewulf_cloud::node::{
    Driver, FlowRule, Network, NodeBoot, NodeCommand, NodeCommandResult, NodeEvent, NodeFirewall, Peer, SubnetNetwork, VpcNetwork,
};
use tokio::sync::{mpsc, oneshot};

/// A node of these tests is up in 2 s; the machine may be busy compiling.
pub const UP: Duration = Duration::from_secs(90);

/// Folder of the base image, which takes a minute to make: kept between runs.
pub fn cache_dir() -> PathBuf {
    std::env::var_os("EWULF_CACHE_DIR").map_or_else(|| PathBuf::from("/var/cache/ewulf"), PathBuf::from)
}

/// Whether to run: without root a test that needs nodes fails unless it is skipped by word.
pub fn wanted(test: &str) -> bool {
    if std::env::var_os("EWULF_WITHOUT_NODES").is_some() {
        eprintln!("SKIPPED {test}: EWULF_WITHOUT_NODES is set");
        return false;
    }
    assert!(rustix::process::geteuid().is_root(), "{test} needs root for its nodes; EWULF_WITHOUT_NODES=1 skips it");
    true
}

pub struct Ground {
    pub name: String,
    pub folder: tempfile::TempDir,
    pub driver: Arc<Containers>,
    pub events: mpsc::UnboundedReceiver<NodeEvent>,
    finished: bool,
}

impl Ground {
    /// A driver with the base image present.
    pub async fn new() -> Self {
        let name = format!("t{:07x}", rand::random_range(0..1u32 << 28));
        let folder = tempfile::tempdir().unwrap();
        let (driver, events) = Containers::new(config(&name, folder.path())).unwrap();
        let (progress, mut sentences) = mpsc::unbounded_channel();
        let show = async {
            while let Some(sentence) = sentences.recv().await {
                eprintln!("{sentence}");
            }
        };
        let (made, ()) = tokio::join!(driver.ensure_base("debian-13", progress), show);
        made.unwrap();
        Ground { name, folder, driver, events, finished: false }
    }

    /// The same cloud with its server ended and started again.
    pub fn restart(mut self) -> Self {
        let (driver, events) = Containers::new(config(&self.name, self.folder.path())).unwrap();
        self.driver = driver;
        self.events = events;
        self
    }

    /// Makes a network whose firewall admits everything between these addresses, and serves metadata in it.
    pub async fn open_network(&self, network: &VpcNetwork, addresses: &[Ipv4Addr]) {
        self.driver.set_network(network).await.unwrap();
        let nodes: Vec<NodeFirewall> = addresses.iter().map(|address| open(*address)).collect();
        self.driver.set_firewall(&network.vpc_id, &nodes).await.unwrap();
        self.serve_metadata(&network.vpc_id, "#cloud-config\nruncmd: [[touch, /run/user-data-done]]\n").await;
    }

    pub async fn serve_metadata(&self, vpc_id: &str, user_data: &str) {
        let listener = self.driver.listen(vpc_id, Ipv4Addr::new(169, 254, 169, 254), 80).await.unwrap();
        let user_data = user_data.to_owned();
        std::thread::spawn(move || metadata(&listener, &user_data));
    }

    /// Boots a node on the bare base.
    pub async fn boot(&self, node: &NodeBoot) {
        self.driver.create_root(&node.instance_id, &["debian-13".to_owned()]).await.unwrap();
        self.driver.boot(node).await.unwrap();
    }

    pub async fn wait_up(&self, node: &NodeBoot) {
        let started = Instant::now();
        while !self.driver.is_up(&node.instance_id).await.unwrap() {
            if started.elapsed() > UP {
                let console = self.driver.console(&node.instance_id, 4096).await.unwrap();
                panic!("{} is not up; console: {}", node.instance_id, String::from_utf8_lossy(&console));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn run(&self, node: &NodeBoot, command: NodeCommand) -> NodeCommandResult {
        let (_keep, cancel) = oneshot::channel();
        self.driver.run(&node.instance_id, &command, (24_000, 8_000), cancel).await.unwrap()
    }

    /// Runs a shell script that must succeed; answers its trimmed output.
    pub async fn shell(&self, node: &NodeBoot, script: &str) -> String {
        let result = self.run(node, shell(script)).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&result.stdout.0), String::from_utf8_lossy(&result.stderr.0));
        assert_eq!(result.status, 0, "{script}: {stdout}{stderr}");
        stdout.trim().to_owned()
    }

    /// Repeats a script until it succeeds.
    pub async fn wait_shell(&self, node: &NodeBoot, script: &str) {
        let started = Instant::now();
        while self.run(node, shell(script)).await.status != 0 {
            assert!(started.elapsed() < UP, "{script} never succeeded in {}", node.instance_id);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn succeeds(&self, node: &NodeBoot, script: &str) -> bool {
        self.run(node, shell(script)).await.status == 0
    }

    pub async fn next_event(&mut self, limit: Duration) -> Option<NodeEvent> {
        tokio::time::timeout(limit, self.events.recv()).await.ok().flatten()
    }

    /// Shuts the cloud down and checks that the host has nothing of it any more.
    pub async fn finish(mut self) {
        self.driver.shut_down().await.unwrap();
        self.finished = true;
        assert_eq!(leftovers(&self.name, self.folder.path()), Vec::<String>::new());
    }
}

impl Drop for Ground {
    /// A failing test leaves nothing behind either.
    fn drop(&mut self) {
        if self.finished || !std::thread::panicking() {
            return;
        }
        let driver = self.driver.clone();
        let ending = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().map(|runtime| runtime.block_on(driver.shut_down()))
        });
        let _ = ending.join();
    }
}

fn config(name: &str, folder: &Path) -> ContainersConfig {
    ContainersConfig { name: name.to_owned(), state_dir: folder.to_owned(), cache_dir: cache_dir() }
}

/// All that is left on the host of the cloud of this name.
pub fn leftovers(name: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let folder = folder.to_string_lossy().into_owned();
    let mut note = |what: &str, lines: Vec<String>| found.extend(lines.into_iter().map(|line| format!("{what}: {line}")));
    let matching = |text: &str, pattern: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains(pattern)).map(str::to_owned).collect()
    };
    let listed = |path: &str| -> String {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned() + "\n").collect()
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    note("mount", matching(&mounts, &folder));
    note(
        "control group",
        mounts
            .lines()
            .filter(|line| line.contains(" cgroup2 "))
            .filter_map(|line| line.split(' ').nth(1))
            .flat_map(|path| matching(&listed(path), name))
            .collect(),
    );
    note("namespace", matching(&listed("/run/netns"), name));
    note("link", matching(&listed("/sys/class/net"), name));
    note("cloud", matching(&listed("/run/ewulf/clouds"), name));
    note("machine", matching(&listed("/run/systemd/nspawn/propagate"), name));
    let tables = std::process::Command::new("nft").args(["list", "tables"]).output().unwrap();
    note("table", matching(&String::from_utf8_lossy(&tables.stdout), name));
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        note(
            "loop device",
            matching(&std::fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default(), &folder),
        );
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
        note("process", matching(&line, &format!("--machine={name}-")));
    }
    found
}

pub fn network(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').unwrap();
    Network { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

/// A VPC with one subnet for every CIDR given.
pub fn vpc(id: &str, cidr: &str, subnets: &[&str]) -> VpcNetwork {
    let subnets = subnets
        .iter()
        .enumerate()
        .map(|(index, cidr)| SubnetNetwork { subnet_id: format!("subnet-{id}{index}"), cidr: network(cidr) });
    VpcNetwork { vpc_id: format!("vpc-{id}"), cidr: network(cidr), subnets: subnets.collect(), internet: true }
}

/// A node at an address in the given subnet of a VPC.
pub fn node(id: &str, vpc: &VpcNetwork, subnet: usize, address: [u8; 4]) -> NodeBoot {
    let [_, second, third, fourth] = address;
    NodeBoot {
        instance_id: format!("i-{id}"),
        hostname: address.map(|part| part.to_string()).join("-").replacen("", "ip-", 1),
        vpc_id: vpc.vpc_id.clone(),
        subnet_id: vpc.subnets[subnet].subnet_id.clone(),
        address: Ipv4Addr::from(address),
        mac: format!("02:ab:00:{second:02x}:{third:02x}:{fourth:02x}"),
        subnet: vpc.subnets[subnet].cidr,
        cores: 2,
        devices: Vec::new(),
        shares: Vec::new(),
    }
}

pub fn anything() -> FlowRule {
    FlowRule { protocol: None, ports: None, peer: Peer::Cidr(network("0.0.0.0/0")) }
}

/// A node that may send and be sent everything.
pub fn open(address: Ipv4Addr) -> NodeFirewall {
    NodeFirewall { address, ingress: vec![anything()], egress: vec![anything()] }
}

pub fn shell(script: &str) -> NodeCommand {
    NodeCommand {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: Vec::new(),
        environment: BTreeMap::new(),
        working_directory: "/".to_owned(),
        timeout: UP,
    }
}

/// Answers what cloud-init asks, to sessions with a token alone.
fn metadata(listener: &TcpListener, user_data: &str) {
    for stream in listener.incoming().flatten() {
        let user_data = user_data.to_owned();
        std::thread::spawn(move || while answer(&stream, &user_data).is_some() {});
    }
}

fn answer(stream: &TcpStream, user_data: &str) -> Option<()> {
    let std::net::IpAddr::V4(address) = stream.peer_addr().ok()?.ip() else { return None };
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let (mut token, mut length) = (false, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        token |= header.starts_with("x-aws-ec2-metadata-token:");
        length = header.strip_prefix("content-length:").and_then(|text| text.trim().parse().ok()).unwrap_or(length);
        if header.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?.trim_matches('/').split_once('/').map_or("", |(_, path)| path));
    if method == "PUT" && path == "api/token" {
        return reply(stream, 200, "token");
    }
    if !token {
        return reply(stream, 401, "");
    }
    match tree(address, user_data).get(path) {
        Some(body) => reply(stream, 200, body),
        None => reply(stream, 404, ""),
    }
}

/// The metadata of the node at this address; folders list their entries.
fn tree(address: Ipv4Addr, user_data: &str) -> BTreeMap<String, String> {
    let [_, second, third, fourth] = address.octets();
    let mac = format!("network/interfaces/macs/02:ab:00:{second:02x}:{third:02x}:{fourth:02x}");
    let hostname = format!("ip-{}", address.to_string().replace('.', "-"));
    let instance = format!("i-{}", address.to_string().replace('.', ""));
    let leaves = [
        ("ami-id".to_owned(), "ami-0".to_owned()),
        ("hostname".to_owned(), hostname.clone()),
        ("instance-id".to_owned(), instance.clone()),
        ("local-hostname".to_owned(), hostname),
        ("local-ipv4".to_owned(), address.to_string()),
        (format!("{mac}/device-number"), "0".to_owned()),
        (format!("{mac}/local-ipv4s"), address.to_string()),
        ("placement/availability-zone".to_owned(), "us-east-1a".to_owned()),
    ];
    let mut tree = BTreeMap::from([
        ("user-data".to_owned(), user_data.to_owned()),
        ("dynamic/instance-identity/document".to_owned(), serde_json::json!({ "instanceId": instance }).to_string()),
        ("dynamic/instance-identity".to_owned(), "document".to_owned()),
    ]);
    for (path, value) in leaves {
        let path = format!("meta-data/{path}");
        tree.insert(path.clone(), value);
        let mut below = path;
        let mut end = "";
        while let Some((folder, entry)) = below.rsplit_once('/').map(|(folder, entry)| (folder.to_owned(), entry.to_owned())) {
            let listing: &mut String = tree.entry(folder.clone()).or_default();
            let entry = format!("{entry}{end}");
            if !listing.lines().any(|line| line == entry) {
                *listing += &format!("{entry}\n");
            }
            (below, end) = (folder, "/");
        }
    }
    tree
}

fn reply(mut stream: &TcpStream, status: u16, body: &str) -> Option<()> {
    write!(stream, "HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}
