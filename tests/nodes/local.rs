//! The local cloud itself: its own restart, a second one beside it, its end.

use std::path::Path;

use super::{Ran, bench, ewulf};

#[test]
fn nodes_and_state_survive_a_restart_of_the_server() {
    let bench = bench();
    bench.write(
        "clusters/restart.yaml",
        "cluster: restart\ncloud: local\nnetwork: {cidr: 10.79.0.0/24}\nmaster: {instance_type: c7a.large, image: master}\n\
         shared: {volume: 1GiB, keep: false}\n",
    );
    bench.run(&["apply", "clusters/restart.yaml", "--yes"]).expect(0);
    let uptime = || bench.on_node("restart", "node/master", "stat -c %Y /proc/1");
    let before = uptime();
    let status = bench.run(&["local", "status", "--json"]).expect(0).json();
    let pid = status["pid"].as_i64().expect("the server runs");
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    std::thread::sleep(std::time::Duration::from_secs(1));
    bench.run(&["status", "restart"]).expect(0);
    assert_eq!(uptime(), before, "the node was not booted again");
    bench.run(&["destroy", "restart", "--yes"]).expect(0);
}

#[test]
fn a_second_cloud_runs_beside_the_first_and_its_reset_leaves_nothing() {
    let bench = bench();
    let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join("second");
    let run = |arguments: &[&str]| Ran::from(ewulf(&state, arguments).output().unwrap());
    run(&["local", "up"]).expect(0);
    bench.run(&["local", "status"]).expect(0);
    let links_with = host_links();
    run(&["local", "reset", "--yes"]).expect(0);
    assert!(!state.join("state.json").exists());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(state.to_str().unwrap()), "no mount is left");
    assert!(host_links() <= links_with, "no link is left");
    bench.run(&["local", "status"]).expect(0);
}

fn host_links() -> usize {
    std::fs::read_dir("/sys/class/net").unwrap().count()
}
