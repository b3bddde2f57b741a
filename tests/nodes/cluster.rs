//! Clusters: made, changed, mended, killed and removed.

use std::process::Stdio;
use std::time::Duration;

use ewulf::observe::filter;

use super::{Bench, bench};

/// A cluster of a master and `count` workers.
fn spec(name: &str, count: u32, more: &str) -> String {
    format!(
        "cluster: {name}\ncloud: local\nnetwork: {{cidr: 10.77.0.0/24}}\nmaster: {{instance_type: c7a.large, image: master}}\n\
         workers:\n- {{group: compute, count: {count}, instance_type: c7a.large, image: worker}}\n\
         shared: {{volume: 1GiB, keep: false}}\n{more}"
    )
}

fn write_spec(bench: &Bench, name: &str, count: u32, more: &str) -> String {
    let file = format!("clusters/{name}.yaml");
    bench.write(&file, &spec(name, count, more));
    file
}

fn ids(bench: &Bench, file: &str) -> Vec<(String, String)> {
    let status = bench.run(&["status", file, "--json"]).json();
    let nodes = status[0]["nodes"].as_array().cloned().unwrap_or_default();
    let text = |node: &serde_json::Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    nodes.iter().map(|node| (text(node, "address"), text(node, "id"))).collect()
}

/// Everything in the cloud that carries a cluster's tag and is not on its way out, by kind.
fn left_of(bench: &Bench, cluster: &str) -> Vec<String> {
    let (runtime, cloud) = bench.clients();
    runtime.block_on(async {
        let tag = || filter("tag:ewulf:cluster", cluster);
        let ec2 = &cloud.ec2;
        let mut left = Vec::new();
        let mut count = |kind: &str, number: usize| {
            if number > 0 {
                left.push(format!("{number} {kind}"));
            }
        };
        count("vpcs", ec2.describe_vpcs().filters(tag()).send().await.unwrap().vpcs().len());
        count("subnets", ec2.describe_subnets().filters(tag()).send().await.unwrap().subnets().len());
        count("gateways", ec2.describe_internet_gateways().filters(tag()).send().await.unwrap().internet_gateways().len());
        count("route tables", ec2.describe_route_tables().filters(tag()).send().await.unwrap().route_tables().len());
        count("groups", ec2.describe_security_groups().filters(tag()).send().await.unwrap().security_groups().len());
        count("placement groups", ec2.describe_placement_groups().filters(tag()).send().await.unwrap().placement_groups().len());
        count("templates", ec2.describe_launch_templates().filters(tag()).send().await.unwrap().launch_templates().len());
        count("volumes", ec2.describe_volumes().filters(tag()).send().await.unwrap().volumes().len());
        count("interfaces", ec2.describe_network_interfaces().filters(tag()).send().await.unwrap().network_interfaces().len());
        let instances = ec2.describe_instances().filters(tag()).send().await.unwrap();
        let alive =
            instances.reservations().iter().flat_map(|reservation| reservation.instances()).filter(|instance| {
                instance.state().and_then(|state| state.name()).is_some_and(|name| name.as_str() != "terminated")
            });
        count("instances", alive.count());
        left
    })
}

#[test]
fn a_cluster_is_made_grows_shrinks_is_mended_and_goes() {
    let bench = bench();
    let file = write_spec(&bench, "life", 1, "");
    bench.run(&["plan", &file, "--detailed-exitcode"]).expect(2);
    bench.run(&["apply", &file, "--yes"]).expect(0);
    bench.run(&["status", &file]).expect(0);
    let plan = bench.run(&["plan", &file, "--detailed-exitcode"]).expect(0);
    assert!(plan.out.contains("nothing to do"), "{}", plan.out);
    let first = ids(&bench, &file);
    assert_eq!(first.len(), 2);

    write_spec(&bench, "life", 2, "");
    bench.run(&["apply", &file, "--yes"]).expect(0);
    let grown = ids(&bench, &file);
    assert_eq!(grown.len(), 3);
    assert!(first.iter().all(|node| grown.contains(node)), "growing touches no node that was there: {first:?} {grown:?}");

    // Changes made outside are shown and mended: a tag, a rule, a killed node.
    let (runtime, cloud) = bench.clients();
    let worker = grown.iter().find(|(address, _)| address == "node/compute/1").unwrap().1.clone();
    runtime.block_on(async {
        let vpcs = cloud.ec2.describe_vpcs().filters(filter("tag:ewulf:cluster", "life")).send().await.unwrap();
        let vpc = vpcs.vpcs()[0].vpc_id().unwrap();
        let tag = aws_sdk_ec2::types::Tag::builder().key("stray").value("x").build();
        cloud.ec2.create_tags().resources(vpc).tags(tag).send().await.unwrap();
        let groups = cloud.ec2.describe_security_groups().filters(filter("tag:ewulf:cluster", "life")).send().await.unwrap();
        let group = groups.security_groups()[0].group_id().unwrap();
        let range = aws_sdk_ec2::types::IpRange::builder().cidr_ip("198.51.100.0/24").build();
        let rule =
            aws_sdk_ec2::types::IpPermission::builder().ip_protocol("tcp").from_port(23).to_port(23).ip_ranges(range).build();
        cloud.ec2.authorize_security_group_ingress().group_id(group).ip_permissions(rule).send().await.unwrap();
        cloud.ec2.terminate_instances().instance_ids(&worker).send().await.unwrap();
    });
    std::thread::sleep(Duration::from_secs(2));
    bench.run(&["status", &file]).expect(1);
    let drift = bench.run(&["plan", &file]).expect(0);
    assert!(drift.out.contains("tags.stray") && drift.out.contains("tcp 23 from 198.51.100.0/24"), "{}", drift.out);
    assert!(drift.out.contains("node/compute/1"), "{}", drift.out);
    bench.run(&["apply", &file, "--yes"]).expect(0);
    bench.run(&["plan", &file, "--detailed-exitcode"]).expect(0);

    write_spec(&bench, "life", 1, "");
    bench.run(&["apply", &file, "--yes"]).expect(0);
    assert_eq!(ids(&bench, &file), first, "shrinking takes the highest index and nothing else");
    bench.run(&["destroy", "life", "--yes"]).expect(0);
    assert_eq!(left_of(&bench, "life"), Vec::<String>::new());
}

