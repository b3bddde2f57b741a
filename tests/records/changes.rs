//! What a changed spec does to a cluster that stands: in place, while stopped, by another root volume, or by other nodes.

use std::collections::BTreeMap;

use aws_sdk_ec2::types as sdk;
use ewulf::observe::filter;

use super::Account;

/// A cluster of a master and two workers whose spec is written anew for each change.
struct Cluster {
    account: Account,
    file: String,
}

/// What a spec says beyond the least.
#[derive(Clone, Copy, Default)]
struct Wish {
    master: &'static str,
    worker: &'static str,
    /// Further keys of the worker group.
    group: &'static str,
    /// Further lines.
    more: &'static str,
}

const CLUSTER: &str = "changing";

impl Cluster {
    async fn of(wish: Wish) -> Self {
        let account = Account::open().await;
        let file = account.path().join("changing.yaml").display().to_string();
        let cluster = Self { account, file };
        cluster.write(wish);
        cluster.account.succeed(&["apply", &cluster.file, "--yes"]);
        cluster
    }

    fn write(&self, Wish { master, worker, group, more }: Wish) {
        let ami = &self.account.ami;
        let (master, worker) = (or_small(master), or_small(worker));
        let text = format!(
            "cluster: {CLUSTER}\ncloud: local\nready: running\nnetwork: {{cidr: 10.42.0.0/24}}\n\
             master: {{instance_type: {master}, image: {{ami: {ami}}}}}\n\
             workers:\n  - {{group: compute, count: 2, instance_type: {worker}, image: {{ami: {ami}}}{group}}}\n{more}\n"
        );
        std::fs::write(&self.file, text).expect("the folder is writable");
    }

    /// Carries out a changed spec, after which nothing is left to do; answers the plan as it was shown.
    fn becomes(&self, wish: Wish) -> String {
        self.write(wish);
        self.settles()
    }

    /// Carries out the spec as it is, after which nothing is left to do; answers the plan as it was shown.
    fn settles(&self) -> String {
        let (code, shown, err) = self.account.ewulf(&["plan", &self.file, "--detailed-exitcode"]);
        assert_eq!(code, 2, "{shown}{err}");
        self.account.succeed(&["apply", &self.file, "--yes"]);
        let (code, rest, err) = self.account.ewulf(&["plan", &self.file, "--detailed-exitcode"]);
        assert_eq!(code, 0, "{rest}{err}");
        shown
    }

    /// The living instances, the master first.
    async fn instances(&self) -> Vec<sdk::Instance> {
        let running = filter("instance-state-name", "running");
        let cluster = filter("tag:ewulf:cluster", CLUSTER);
        let answer = self.account.cloud.ec2.describe_instances().filters(cluster).filters(running).send().await;
        let reservations = answer.expect("instances are listed").reservations.unwrap_or_default();
        let mut all: Vec<_> = reservations.into_iter().flat_map(|it| it.instances.unwrap_or_default()).collect();
        let is_master = |one: &sdk::Instance| one.tags().iter().any(|tag| tag.value() == Some("node/master"));
        all.sort_by_key(|one| (!is_master(one), one.private_ip_address.clone()));
        all
    }

    async fn ids(&self) -> Vec<String> {
        self.instances().await.into_iter().filter_map(|one| one.instance_id).collect()
    }
}

