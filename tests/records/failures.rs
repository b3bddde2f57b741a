//! What is kept of an apply that failed, before anything of it is removed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Account;

/// The one folder of evidence below a project.
fn evidence(project: &Path) -> PathBuf {
    let folder = project.join("results/failures");
    let folders: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("evidence was kept").map(|entry| entry.expect("it can be listed").path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

fn instances(account: &Account) -> Vec<Value> {
    account.everything().into_iter().filter(|part| part["kind"] == "instance").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_boot_leaves_evidence_and_is_terminated() {
    let account = Account::open().await;
    // A record takes commands and cannot run them: to an apply it is a node whose boot never ends well.
    let spec = account.spec("broken", "{cidr: 10.42.0.0/24}", "").display().to_string();
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("error: mesh: the plan could not be carried out") && err.contains("did not boot"), "{err}");
    let folder = evidence(account.path());
    let name = folder.file_name().and_then(|name| name.to_str()).expect("it is UTF-8").to_owned();
    assert!(name.ends_with("Z-broken-mesh") && err.contains(&name), "{name}: {err}");
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mode = std::fs::metadata(folder.join("cause.json")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let cause: Value = serde_json::from_str(&file("cause.json")).expect("it is JSON");
    assert_eq!((&cause["cluster"], &cause["address"]), (&"broken".into(), &"mesh".into()));
    let failed = cause["instance"]["id"].as_str().expect("the instance is named").to_owned();
    assert!(cause["causes"][0].as_str().is_some_and(|text| text.contains(&failed)), "{cause:#}");
    assert!(cause["commands"].as_array().is_some_and(|list| list.iter().any(|it| it["status_details"].is_string())), "{cause:#}");
    let calls: Vec<Value> =
        file("calls.jsonl").lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let launched = calls.iter().find(|call| call["action"] == "RunInstances").expect("its launch is in its history");
    assert_eq!((&launched["service"], &launched["outcome"]), (&"EC2".into(), &"ok".into()), "{launched}");
    assert!(launched["request_id"].as_str().is_some_and(|id| id.len() > 8), "{launched}");
    assert!(calls.iter().any(|call| call["action"] == "SendCommand"), "{calls:#?}");

    // The failed node went, the others stay for the next apply.
    let left = instances(&account);
    assert_eq!(left.len(), 2, "{left:#?}");
    assert!(left.iter().all(|part| part["id"] != failed.as_str()));
    assert!(err.contains(&format!("{failed} failed before it was part of the cluster and was terminated")), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_node_is_kept_if_the_user_wants_to_look_at_it() {
    let account = Account::open().await;
    let spec = account.spec("broken", "{cidr: 10.42.0.0/24}", "").display().to_string();
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes", "--on-error", "keep"]);
    assert!(code == 1 && err.contains("hint: look at it: ewulf ssh i-"), "{err}");
    assert_eq!(instances(&account).len(), 3);
    assert!(evidence(account.path()).join("cause.json").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_launch_exits_with_4_and_says_what_was_tried_and_what_to_do() {
    let account = Account::open().await;
    let spec = account.spec("refused", "{cidr: 10.42.0.0/24}", "ready: running").display().to_string();
    let quota = "`Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (vCPUs)`";
    let ended = "ended while it was starting";
    let rows = [
        ("{capacity: {left: 0}}", vec!["no room for", "× c7a.large, on-demand, in us-east-1"]),
        ("{error: {code: VcpuLimitExceeded}}", vec![quota]),
        ("deny", vec!["allow ec2:RunInstances and ec2:CreateTags;"]),
        ("{launch-failure: {code: Server.InsufficientInstanceCapacity}}", vec![ended, "no room for", "results/failures/"]),
        ("{launch-failure: {code: Client.VolumeLimitExceeded}}", vec![ended, "`Storage for General Purpose SSD (gp3)"]),
    ];
    for (fault, words) in rows {
        let rules = format!("rules:\n  - action: RunInstances\n    fault: {fault}\n");
        std::fs::write(account.path().join("faults.yaml"), rules).expect("the folder is writable");
        account.succeed(&["local", "faults", "load", "faults.yaml"]);
        let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
        assert_eq!(code, 4, "{fault}: {err}");
        for part in words {
            assert!(err.contains(part), "{fault}: {part} is missing in\n{err}");
        }
    }
    account.succeed(&["local", "faults", "clear"]);
    account.succeed(&["apply", &spec, "--yes"]);
    let (code, out, err) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(instances(&account).len(), 3);
}
