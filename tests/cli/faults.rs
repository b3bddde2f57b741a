//! The local cloud that goes wrong on request, from the command line, without nodes.

use std::path::Path;

use serde_json::Value;

use super::{folder, run};

const RULES: &str = "\
seed: 7
rules:
  - id: denied
    action: CreateVpc
    fault: deny
  - when: {nth_mutating: 3}
    fault: {delay: {seconds: 0.05}}
";

fn local(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    run(folder, &[&["local"], arguments, &["--local-state", "cloud"]].concat())
}

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Ends the cloud however the test ends.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        local(self.0, &["reset", "--yes"]);
    }
}

#[test]
fn faults_need_a_cloud_that_is_up_and_are_read_before_it_is_asked() {
    let folder = folder();
    let (code, _, err) = local(folder.path(), &["faults", "list"]);
    assert!(code == 1 && err.contains("is down") && err.contains("sudo ewulf local up"), "{err}");
    std::fs::write(folder.path().join("faults.yaml"), "rules:\n  - fault: capasity\n").unwrap();
    let (code, _, err) = local(folder.path(), &["faults", "load", "faults.yaml"]);
    assert!(code == 3 && err.contains("faults.yaml:2") && err.contains("unknown variant `capasity`"), "{err}");
    let (code, _, err) = local(folder.path(), &["faults", "add", "delay"]);
    assert!(code == 3 && err.contains("missing field `seconds`"), "{err}");
    assert!(!folder.path().join("cloud").exists());
}

#[test]
fn rules_are_loaded_added_shown_and_cleared_in_a_cloud_of_records() {
    let folder = folder();
    let path = folder.path();
    let _down = Down(path);
    let (code, _, err) = local(path, &["up", "--records"]);
    assert_eq!(code, 0, "{err}");
    std::fs::write(path.join("faults.yaml"), RULES).unwrap();
    let (code, out, err) = local(path, &["faults", "load", "faults.yaml"]);
    assert_eq!((code, out.as_str()), (0, "2 rules are at work.\n"), "{err}");
    let add = ["faults", "add", "capacity: {left: 3}", "--id", "scarce", "--type", "c7i.*", "--market", "spot", "--count", "2"];
    let (code, out, err) = local(path, &add);
    assert_eq!((code, out.as_str()), (0, "Rule scarce is at work.\n"), "{err}");
    let (_, out, _) = local(path, &["faults", "list"]);
    for words in
        ["Seed: 7", "denied", "* CreateVpc", "nth mutating 3", "delay: {seconds: 0.05}", "count 2, type c7i.*, market spot"]
    {
        assert!(out.contains(words), "{words} in {out}");
    }
    let (_, out, _) = local(path, &["faults", "clear", "denied"]);
    assert_eq!(out, "Removed denied.\n");
    let (_, out, _) = local(path, &["faults", "list", "--json"]);
    assert_eq!(json(&out)["rules"][1]["fault"]["capacity"]["left"], 3);
    let (code, _, err) = local(path, &["faults", "clear", "denied"]);
    assert!(code == 3 && err.contains("rule denied does not exist"), "{err}");
    let (code, _, err) = local(path, &["faults", "node", "kill", "nobody"]);
    assert!(code == 3 && err.contains("node nobody does not run") && err.contains("ewulf local status"), "{err}");
    let (_, out, _) = local(path, &["faults", "journal"]);
    assert_eq!(out, "No call has changed anything or met a fault.\n");

    // The next start is one of records as well, and has the rules.
    assert_eq!(local(path, &["down"]).0, 0);
    let (code, _, err) = local(path, &["up"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json(&std::fs::read_to_string(path.join("cloud/config.json")).unwrap())["records"], true);
    assert_eq!(json(&local(path, &["faults", "list", "--json"]).1)["rules"].as_array().map(Vec::len), Some(2));
    let (_, out, _) = local(path, &["faults", "clear"]);
    assert_eq!(out, "No rule is at work any more.\n");
}

#[test]
fn a_cloud_that_is_up_with_nodes_is_not_turned_into_one_of_records() {
    let folder = folder();
    let path = folder.path();
    let _down = Down(path);
    assert_eq!(local(path, &["up", "--records"]).0, 0);
    let config = path.join("cloud/config.json");
    let records = std::fs::read_to_string(&config).unwrap();
    // As if it had been started with nodes.
    std::fs::write(&config, records.replace("\"records\": true", "\"records\": false")).unwrap();
    let (code, _, err) = local(path, &["up", "--records"]);
    assert!(code == 3 && err.contains("is up with real nodes") && err.contains("ewulf local reset"), "{err}");
    std::fs::write(&config, records).unwrap();
    assert_eq!(local(path, &["up", "--records"]).0, 0, "a cloud of records stays one");
}