fn or_small(kind: &'static str) -> &'static str {
    if kind.is_empty() { "c7a.large" } else { kind }
}

fn profile(instance: &sdk::Instance) -> Option<&str> {
    instance.iam_instance_profile()?.arn()?.rsplit('/').next()
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profile_groups_and_metadata_options_are_mended_on_running_nodes() {
    let cluster = Cluster::of(Wish::default()).await;
    let before = cluster.ids().await;
    let shown = cluster.becomes(Wish { more: "instance_profile: nodes", ..Wish::default() });
    assert_has(&shown, &["instance profile: none → nodes", "the spec changed; in place"]);
    let shown = cluster.becomes(Wish { more: "instance_profile: others", ..Wish::default() });
    assert_has(&shown, &["instance profile: nodes → others"]);
    assert!(cluster.instances().await.iter().all(|one| profile(one) == Some("others")));

    // Others put a node into a group of theirs and open its metadata service.
    let ec2 = &cluster.account.cloud.ec2;
    let (node, vpc) = (before[1].clone(), cluster.instances().await[0].vpc_id.clone().expect("it is in a VPC"));
    let theirs = ec2.create_security_group().group_name("theirs").description("of others").vpc_id(vpc).send().await;
    let theirs = theirs.expect("a group is made").group_id.expect("it has an id");
    ec2.modify_instance_attribute().instance_id(&node).groups(&theirs).send().await.expect("groups change live");
    let open = ec2.modify_instance_metadata_options().instance_id(&node).http_tokens(sdk::HttpTokensState::Optional);
    open.http_put_response_hop_limit(3).send().await.expect("metadata options change live");
    let shown = cluster.settles();
    assert_has(
        &shown,
        &[
            &format!("security groups: {theirs} → sg-"),
            "metadata service: on, tokens optional, hop limit 3 → on, tokens required, hop limit 1",
            "changed outside ewulf; in place",
        ],
    );

    let shown = cluster.becomes(Wish::default());
    assert_has(&shown, &["instance profile: others → none"]);
    assert!(cluster.instances().await.iter().all(|one| profile(one).is_none()));
    assert_eq!(cluster.ids().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_placement_change_while_nodes_are_stopped_and_they_stay_who_they_are() {
    let cluster = Cluster::of(Wish::default()).await;
    let (before, addresses) = (cluster.ids().await, addresses_of(&cluster.instances().await));
    let wish = Wish { master: "c7a.xlarge", worker: "c7a.xlarge", group: ", placement: cluster", more: "" };
    let shown = cluster.becomes(wish);
    assert_has(
        &shown,
        &[
            "instance type: c7a.large → c7a.xlarge",
            "placement group: none → ewulf-changing-compute",
            "the spec changed; stop, change, start",
        ],
    );
    let now = cluster.instances().await;
    assert!(now.iter().all(|one| one.instance_type() == Some(&sdk::InstanceType::from("c7a.xlarge"))));
    assert_eq!(now[1].placement().and_then(|it| it.group_name()), Some("ewulf-changing-compute"));
    assert_eq!((cluster.ids().await, addresses_of(&now)), (before.clone(), addresses.clone()));

    let shown = cluster.becomes(Wish { worker: "c7a.xlarge", ..Wish::default() });
    assert_has(&shown, &["placement group: ewulf-changing-compute → none"]);
    assert_eq!(cluster.ids().await, before);
}

/// Their addresses, sorted as texts.
fn addresses_of(instances: &[sdk::Instance]) -> Vec<String> {
    let mut addresses: Vec<String> = instances.iter().filter_map(|one| one.private_ip_address.clone()).collect();
    addresses.sort();
    addresses
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_new_type_nodes_get_the_old_one_back_and_run() {
    let cluster = Cluster::of(Wish::default()).await;
    let before = cluster.ids().await;
    cluster.write(Wish { master: "c7a.xlarge", worker: "c7a.xlarge", ..Wish::default() });
    let rules = "rules:\n  - action: StartInstances\n    when: {type: c7a.xlarge}\n    fault: {capacity: {left: 0}}\n";
    std::fs::write(cluster.account.path().join("faults.yaml"), rules).expect("the folder is writable");
    cluster.account.succeed(&["local", "faults", "load", "faults.yaml"]);
    let (code, _, err) = cluster.account.ewulf(&["apply", &cluster.file, "--yes"]);
    assert_eq!(code, 4, "{err}");
    assert_has(&err, &["could not become c7a.xlarge; they are c7a.large again and were started", "InsufficientInstanceCapacity"]);
    assert!(!err.contains("terminated"), "{err}");
    let now = cluster.instances().await;
    assert_eq!(cluster.ids().await, before);
    assert!(now.iter().all(|one| one.instance_type() == Some(&sdk::InstanceType::from("c7a.large"))));
    cluster.account.succeed(&["local", "faults", "clear"]);
    cluster.settles();
    assert_eq!(cluster.ids().await, before);
}

/// Ids of the root volume and of the interface of a node.
fn parts(instance: &sdk::Instance) -> (String, String) {
    let volume = instance.block_device_mappings().first().and_then(|it| it.ebs()).and_then(|it| it.volume_id());
    let interface = instance.network_interfaces().first().and_then(|it| it.network_interface_id());
    (volume.expect("it has a root").to_owned(), interface.expect("it has an interface").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_another_image_keeps_id_address_and_interface() {
    let cluster = Cluster::of(Wish { more: "shared: {volume: 1GiB, keep: false}", ..Wish::default() }).await;
    let before = cluster.instances().await;
    let ec2 = &cluster.account.cloud.ec2;
    let image = ec2.create_image().instance_id(before[1].instance_id().expect("it has an id")).name("newer").no_reboot(true);
    let image = image.send().await.expect("an image is made").image_id.expect("it has an id");
    let text = std::fs::read_to_string(&cluster.file).expect("it was written");
    let old = format!("master: {{instance_type: c7a.large, image: {{ami: {}}}}}", cluster.account.ami);
    let new = format!("master: {{instance_type: c7a.large, image: {{ami: {image}}}}}");
    assert!(text.contains(&old));
    std::fs::write(&cluster.file, text.replace(&old, &new)).expect("the folder is writable");
    let shown = cluster.settles();
    assert_has(&shown, &[&format!("root volume from {image}"), "the spec changed; new root volume"]);
    let now = cluster.instances().await;
    assert_eq!(now[0].instance_id(), before[0].instance_id());
    assert_eq!(now[0].private_ip_address(), before[0].private_ip_address());
    let ((old_root, interface), (new_root, same)) = (parts(&before[0]), parts(&now[0]));
    assert!(old_root != new_root && interface == same);
    let volumes = ec2.describe_volumes().volume_ids(&new_root).send().await.expect("it is there");
    let tags = volumes.volumes()[0].tags();
    assert!(tags.iter().any(|tag| tag.key() == Some("ewulf:address") && tag.value() == Some("node/master")), "{tags:?}");
    // The old root is gone, the shared volume still there.
    let all = ec2.describe_volumes().filters(filter("tag:ewulf:cluster", CLUSTER)).send().await.expect("volumes are listed");
    assert_eq!(all.volumes().len(), 4);
    cluster.account.succeed(&["destroy", &cluster.file, "--yes"]);
}

/// Tags of everything that a cluster's nodes were made with, by id.
async fn tags_of_parts(cluster: &Cluster) -> BTreeMap<String, BTreeMap<String, String>> {
    let ec2 = &cluster.account.cloud.ec2;
    let mine = || filter("tag:ewulf:cluster", CLUSTER);
    let (volumes, interfaces, requests) = (
        ec2.describe_volumes().filters(mine()).send().await.expect("volumes are listed"),
        ec2.describe_network_interfaces().filters(mine()).send().await.expect("interfaces are listed"),
        ec2.describe_spot_instance_requests().filters(mine()).send().await.expect("requests are listed"),
    );
    let map = |tags: &[sdk::Tag]| {
        let pairs = tags.iter().map(|tag| (tag.key.clone().unwrap_or_default(), tag.value.clone().unwrap_or_default()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let mut all = BTreeMap::new();
    all.extend(volumes.volumes().iter().map(|one| (one.volume_id.clone().unwrap_or_default(), map(one.tags()))));
    all.extend(
        interfaces
            .network_interfaces()
            .iter()
            .map(|one| (one.network_interface_id.clone().unwrap_or_default(), map(one.tag_set()))),
    );
    let active = requests.spot_instance_requests().iter().filter(|one| one.state() == Some(&sdk::SpotInstanceState::Active));
    all.extend(active.map(|one| (one.spot_instance_request_id.clone().unwrap_or_default(), map(one.tags()))));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn user_tags_come_and_go_on_roots_interfaces_and_spot_requests() {
    let cluster = Cluster::of(Wish { group: ", market: spot", more: "tags: {team: a, cost: low}", ..Wish::default() }).await;
    let all = tags_of_parts(&cluster).await;
    // Three nodes with a root and an interface each, two of them with a request.
    assert_eq!(all.len(), 8, "{all:#?}");
    assert!(all.values().all(|tags| tags["team"] == "a" && tags["cost"] == "low"));
    let wish = Wish { group: ", market: spot", more: "tags: {team: b}", ..Wish::default() };
    let shown = cluster.becomes(wish);
    assert_has(&shown, &["tags, also of volumes, interfaces or requests (6)", "tags.team: a → b", "tags.cost: low → none"]);
    let all = tags_of_parts(&cluster).await;
    assert!(all.len() == 8 && all.values().all(|tags| tags["team"] == "b" && !tags.contains_key("cost")), "{all:#?}");
    let request = all.keys().find(|id| id.starts_with("sir-")).expect("there is one");
    let theirs = sdk::Tag::builder().key("team").value("c").build();
    cluster.account.cloud.ec2.create_tags().resources(request).tags(theirs).send().await.expect("tags can be set");
    assert_has(&cluster.settles(), &["requests (1)", "tags.team: c → b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn root_volumes_grow_in_place() {
    let cluster = Cluster::of(Wish::default()).await;
    let before = cluster.ids().await;
    let shown = cluster.becomes(Wish { group: ", root_volume: 40GiB", ..Wish::default() });
    assert_has(&shown, &["root volume: 20GiB → 40GiB", "the spec changed; in place"]);
    assert_eq!(cluster.ids().await, before);
    let volumes = cluster.account.cloud.ec2.describe_volumes().filters(filter("size", "40")).send().await;
    assert_eq!(volumes.expect("volumes are listed").volumes().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_range_have_its_addresses_by_a_launch_each() {
    let cluster = Cluster::of(Wish { group: ", addresses: 10.42.0.32/29", ..Wish::default() }).await;
    assert_eq!(addresses_of(&cluster.instances().await), ["10.42.0.254", "10.42.0.32", "10.42.0.33"]);
    let shown = cluster.becomes(Wish { group: ", addresses: 10.42.0.33-10.42.0.40", ..Wish::default() });
    assert_has(&shown, &["2 × c7a.large at 10.42.0.33-10.42.0.34, a launch each", "private address: 10.42.0.32 → 10.42.0.33"]);
    assert_eq!(addresses_of(&cluster.instances().await), ["10.42.0.254", "10.42.0.33", "10.42.0.34"]);
    cluster.write(Wish { group: ", addresses: 10.42.0.250-10.42.0.255", ..Wish::default() });
    let (code, _, err) = cluster.account.ewulf(&["plan", &cluster.file]);
    assert_eq!(code, 3, "{err}");
    assert_has(&err, &["range `10.42.0.250-10.42.0.255` has 10.42.0.254, which is the master's", "changing.yaml:7:"]);
}
