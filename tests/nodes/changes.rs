//! Changes under nodes that stay: another root volume, another type, larger disks.

use std::time::Duration;

use super::{Bench, bench};

/// A cluster of one worker; the fields of its master and of its group, and the size of its volume, come from the test.
fn write_spec(bench: &Bench, master: &str, group: &str, volume: &str) {
    let spec = format!(
        "cluster: moved\ncloud: local\nnetwork: {{cidr: 10.78.0.0/24}}\nmaster: {{{master}}}\n\
         workers:\n- {{group: compute, count: 1, instance_type: c7a.large, image: worker{group}}}\n\
         shared: {{volume: {volume}, keep: false}}\n"
    );
    bench.write(FILE, &spec);
}

const FILE: &str = "clusters/moved.yaml";

/// What of each node stays as long as it does: its address in the cluster, its id, and its address in the network.
fn nodes(bench: &Bench) -> Vec<[String; 3]> {
    let status = bench.run(&["status", FILE, "--json"]).json();
    let nodes = status[0]["nodes"].as_array().expect("they are listed");
    let text = |node: &serde_json::Value, key: &str| node[key].as_str().unwrap_or_default().to_owned();
    nodes.iter().map(|node| ["address", "id", "private_address"].map(|key| text(node, key))).collect()
}

/// Registers what the image of a running node holds under another id, as somebody who hardens images might.
fn copy_of_the_masters_image(bench: &Bench, master: &str) -> String {
    let (runtime, cloud) = bench.clients();
    runtime.block_on(async {
        let ec2 = &cloud.ec2;
        let answer = ec2.describe_instances().instance_ids(master).send().await.expect("the master is there");
        let instance = answer.reservations().iter().flat_map(|one| one.instances()).next().expect("there is one");
        let image = instance.image_id().expect("it has an image");
        let copy = ec2.copy_image().name("moved-master").source_image_id(image).source_region("us-east-1").send().await;
        let copy = copy.expect("it is copied").image_id.expect("it has an id");
        loop {
            let images = ec2.describe_images().image_ids(&copy).send().await.expect("images are listed");
            let state = images.images().first().and_then(|image| image.state().cloned()).expect("the copy is listed");
            match state.as_str() {
                "available" => return copy,
                "pending" => tokio::time::sleep(Duration::from_millis(100)).await,
                other => panic!("the copy is {other}"),
            }
        }
    })
}

#[test]
fn a_master_of_another_image_or_type_keeps_its_place_and_what_is_shared() {
    let bench = bench();
    write_spec(&bench, "instance_type: c7a.large, image: master", "", "1GiB");
    bench.run(&["apply", FILE, "--yes"]).expect(0);
    let before = nodes(&bench);
    bench.on_node("moved", "node/master", "echo precious > /shared/kept && touch /root/of-the-old-root");

    let image = copy_of_the_masters_image(&bench, &before[0][1]);
    write_spec(&bench, &format!("instance_type: c7a.large, image: {{ami: {image}}}"), "", "1GiB");
    let changed = bench.run(&["apply", FILE, "--yes"]).expect(0);
    assert!(changed.err.contains("the spec changed; new root volume"), "{}", changed.err);
    assert_eq!(nodes(&bench), before);
    assert_eq!(bench.on_node("moved", "node/compute/0", "cat /shared/kept").trim(), "precious");
    let old = bench.on_node("moved", "node/master", "test -e /root/of-the-old-root && echo old || echo new");
    assert_eq!(old.trim(), "new");

    write_spec(&bench, &format!("instance_type: c7a.xlarge, image: {{ami: {image}}}"), "", "1GiB");
    let changed = bench.run(&["apply", FILE, "--yes"]).expect(0);
    assert!(changed.err.contains("instance type: c7a.large → c7a.xlarge"), "{}", changed.err);
    assert_eq!(nodes(&bench), before);
    assert_eq!(bench.on_node("moved", "node/compute/0", "cat /shared/kept").trim(), "precious");
    bench.run(&["plan", FILE, "--detailed-exitcode"]).expect(0);

    bench.run(&["destroy", "moved", "--yes"]).expect(0);
}

/// Size of the shared volume in MiB: of its file system as the worker sees it, where the kernel shares by NFS; of its
/// device on the master elsewhere, since the shared path is a folder of the host then.
fn shared_mebibytes(bench: &Bench) -> u64 {
    let is_volume = bench.on_node("moved", "node/master", "[ -b \"$(findmnt -nro SOURCE /shared)\" ] && echo yes || echo no");
    let size = if is_volume.trim() == "yes" {
        bench.on_node("moved", "node/compute/0", "df --output=size --block-size=1M /shared | tail -n 1")
    } else {
        bench.on_node("moved", "node/master", "echo $(($(blockdev --getsize64 /dev/sdf) / 1048576))")
    };
    size.trim().parse().unwrap_or_else(|error| panic!("{error}: {size}"))
}

#[test]
fn volumes_grow_under_running_nodes() {
    let bench = bench();
    let master = "instance_type: c7a.large, image: master";
    write_spec(&bench, master, "", "1GiB");
    bench.run(&["apply", FILE, "--yes"]).expect(0);
    let before = nodes(&bench);
    bench.on_node(
        "moved",
        "node/compute/0",
        "nohup sleep 1000 >/dev/null 2>&1 & echo $! > /run/patient; echo kept >/shared/kept",
    );
    assert!(shared_mebibytes(&bench) <= 1024);

    write_spec(&bench, master, ", root_volume: 40GiB", "3GiB");
    let grown = bench.run(&["apply", FILE, "--yes"]).expect(0);
    for words in ["root volume: 20GiB → 40GiB", "size: 1GiB → 3GiB"] {
        assert!(grown.err.contains(words), "{words} is missing in\n{}", grown.err);
    }
    assert_eq!(nodes(&bench), before);
    let mebibytes = shared_mebibytes(&bench);
    assert!((2500..=3072).contains(&mebibytes), "{mebibytes} MiB");
    bench.on_node("moved", "node/compute/0", "kill -0 $(cat /run/patient) && grep -q kept /shared/kept");
    bench.run(&["plan", FILE, "--detailed-exitcode"]).expect(0);
    bench.run(&["destroy", "moved", "--yes"]).expect(0);
}
