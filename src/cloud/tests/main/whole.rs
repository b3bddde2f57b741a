//! The API and real nodes together: scripts that really run, metadata as nodes see it, restarts under running nodes.

use std::path::Path;
use std::time::{Duration, Instant};

use ewulf_cloud::{Config, lifecycle};
use serde_json::{Value, json};

use crate::client::{Api, PATIENCE};
use crate::lifecycle::{kill, start};
use crate::nodes::ground::{cache_dir, wanted};

/// A cloud with nodes, in a process of its own; gone with everything in it when dropped.
struct Whole {
    folder: tempfile::TempDir,
    pid: i32,
    api: Api,
}

impl std::ops::Deref for Whole {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Whole {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: tempfile::TempDir) -> Self {
        let state_dir = folder.path().join("cloud");
        let running = start(&Config::new(&state_dir, cache_dir())).await.unwrap();
        let address = running.endpoint.trim_start_matches("http://").parse().unwrap();
        Self { folder, pid: running.pid, api: Api { state_dir, address } }
    }
}

impl Drop for Whole {
    /// Removes nodes, networks and mounts also when a test failed.
    fn drop(&mut self) {
        let state_dir = self.api.state_dir.clone();
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(lifecycle::reset(&state_dir))
        });
        if let Err(error) = removal.join().unwrap() {
            eprintln!("{} is not removed: {error}", self.folder.path().display());
        }
    }
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}"))
}