#[test]
fn a_node_powered_off_from_inside_shows_within_two_seconds_and_is_started_again() {
    let bench = bench();
    let file = write_spec(&bench, "off", 1, "");
    bench.run(&["apply", &file, "--yes"]).expect(0);
    let _ = bench.run(&["exec", "--cluster", "off", "--user", "root", "node/master", "--", "systemctl", "poweroff"]);
    std::thread::sleep(Duration::from_secs(5));
    let status = bench.run(&["status", &file, "--json"]).expect(1).json();
    assert_eq!(status[0]["nodes"][0]["state"], "stopped", "{status}");
    bench.run(&["apply", &file, "--yes"]).expect(0);
    bench.run(&["status", &file]).expect(0);
    bench.run(&["destroy", "off", "--yes"]).expect(0);
}

#[test]
fn an_apply_killed_in_the_middle_is_finished_by_the_next_and_nothing_is_doubled() {
    let bench = bench();
    let file = write_spec(&bench, "killed", 2, "");
    for milliseconds in [300, 900, 2_500] {
        let mut child = bench.command(&["apply", &file, "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    bench.run(&["apply", &file, "--yes"]).expect(0);
    bench.run(&["plan", &file, "--detailed-exitcode"]).expect(0);
    assert_eq!(ids(&bench, &file).len(), 3);
    bench.run(&["destroy", "killed", "--yes"]).expect(0);
    assert_eq!(left_of(&bench, "killed"), Vec::<String>::new());
}

#[test]
fn a_kept_volume_outlives_its_cluster_and_the_next_apply_finds_its_data() {
    let bench = bench();
    let file = "clusters/kept.yaml";
    bench.write(file, &spec("kept", 1, "").replace("keep: false", "keep: true"));
    bench.run(&["apply", file, "--yes"]).expect(0);
    bench.on_node("kept", "node/master", "echo precious > /shared/data");
    bench.run(&["destroy", "kept", "--yes"]).expect(0);
    assert_eq!(left_of(&bench, "kept"), ["1 volumes"]);
    bench.run(&["apply", file, "--yes"]).expect(0);
    assert_eq!(bench.on_node("kept", "node/compute/0", "cat /shared/data").trim(), "precious");
    bench.run(&["destroy", "kept", "--yes", "--with-volume"]).expect(0);
    assert_eq!(left_of(&bench, "kept"), Vec::<String>::new());
}

#[test]
fn a_saved_plan_is_refused_once_the_world_has_moved() {
    let bench = bench();
    let file = write_spec(&bench, "saved", 1, "");
    bench.run(&["plan", &file, "--out", "saved.plan"]).expect(0);
    bench.run(&["apply", "saved.plan", "--yes"]).expect(0);
    let refused = bench.run(&["apply", "saved.plan", "--yes"]).expect(1);
    assert!(refused.err.contains("the world moved"), "{}", refused.err);
    bench.run(&["destroy", "saved", "--yes"]).expect(0);
}

#[test]
fn two_applies_at_once_do_not_work_on_one_cluster() {
    let bench = bench();
    let file = write_spec(&bench, "locked", 1, "");
    let mut first = bench.command(&["apply", &file, "--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(800));
    let second = bench.run(&["apply", &file, "--yes"]).expect(1);
    assert!(second.err.contains("is being changed by"), "{}", second.err);
    assert!(first.wait().unwrap().success());
    bench.run(&["destroy", "locked", "--yes"]).expect(0);
}
