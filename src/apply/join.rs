//! Makes nodes a cluster: boot finished, shared path there, every node known to every other by verified keys, and
//! `mpirun` answered by all of them. Keys travel through SSM, which is an authenticated channel.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ewulf_core::address::{Address, JOINED_TAG};
use ewulf_core::plan::IDS_PER_CALL;
use ewulf_core::quantity::Ipv4Network;

use super::actions::count;
use super::{Run, StepError, create};
use crate::aws::{CallError, Script};
use crate::events::Work;
use crate::observe;

/// Longest time from `running` to an agent that answers: a few minutes are usual on AWS (ec2.md 7.5).
const ONLINE_BUDGET: Duration = Duration::from_secs(900);
/// Longest time for a node's boot unit: formatting a large volume and waiting for the master's export fit in.
const BOOT_BUDGET: Duration = Duration::from_secs(600);
/// Neighbours that every node proves it can reach, besides the master: all of a small cluster, a ring of a large one.
const NEIGHBOURS: usize = 16;
/// How often `mpirun` is started before nodes count as failed: a daemon of Open MPI 5 has been seen to hang between fork and
/// exec on a busy machine, and then never answers.
const MPIRUN_TRIES: u32 = 3;
/// Inline scripts stay under this size (ec2.md 7.7).
const INLINE_LIMIT: usize = 6_000;

/// A node on its way into the cluster.
struct Member {
    address: Address,
    id: String,
    private_address: Ipv4Addr,
    joined: Option<String>,
}

/// Joins all `nodes`; answers once an MPI program ran on every one of them.
pub async fn join(run: &Run, nodes: &[Address], shared_path: &str, cidr: Ipv4Network, work: &Work) -> Result<String, StepError> {
    let members = members(run, nodes).await?;
    let ids: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
    work.waiting("waiting for the agents");
    online(run, &members, &ids).await?;
    work.waiting("waiting for the nodes' boot");
    let keys = collect_keys(run, &members, &ids, shared_path).await?;
    work.waiting("exchanging keys");
    write_keys(run, &members, &ids, &keys, cidr).await?;
    work.waiting("verifying ssh and mpirun across all nodes");
    verify(run, &members, &ids, cidr).await?;
    let master = run.id(&Address::Master)?;
    let newcomers: Vec<String> =
        members.iter().filter(|member| member.joined.as_ref() != Some(&master)).map(|member| member.id.clone()).collect();
    let joined = [(JOINED_TAG.to_owned(), master)].into();
    for ids in newcomers.chunks(IDS_PER_CALL) {
        create::set_tags(run, ids, &joined).await?;
    }
    Ok(format!("{} ready: ssh verified, mpirun answered by all", count(members.len(), "node")))
}

/// Addresses of the nodes inside the network, as EC2 tells them.
async fn members(run: &Run, nodes: &[Address]) -> Result<Vec<Member>, StepError> {
    let seen = observe::nodes(&run.cloud, &run.plan.cluster).await?;
    let by_id: BTreeMap<&str, _> = seen.iter().map(|node| (node.id.as_str(), node)).collect();
    let member = |address: &Address| {
        let id = run.id(address)?;
        let node = by_id.get(id.as_str()).ok_or_else(|| StepError::Unknown(address.clone()))?;
        let private_address = node
            .private_address
            .ok_or_else(|| CallError::unexpected("DescribeInstances", format!("{address} {id}"), "it has no private address"))?;
        let joined = node.tag(JOINED_TAG).map(str::to_owned);
        Ok(Member { address: address.clone(), id, private_address, joined })
    };
    nodes.iter().map(member).collect()
}

/// Members by instance id.
fn names(members: &[Member]) -> HashMap<&str, &Member> {
    members.iter().map(|member| (member.id.as_str(), member)).collect()
}

/// Address and id of a node, for people.
fn name(names: &HashMap<&str, &Member>, id: &str) -> String {
    names.get(id).map_or(id.to_owned(), |member| format!("{} {}", member.address, member.id))
}

async fn online(run: &Run, members: &[Member], ids: &[String]) -> Result<(), StepError> {
    let missing: HashSet<String> = run.cloud.wait_online(ids, ONLINE_BUDGET).await?.into_iter().collect();
    match members.iter().find(|member| missing.contains(&member.id)) {
        None => Ok(()),
        Some(late) => Err(StepError::Slow {
            object: format!("{} {}", late.address, late.id),
            wanted: "online in SSM",
            state: "not registered: has it an instance profile with AmazonSSMManagedInstanceCore and a way to the internet?"
                .into(),
            seconds: ONLINE_BUDGET.as_secs(),
        }),
    }
}

