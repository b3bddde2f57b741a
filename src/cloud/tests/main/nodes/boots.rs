//! Start, end, restart and adoption of nodes.

use std::time::{Duration, Instant};

use ewulf_cloud::node::{Driver, NodeEvent};

use super::ground::{Ground, node, vpc, wanted};

/// From a node's end to the event.
const NOTICE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_boot_from_nothing_and_run_their_user_data() {
    if !wanted("two nodes") {
        return;
    }
    let ground = Ground::new().await;
    let vpc = vpc("two", "10.42.0.0/16", &["10.42.0.0/24"]);
    let nodes = [node("first", &vpc, 0, [10, 42, 0, 4]), node("second", &vpc, 0, [10, 42, 0, 5])];
    let started = Instant::now();
    ground.open_network(&vpc, &nodes.each_ref().map(|node| node.address)).await;
    eprintln!("network after {:?}", started.elapsed());
    tokio::join!(ground.boot(&nodes[0]), ground.boot(&nodes[1]));
    eprintln!("init running after {:?}", started.elapsed());
    tokio::join!(ground.wait_up(&nodes[0]), ground.wait_up(&nodes[1]));
    eprintln!("up after {:?}", started.elapsed());
    let done = "test -e /run/user-data-done";
    tokio::join!(ground.wait_shell(&nodes[0], done), ground.wait_shell(&nodes[1], done));
    eprintln!("user data ran after {:?}", started.elapsed());
    for node in &nodes {
        assert_eq!(ground.shell(node, "hostname").await, node.hostname);
        assert_eq!(ground.shell(node, "getent ahostsv4 $(hostname) | head -1 | cut -d' ' -f1").await, node.address.to_string());
        assert_eq!(ground.shell(node, "cat /sys/class/net/eth0/address").await, node.mac);
    }
    ground.wait_shell(&nodes[0], "systemctl is-system-running --wait").await;
    assert_eq!(ground.shell(&nodes[0], "systemctl --failed --plain --no-legend").await, "");
    let key = "cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; cat /etc/machine-id";
    let (first, second) = (ground.shell(&nodes[0], key).await, ground.shell(&nodes[1], key).await);
    assert!(first.lines().zip(second.lines()).all(|(first, second)| first != second), "{first} {second}");
    // sshd of the other node answers, by a name that the image resolves; packages are in reach.
    assert_eq!(ground.shell(&nodes[0], "timeout 5 bash -c 'head -c 4 < /dev/tcp/10.42.0.5/22'").await, "SSH-");
    ground.shell(&nodes[0], "apt-get -q update && apt-get -q install --simulate openmpi-bin").await;
    let console = ground.driver.console("i-first", 64 << 10).await.unwrap();
    assert!(String::from_utf8_lossy(&console).contains("Cloud-init v."));
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_ends_by_itself_is_reported_within_a_second() {
    if !wanted("a node's end") {
        return;
    }
    let mut ground = Ground::new().await;
    let vpc = vpc("end", "10.0.0.0/24", &["10.0.0.0/24"]);
    let node = node("ending", &vpc, 0, [10, 0, 0, 4]);
    ground.open_network(&vpc, &[node.address]).await;
    ground.boot(&node).await;
    ground.wait_up(&node).await;
    // A reboot from inside is no end.
    ground.shell(&node, "touch /var/tmp/kept").await;
    let before = ground.shell(&node, "cat /proc/sys/kernel/random/boot_id").await;
    ground.shell(&node, "systemctl reboot").await;
    wait_down(&ground, &node.instance_id).await;
    ground.wait_up(&node).await;
    assert_ne!(ground.shell(&node, "cat /proc/sys/kernel/random/boot_id; test -e /var/tmp/kept").await, before);
    assert!(ground.next_event(Duration::ZERO).await.is_none());
    // Powered off from inside.
    ground.shell(&node, "systemctl poweroff").await;
    let ended = |powered_off| NodeEvent::Ended { instance_id: node.instance_id.clone(), powered_off };
    assert_eq!(ground.next_event(Duration::from_secs(30)).await, Some(ended(true)));
    assert!(!ground.driver.is_up(&node.instance_id).await.unwrap());
    // Killed from outside.
    ground.driver.boot(&node).await.unwrap();
    kill_init(&ground, &node.instance_id);
    let killed = Instant::now();
    assert_eq!(ground.next_event(Duration::from_secs(30)).await, Some(ended(false)));
    assert!(killed.elapsed() < NOTICE, "{:?}", killed.elapsed());
    // An end that was asked for is no news.
    ground.driver.boot(&node).await.unwrap();
    ground.wait_up(&node).await;
    let stopping = Instant::now();
    ground.driver.stop(&node.instance_id, false).await.unwrap();
    eprintln!("stopped in {:?}", stopping.elapsed());
    ground.driver.stop(&node.instance_id, false).await.unwrap();
    ground.driver.boot(&node).await.unwrap();
    ground.driver.stop(&node.instance_id, true).await.unwrap();
    assert!(ground.next_event(Duration::from_millis(300)).await.is_none());
    ground.driver.destroy(&node.instance_id).await.unwrap();
    ground.driver.destroy(&node.instance_id).await.unwrap();
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_takes_up_its_nodes_and_removes_those_of_nobody() {
    if !wanted("adoption") {
        return;
    }
    let ground = Ground::new().await;
    let (vpc, stray) = (vpc("kept", "10.1.0.0/24", &["10.1.0.0/24"]), vpc("stray", "10.1.0.0/24", &["10.1.0.0/24"]));
    let [kept, gone] = [node("kept", &vpc, 0, [10, 1, 0, 4]), node("gone", &vpc, 0, [10, 1, 0, 5])];
    let stray_node = node("stray", &stray, 0, [10, 1, 0, 4]);
    ground.open_network(&vpc, &[kept.address, gone.address]).await;
    ground.open_network(&stray, &[stray_node.address]).await;
    tokio::join!(ground.boot(&kept), ground.boot(&gone), ground.boot(&stray_node));
    ground.wait_up(&kept).await;
    let boot = ground.shell(&kept, "cat /proc/sys/kernel/random/boot_id").await;
    let mut ground = ground.restart();
    kill_init(&ground, &gone.instance_id);
    while std::fs::read_to_string(ground.folder.path().join("nodes/i-gone/exit")).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let running = ground.driver.adopt(&[kept.clone(), gone.clone()], std::slice::from_ref(&vpc)).await.unwrap();
    assert_eq!(running, ["i-kept"]);
    assert_eq!(ground.shell(&kept, "cat /proc/sys/kernel/random/boot_id").await, boot);
    for name in ["i-stray", "vpc-stray"] {
        assert!(!std::path::Path::new(&format!("/run/netns/ewulf-{}.{name}", ground.name)).exists(), "{name} is removed");
    }
    assert!(!ground.folder.path().join("nodes/i-stray").exists());
    // What ended unseen can be booted again; what was adopted is watched.
    ground.driver.boot(&gone).await.unwrap();
    kill_init(&ground, &kept.instance_id);
    let event = NodeEvent::Ended { instance_id: kept.instance_id.clone(), powered_off: false };
    assert_eq!(ground.next_event(NOTICE).await, Some(event));
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebooted_node_keeps_its_root_and_address() {
    if !wanted("a reboot") {
        return;
    }
    let mut ground = Ground::new().await;
    let vpc = vpc("again", "10.2.0.0/24", &["10.2.0.0/24"]);
    let node = node("again", &vpc, 0, [10, 2, 0, 7]);
    ground.open_network(&vpc, &[node.address]).await;
    ground.boot(&node).await;
    ground.wait_up(&node).await;
    let state = "cat /etc/ssh/ssh_host_ed25519_key.pub; hostname -I";
    let before = ground.shell(&node, state).await;
    ground.driver.reboot(&node.instance_id).await.unwrap();
    ground.wait_up(&node).await;
    assert_eq!(ground.shell(&node, state).await, before);
    assert!(ground.next_event(Duration::ZERO).await.is_none());
    ground.finish().await;
}

async fn wait_down(ground: &Ground, instance_id: &str) {
    while ground.driver.is_up(instance_id).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills the node's init, found as the grandchild of the noted supervisor.
fn kill_init(ground: &Ground, instance_id: &str) {
    let note = std::fs::read(ground.folder.path().join("nodes").join(instance_id).join("supervisor.json")).unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    let child = |id: &str| {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().next().unwrap().to_owned()
    };
    let init: i32 = child(&child(&note["supervisor"]["id"].to_string())).parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(init).unwrap(), rustix::process::Signal::KILL).unwrap();
}
