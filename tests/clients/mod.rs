//! The local cloud in the eyes of clients that its authors did not write: botocore, whose service model judges every
//! answer, and the official `aws` command.

mod aws;
mod codes;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ewulf_cloud::operations;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{Ground, World, python};

/// Lists botocore and the `aws` command, each at one version.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/requirements.txt");
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/drive.py");

/// Actions that exist to be refused: service, action, and the code that says so.
const REFUSED: [(&str, &str, &str); 3] = [
    // Instant fleets are the only ones here, and DescribeFleets tells their instances.
    ("ec2", "DescribeFleetInstances", "UnsupportedOperation"),
    // Nodes are reached by ssh and by SendCommand.
    ("ssm", "StartSession", "UnsupportedOperationException"),
    // No refusal carries an encoded message.
    ("sts", "DecodeAuthorizationMessage", "InvalidAuthorizationMessageException"),
];

/// What the driver tells.
#[derive(Debug, Deserialize)]
struct Report {
    answers: usize,
    scenarios: Vec<Scenario>,
    faults: Vec<String>,
    succeeded: Vec<(String, String)>,
    refused: Vec<(String, String, String)>,
    pageable: Vec<(String, String)>,
    paged: Vec<(String, String)>,
    waiters: Vec<(String, String)>,
    waited: Vec<(String, String)>,
    codes: Vec<String>,
    parameters: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    scenario: String,
    passed: bool,
    trouble: Option<String>,
}

/// What came of one run of all scenarios, which every test here looks at.
fn report() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(|| {
        let world = World::new(None);
        let folder = &world.ground.project;
        let asked = folder.join("asked.json");
        let told = folder.join("report.json");
        std::fs::write(&asked, request(&world.ground).to_string()).expect("the folder is writable");
        let mut driver = Command::new(python::interpreter("clients", REQUIREMENTS));
        driver.arg(DRIVER).arg(&asked).arg(&told).env_clear().env("HOME", folder).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = driver.output().expect("the interpreter starts");
        assert!(output.status.success(), "the driver failed: {}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read(&told).expect("the driver has told");
        serde_json::from_slice(&text).expect("the report is as the driver writes it")
    })
}

/// What the driver needs to know of the cloud.
fn request(ground: &Ground) -> Value {
    let accepted: Vec<_> = operations::ec2::accepted_parameters().collect();
    json!({
        "endpoint": endpoint(&ground.state),
        "access_key": key(&ground.state, "aws_access_key_id"),
        "secret_key": key(&ground.state, "aws_secret_access_key"),
        "region": "us-east-1",
        "actions": operations::actions(),
        "accepted": accepted,
        "ignored": operations::ignored_parameters(),
    })
}

/// Where the cloud of a state folder listens, without any wire before it.
fn endpoint(state: &Path) -> String {
    std::fs::read_to_string(state.join("endpoint")).expect("the cloud is up").trim().to_owned()
}

fn key(state: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(state.join("credentials")).expect("the cloud wrote its key");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
    value.expect("the key is there").to_owned()
}

/// Lists of sentences that should have been empty.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{} {what}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_scenario_of_the_clients_goes_to_its_end() {
    let failed = report().scenarios.iter().filter(|scenario| !scenario.passed);
    let failed = failed.map(|one| format!("{}: {}", one.scenario, one.trouble.as_deref().unwrap_or_default()));
    assert_none("scenarios failed", &failed.collect::<Vec<_>>());
    assert!(report().scenarios.len() > 50, "only {} scenarios ran", report().scenarios.len());
}

#[test]
fn every_answer_fits_the_shapes_of_the_service_model() {
    assert_none("faults were found in answers", &report().faults);
    assert!(report().answers > 1000, "only {} answers were judged", report().answers);
}

#[test]
fn every_served_action_is_driven() {
    let mut left = Vec::new();
    for (service, action) in operations::actions() {
        let succeeded = report().succeeded.contains(&(service.to_owned(), action.to_owned()));
        match REFUSED.iter().find(|(of, name, _)| (*of, *name) == (service, action)) {
            None if succeeded => {}
            None => left.push(format!("{service} {action} never succeeded")),
            Some(_) if succeeded => left.push(format!("{service} {action} succeeded, and is listed as refused")),
            Some((_, _, code)) => {
                if !report().refused.contains(&(service.to_owned(), action.to_owned(), (*code).to_owned())) {
                    left.push(format!("{service} {action} was never refused with {code}"));
                }
            }
        }
    }
    assert_none("actions are not driven", &left);
}

#[test]
fn every_paginator_of_botocore_pages_and_every_waiter_waits() {
    let unpaged = report().pageable.iter().filter(|one| !report().paged.contains(one));
    let unpaged = unpaged.map(|(service, action)| format!("{service} {action} was never paged"));
    assert_none("paginators were not used", &unpaged.collect::<Vec<_>>());
    let unwaited = report().waiters.iter().filter(|one| !report().waited.contains(one));
    let unwaited = unwaited.map(|(service, waiter)| format!("{service} {waiter} was never waited for"));
    assert_none("waiters were not used", &unwaited.collect::<Vec<_>>());
}

#[test]
fn every_parameter_is_read_ignored_or_refused_by_name() {
    assert_none("parameters are treated wrongly", &report().parameters);
}