/// What the nodes' keys are: host keys by instance id, and the public key of the cluster's user.
struct Keys {
    hosts: BTreeMap<String, HostKey>,
    user: String,
}

struct HostKey {
    hostname: String,
    key: String,
}

async fn collect_keys(run: &Run, members: &[Member], ids: &[String], shared_path: &str) -> Result<Keys, StepError> {
    // The boot unit writes exactly one of the two markers.
    let body = format!(
        "waited=0\n\
         until [ -e /run/ewulf/ready ] || [ -e /run/ewulf/failed ]; do\n\
           if [ $waited -ge {tenths} ]; then echo \"still at stage: $(cat /run/ewulf/stage 2>/dev/null || echo none)\"; exit 1; fi\n\
           sleep 0.1; waited=$((waited + 1))\n\
         done\n\
         if [ -e /run/ewulf/failed ]; then cat /run/ewulf/failed; exit 1; fi\n\
         echo \"hostname $(hostname)\"\n\
         echo \"hostkey $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)\"\n\
         key={key}\n\
         if [ -r \"$key\" ]; then echo \"userkey $(cut -d' ' -f1,2 \"$key\")\"; fi\n",
        tenths = BOOT_BUDGET.as_secs() * 10,
        key = crate::aws::shell_quote(&format!("{shared_path}/.ewulf/ssh/id_ed25519.pub")),
    );
    let script = Script::new("wait for boot, show public keys", body).timeout(BOOT_BUDGET + Duration::from_secs(30));
    let mut keys = Keys { hosts: BTreeMap::new(), user: String::new() };
    let names = names(members);
    for outcome in run.cloud.run_on(ids, &script).await? {
        let node = name(&names, &outcome.instance_id);
        if !outcome.is_success() {
            return Err(StepError::Boot { node, cause: outcome.tail(12) });
        }
        let field = |name: &str| {
            outcome.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default().to_owned()
        };
        let host = HostKey { hostname: field("hostname"), key: field("hostkey") };
        if !is_public_key(&host.key) {
            return Err(StepError::Boot { node, cause: format!("it shows no ed25519 host key:\n{}", outcome.tail(6)) });
        }
        let user = field("userkey");
        if is_public_key(&user) {
            keys.user = user;
        }
        keys.hosts.insert(outcome.instance_id.clone(), host);
    }
    if keys.user.is_empty() {
        let cause = format!("no public key of user ewulf in {shared_path}/.ewulf/ssh");
        return Err(StepError::Boot { node: Address::Master.to_string(), cause });
    }
    Ok(keys)
}

/// Whether a text is one public key and nothing that could break out of a key file's line.
fn is_public_key(text: &str) -> bool {
    let body = |key: &str| key.len() > 40 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    text.strip_prefix("ssh-ed25519 ").is_some_and(body)
}

async fn write_keys(run: &Run, members: &[Member], ids: &[String], keys: &Keys, cidr: Ipv4Network) -> Result<(), StepError> {
    let mut known_hosts = String::new();
    for member in members {
        let Some(host) = keys.hosts.get(&member.id) else { return Err(StepError::Unknown(member.address.clone())) };
        writeln!(known_hosts, "{},{} {}", member.private_address, host.hostname, host.key).expect("a String takes all");
    }
    let authorized = format!("from=\"{cidr}\" {}\n", keys.user);
    let place = format!(
        "install -d -m 700 -o ewulf -g ewulf /home/ewulf/.ssh\n\
         printf %s '{}' | base64 -d > /home/ewulf/.ssh/authorized_keys.new\n\
         chown ewulf:ewulf /home/ewulf/.ssh/authorized_keys.new; chmod 600 /home/ewulf/.ssh/authorized_keys.new\n\
         mv -f /home/ewulf/.ssh/authorized_keys.new /home/ewulf/.ssh/authorized_keys\n",
        STANDARD.encode(&authorized),
    );
    let encoded = STANDARD.encode(&known_hosts);
    if encoded.len() + place.len() < INLINE_LIMIT {
        let body = format!(
            "{place}printf %s '{encoded}' | base64 -d > /etc/ssh/ssh_known_hosts.new\n\
             chmod 644 /etc/ssh/ssh_known_hosts.new; mv -f /etc/ssh/ssh_known_hosts.new /etc/ssh/ssh_known_hosts\n"
        );
        expect(run, members, ids, "writing keys", &Script::new("write known hosts and authorized keys", body)).await?;
    } else {
        run.cloud.upload(ids, known_hosts.as_bytes(), "/etc/ssh/ssh_known_hosts", 0o644, |_, _| {}).await?;
        expect(run, members, ids, "writing keys", &Script::new("write authorized keys", place)).await?;
    }
    Ok(())
}

