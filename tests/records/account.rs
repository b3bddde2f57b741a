//! `ewulf ps` and `ewulf reap` on an account with everything that they tell apart.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types as sdk;
use serde_json::Value;

use super::{Account, tag_specification};

/// An owner on another machine, who began in 1970.
const DEAD_OWNER: &str = "elsewhere/0 7 1 0";

/// Ids of what an account has, by the names used below.
struct Made {
    ids: BTreeMap<&'static str, String>,
}

impl Made {
    fn id(&self, name: &str) -> &str {
        &self.ids[name]
    }
}

/// A living cluster, what is left of another one, what a dead bake left, and what is nobody's business.
async fn populate(account: &Account) -> Made {
    let ec2 = &account.cloud.ec2;
    let spec = account.spec("alive", "{cidr: 10.42.0.0/24}", "ready: running").display().to_string();
    account.succeed(&["apply", &spec, "--yes"]);
    let mut ids = BTreeMap::new();
    ids.insert("foreign VPC", account.vpc("10.1.0.0/16", &[("team", "other")]).await);
    let old = |address: &'static str| [("ewulf:cluster", "old"), ("ewulf:address", address)];
    let vpc = account.vpc("10.42.0.0/24", &old("vpc")).await;
    let subnet = ec2.create_subnet().vpc_id(&vpc).cidr_block("10.42.0.0/24").availability_zone("us-east-1a");
    let subnet = subnet.tag_specifications(tag_specification(sdk::ResourceType::Subnet, &old("subnet"))).send().await;
    ids.insert("subnet", subnet.expect("it is made").subnet.and_then(|subnet| subnet.subnet_id).expect("it has an id"));
    let root = ec2.create_volume().size(8).availability_zone("us-east-1a");
    let root = root.tag_specifications(tag_specification(sdk::ResourceType::Volume, &old("node/compute"))).send().await;
    ids.insert("root volume", root.expect("it is made").volume_id.expect("it has an id"));
    let [cluster, address] = old("volume/shared");
    let kept = tag_specification(sdk::ResourceType::Volume, &[cluster, address, ("ewulf:keep", "true")]);
    let kept = ec2.create_volume().size(100).availability_zone("us-east-1a").tag_specifications(kept).send().await;
    ids.insert("kept volume", kept.expect("it is made").volume_id.expect("it has an id"));

    let bake = [("ewulf:bake", "worker"), ("ewulf:image", "worker"), ("ewulf:bake-owner", DEAD_OWNER)];
    let group = ec2.create_security_group().group_name("ewulf-bake-worker").description("builder").vpc_id(&vpc);
    let group = group.tag_specifications(tag_specification(sdk::ResourceType::SecurityGroup, &bake)).send().await;
    ids.insert("bake's group", group.expect("it is made").group_id.expect("it has an id"));
    let builder = ec2.run_instances().image_id(&account.ami).instance_type(sdk::InstanceType::from("c7a.large"));
    let builder = builder.min_count(1).max_count(1).tag_specifications(tag_specification(sdk::ResourceType::Instance, &bake));
    let builder = builder.send().await.expect("it is launched").instances.unwrap_or_default().remove(0);
    ids.insert("builder", builder.instance_id.expect("it has an id"));
    let snapshot = ec2.create_snapshot().volume_id(&ids["root volume"]);
    let snapshot = snapshot.tag_specifications(tag_specification(sdk::ResourceType::Snapshot, &[("ewulf:image", "worker")]));
    ids.insert("snapshot", snapshot.send().await.expect("it is taken").snapshot_id.expect("it has an id"));
    ids.insert("VPC", vpc);
    // Old enough for `--older-than 1s`.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    Made { ids }
}

fn find<'a>(parts: &'a [Value], id: &str) -> Option<&'a Value> {
    parts.iter().find(|part| part["id"] == id)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_orphaned_is_shown_and_reaped_and_nothing_else() {
    let account = Account::open().await;
    let made = populate(&account).await;
    let parts = account.everything();
    let note = |name: &str| {
        let part = find(&parts, made.id(name)).unwrap_or_else(|| panic!("{name} is not in {parts:#?}"));
        (part["orphan"].as_str().unwrap_or("-").to_owned(), part["kept"] == true)
    };
    let expected = [
        ("VPC", "no-nodes"),
        ("subnet", "no-nodes"),
        ("root volume", "no-nodes"),
        ("kept volume", "-"),
        ("bake's group", "dead-bake"),
        ("builder", "dead-bake"),
        ("snapshot", "no-image"),
    ];
    for (name, cause) in expected {
        assert_eq!(note(name), (cause.to_owned(), name == "kept volume"), "{name}");
    }
    assert!(find(&parts, made.id("foreign VPC")).is_none(), "it carries no tag of ewulf's");
    let alive: Vec<&Value> = parts.iter().filter(|part| part["cluster"] == "alive").collect();
    assert!(alive.len() > 10 && alive.iter().all(|part| part["orphan"].is_null()), "{alive:#?}");
    let node = alive.iter().find(|part| part["address"] == "node/master").expect("the master is there");
    assert!(node["price_per_hour"].as_f64().is_some_and(|price| (0.05..1.0).contains(&price)), "{node}");
    // Nothing but what is young is spared by age alone.
    let young = account.succeed(&["ps", "--all", "--cloud", "local", "--json"]);
    let young: Vec<Value> = serde_json::from_str(&young).expect("it is a list");
    assert!(find(&young, made.id("VPC")).is_some_and(|part| part["orphan"].is_null()), "{young:#?}");

    let (code, _, err) = account.ewulf(&["reap", "--cloud", "local", "--older-than", "1s"]);
    assert!(code == 3 && err.contains("--yes") && err.contains(made.id("VPC")), "{err}");
    assert_eq!(account.everything().len(), parts.len(), "asking removes nothing");

    let (code, out, err) = account.ewulf(&["reap", "--cloud", "local", "--older-than", "1s", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    let left = account.everything();
    for (name, _) in expected {
        assert_eq!(find(&left, made.id(name)).is_some(), name == "kept volume", "{name}: {left:#?}");
    }
    assert_eq!(left.iter().filter(|part| part["cluster"] == "alive").count(), alive.len());
    assert!(account.vpcs().await.contains(&made.ids["foreign VPC"]));
    assert!(find(&left, made.id("kept volume")).is_some_and(|part| part["kept"] == true));

    let (code, _, err) = account.ewulf(&["reap", "--cloud", "local", "--older-than", "1s", "--yes"]);
    assert!(code == 0 && err.contains("Nothing is orphaned."), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_shows_instances_first_and_everything_with_all() {
    let account = Account::open().await;
    let (_, out, _) = account.ewulf(&["ps", "--cloud", "local"]);
    assert_eq!(out, "Nothing of ewulf's is there.\n");
    let spec = account.spec("alive", "{cidr: 10.42.0.0/24}", "ready: running").display().to_string();
    account.succeed(&["apply", &spec, "--yes"]);
    let out = account.succeed(&["ps", "--cloud", "local"]);
    assert_eq!(out.matches("instance").count(), 3, "{out}");
    assert!(out.contains("`ewulf ps --all` shows the others.") && !out.contains("subnet"), "{out}");
    let all = account.succeed(&["ps", "--all", "--cloud", "local", "--all-regions"]);
    for kind in ["instance", "volume", "VPC", "subnet", "route table", "launch template", "us-east-1", "running"] {
        assert!(all.contains(kind), "{kind} is missing in\n{all}");
    }
}