/// Status details, response code and standard output.
fn end(answer: &Value) -> (&str, i64, &str) {
    (text(answer, "StatusDetails"), answer["ResponseCode"].as_i64().unwrap(), text(answer, "StandardOutputContent"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_runs_as_the_agent_would_run_it() {
    if !wanted("scripts") {
        return;
    }
    let cloud = Whole::start().await;
    let id = cloud.launch(1, "").await.remove(0);
    // Joined by line ends, as root, in the root folder, without a home; quoting is the script's own.
    let script = ["x='a b'", "id -un; pwd; umask", "echo \"$x\" \"${HOME-none}\" '$(id)'"];
    assert_eq!(end(&cloud.run(&id, &script).await), ("Success", 0, "root\n/\n0022\na b none $(id)\n"));
    // Plain sh unless the first line says otherwise.
    let bash = ["#!/bin/bash", "[[ 1 == 1 ]] && echo \"${BASH_VERSION:+bash}\""];
    assert_eq!(end(&cloud.run(&id, &bash).await), ("Success", 0, "bash\n"));
    assert_eq!(end(&cloud.run(&id, &["echo \"${BASH_VERSION-sh}\""]).await).2, "sh\n");
    // The status is the last command's; 168 is a success.
    assert_eq!(end(&cloud.run(&id, &["false", "true"]).await).0, "Success");
    let failed = cloud.run(&id, &["echo out; echo err >&2; exit 7"]).await;
    assert_eq!(end(&failed), ("Failed", 7, "out\n"));
    assert_eq!(text(&failed, "StandardErrorContent"), "err\nfailed to run commands: exit status 7");
    assert_eq!(end(&cloud.run(&id, &["exit 168"]).await), ("Success", 168, ""));
    // The folder asked for, or an error.
    let there =
        |folder: &str| json!({ "InstanceIds": [id], "Parameters": { "commands": ["pwd"], "workingDirectory": [folder] } });
    let inside = cloud.begin_with(there("/usr/lib")).await;
    assert_eq!(end(&cloud.ended(&inside, &id).await).2, "/usr/lib\n");
    let nowhere = cloud.begin_with(there("/no such folder")).await;
    assert_eq!(end(&cloud.ended(&nowhere, &id).await), ("Failed", 1, ""));
    // A long output keeps its head.
    let long = cloud.run(&id, &["yes | head -c 100000; yes e | head -c 100000 >&2"]).await;
    let (out, err) = (text(&long, "StandardOutputContent"), text(&long, "StandardErrorContent"));
    assert_eq!((out.len(), err.len()), (24_000, 8_000));
    assert!(out.ends_with("--output truncated--") && err.ends_with("--output truncated--"));
    // A reboot asked for by the script, which then runs again.
    let reboot = ["[ -e /root/before ] && exec echo after", "touch /root/before; exit 194"];
    assert_eq!(end(&cloud.run(&id, &reboot).await), ("Success", 0, "after\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_reach_metadata_and_never_the_api() {
    if !wanted("the API from nodes") {
        return;
    }
    let cloud = Whole::start().await;
    let id = cloud.launch(1, "").await.remove(0);
    // Every address that the machine answers at, beside the node's own loopback, the metadata service and the router.
    let shown = std::process::Command::new("ip").args(["-br", "-4", "addr"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let addresses: Vec<&str> =
        shown.split_ascii_whitespace().filter_map(|word| word.split_once('/')).map(|(address, _)| address).collect();
    assert!(addresses.contains(&"127.0.0.1"), "{shown}");
    let reach = |host: &str, port: u16| format!("timeout 2 bash -c \": < /dev/tcp/{host}/{port}\" 2>/dev/null");
    let port = cloud.address.port();
    let script = [
        format!("hosts=\"169.254.169.254 $(ip -4 route show default | cut -d' ' -f3) {}\"", addresses.join(" ")),
        format!("for host in $hosts; do {} && echo \"the API at $host\"; done", reach("$host", port)),
        format!("{} && echo metadata", reach("169.254.169.254", 80)),
    ];
    let script: Vec<&str> = script.iter().map(String::as_str).collect();
    assert_eq!(end(&cloud.run(&id, &script).await), ("Success", 0, "metadata\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_or_a_cancellation_leaves_no_process() {
    if !wanted("time-outs") {
        return;
    }
    let cloud = Whole::start().await;
    let id = cloud.launch(1, "").await.remove(0);
    let script = json!({ "commands": ["sleep 600 & sleep 600"], "executionTimeout": ["5"] });
    let started = Instant::now();
    let command = cloud.begin_with(json!({ "InstanceIds": [id], "Parameters": script })).await;
    let answer = cloud.ended(&command, &id).await;
    assert_eq!((text(&answer, "Status"), end(&answer)), ("TimedOut", ("ExecutionTimedOut", 137, "")));
    assert!(started.elapsed() >= Duration::from_secs(5));

    let command = cloud.begin(&id, &["echo begun; sleep 600 & sleep 600"]).await;
    while cloud.invocation(&command, &id).await["Status"] != "InProgress" {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(cloud.ssm("CancelCommand", json!({ "CommandId": command })).await.status, 200);
    assert_eq!(end(&cloud.ended(&command, &id).await).0, "Cancelled");
    assert_eq!(end(&cloud.run(&id, &["pgrep -a sleep; true"]).await).2, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_stop_further_sends_and_five_scripts_run_at_once() {
    if !wanted("sends") {
        return;
    }
    let cloud = Whole::start().await;
    let ids = cloud.launch(3, "").await;
    let failing = |errors: &str| {
        let script = json!({ "commands": ["exit 1"] });
        json!({ "InstanceIds": ids, "Parameters": script, "MaxConcurrency": "1", "MaxErrors": errors })
    };
    for (errors, expected) in [("0", ["Failed", "Terminated", "Terminated"]), ("1", ["Failed", "Failed", "Terminated"])] {
        let command = cloud.begin_with(failing(errors)).await;
        let mut details = Vec::new();
        for id in &ids {
            details.push(text(&cloud.ended(&command, id).await, "StatusDetails").to_owned());
        }
        assert_eq!(details, expected, "MaxErrors {errors}");
    }
    let script = "mkdir -p /run/many; touch /run/many/$$; sleep 2; ls /run/many | wc -l; rm /run/many/$$";
    let mut commands = Vec::new();
    for _ in 0..8 {
        commands.push(cloud.begin(&ids[0], &[script]).await);
    }
    let mut most = 0;
    for command in commands {
        let answer = cloud.ended(&command, &ids[0]).await;
        most = most.max(end(&answer).2.trim().parse::<u32>().unwrap());
    }
    assert!((2..=5).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reads_its_own_metadata_and_user_data() {
    if !wanted("metadata") {
        return;
    }
    let cloud = Whole::start().await;
    // "#cloud-config\nwrite_files:\n- {path: /etc/hello, content: hi}\n"
    let user_data = "I2Nsb3VkLWNvbmZpZwp3cml0ZV9maWxlczoKLSB7cGF0aDogL2V0Yy9oZWxsbywgY29udGVudDogaGl9Cg==";
    let ids = cloud.launch(2, &format!("&UserData={}", user_data.replace('=', "%3D"))).await;
    let read = [
        "cloud-init status --wait >/dev/null; cat /etc/hello; echo",
        "service=http://169.254.169.254/latest",
        "token=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $service/api/token)",
        "curl -sH \"X-aws-ec2-metadata-token: $token\" $service/meta-data/instance-id; echo",
        "curl -so /dev/null -w '%{http_code}' $service/meta-data/instance-id",
    ];
    for id in &ids {
        assert_eq!(end(&cloud.run(id, &read).await), ("Success", 0, format!("hi\n{id}\n401").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_outlive_their_server_and_scripts_do_not() {
    if !wanted("restarts") {
        return;
    }
    let cloud = Whole::start().await;
    let id = cloud.launch(1, "").await.remove(0);
    let boot = ["cat /proc/1/stat | cut -d' ' -f22", "curl -so /dev/null -w '%{http_code}' http://169.254.169.254/"];
    let before = cloud.run(&id, &boot).await;
    assert!(end(&before).2.ends_with("401"));
    let command = cloud.begin(&id, &["sleep 600; echo never"]).await;
    let started = Instant::now();
    while cloud.invocation(&command, &id).await["Status"] != "InProgress" {
        assert!(started.elapsed() < PATIENCE);
    }
    // The state is written within 50 ms.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill(cloud.pid);
    wait_dead(cloud.pid);

    let again = start(&Config::new(&cloud.state_dir, cache_dir())).await.unwrap();
    assert_eq!(again.endpoint, format!("http://{}", cloud.address));
    let answer = cloud.ended(&command, &id).await;
    assert_eq!((text(&answer, "Status"), end(&answer)), ("Failed", ("Terminated", -1, "")));
    // The same boot, and the metadata service is back.
    assert_eq!(end(&cloud.run(&id, &boot).await), end(&before));
    loop {
        let left = cloud.run(&id, &["pgrep -a sleep; true"]).await;
        if end(&left).2.is_empty() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{left}");
    }

    // Down ends the node; the next up finds it stopped, and it starts again.
    lifecycle::down(&cloud.state_dir).await.unwrap();
    let status = lifecycle::status(&cloud.state_dir).await.unwrap();
    assert_eq!(status.nodes.unwrap()[0].state, "stopped");
    start(&Config::new(&cloud.state_dir, cache_dir())).await.unwrap();
    let ids = [id];
    cloud.wait_ping(&ids, "ConnectionLost").await;
    cloud.ec2(&format!("Action=StartInstances&Version=2016-11-15&InstanceId.1={}", ids[0])).await;
    cloud.wait_ping(&ids, "Online").await;
    assert_eq!(end(&cloud.run(&ids[0], &["echo back"]).await).2, "back\n");
}

fn wait_dead(pid: i32) {
    let started = Instant::now();
    let is_alive = || std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // A killed child of this process stays as a zombie.
    while is_alive().is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}