/// Every node reaches its neighbours and the master by ssh; an MPI program starts on all of them.
async fn verify(run: &Run, members: &[Member], ids: &[String], cidr: Ipv4Network) -> Result<(), StepError> {
    let master = run.id(&Address::Master)?;
    let master_address = members.iter().find(|member| member.id == master).map(|member| member.private_address);
    let master_address = master_address.ok_or(StepError::Unknown(Address::Master))?;
    // Targets come from the file itself: the node after one's own line, and so on round the ring.
    let ssh = format!(
        "own=$(hostname -I | tr ' ' '\\n' | grep -Fxf <(cut -d, -f1 /etc/ssh/ssh_known_hosts) | head -n 1)\n\
         mapfile -t all < <(cut -d, -f1 /etc/ssh/ssh_known_hosts)\n\
         position=0; for i in \"${{!all[@]}}\"; do if [ \"${{all[$i]}}\" = \"$own\" ]; then position=$i; fi; done\n\
         targets=({master_address})\n\
         for step in $(seq 1 {NEIGHBOURS}); do\n\
           next=\"${{all[$(( (position + step) % ${{#all[@]}} ))]}}\"\n\
           if [ \"$next\" = \"$own\" ]; then break; fi\n\
           targets+=(\"$next\")\n\
         done\n\
         printf '%s\\n' \"${{targets[@]}}\" | sort -u | xargs -r -P 8 -I TARGET runuser -u ewulf -- \\\n\
           ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 ewulf@TARGET true\n"
    );
    let ssh = Script::new("verify ssh to the other nodes", ssh).timeout(Duration::from_secs(120));
    let mut hosts = String::new();
    for member in members {
        writeln!(hosts, "{} slots=1", member.private_address).expect("a String takes all");
    }
    let limit = Duration::from_secs(30 + members.len() as u64 / 4);
    // What mpirun says on stderr matters only if not all answered: it warns of harmless races of its own.
    let mpirun = format!(
        "folder=$(mktemp -d /tmp/ewulf-verify.XXXXXX); trap 'rm -rf \"$folder\"' EXIT\n\
         printf %s '{hosts}' | base64 -d | gunzip > \"$folder/hosts\"; chmod -R a+rX \"$folder\"; cd /tmp\n\
         for try in $(seq {MPIRUN_TRIES}); do\n\
           answered=$(runuser -u ewulf -- env HOME=/home/ewulf timeout --kill-after=5 {limit} mpirun --hostfile \"$folder/hosts\" \\\n\
             -n {number} --map-by ppr:1:node --prtemca prte_if_include {cidr} --mca btl_tcp_if_include {cidr} hostname \\\n\
             2> \"$folder/errors\" | sort -u | wc -l) || true\n\
           if [ \"$answered\" = {number} ]; then exit 0; fi\n\
         done\n\
         tail -n 12 \"$folder/errors\"; echo \"$answered of {number} nodes answered within {limit} s\"; exit 1\n",
        hosts = packed(&hosts),
        number = members.len(),
        limit = limit.as_secs(),
    );
    let mpirun = Script::new("verify mpirun over all nodes", mpirun).timeout(limit * MPIRUN_TRIES + Duration::from_secs(60));
    tokio::try_join!(
        expect(run, members, ids, "ssh to the other nodes", &ssh),
        expect(run, members, std::slice::from_ref(&master), "mpirun over all nodes", &mpirun),
    )?;
    Ok(())
}

/// Compressed and base64-encoded, for a line of a script.
fn packed(text: &str) -> String {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let bytes = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    STANDARD.encode(bytes.expect("writing to memory cannot fail"))
}

/// Runs a script that must succeed on every node; the error names the node by its address.
async fn expect(run: &Run, members: &[Member], ids: &[String], what: &'static str, script: &Script) -> Result<(), StepError> {
    let names = names(members);
    for outcome in run.cloud.run_on(ids, script).await? {
        if !outcome.is_success() {
            let node = name(&names, &outcome.instance_id);
            return Err(StepError::Node { what, node, output: outcome.tail(12) });
        }
    }
    Ok(())
}
