//! The cloud's own actions: who may use them, what they refuse, and what stays.

use std::os::unix::fs::PermissionsExt;

use ewulf_cloud::control::{self, ControlError};
use ewulf_cloud::server::{ServeError, Server};
use serde_json::json;

use crate::client::{Bench, SSM, Signer, config};

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_set_by_the_owner_alone() {
    let bench = Bench::start().await;
    let headers = [("content-type", SSM), ("x-amz-target", "LocalCloud.ClearFaults")];
    let wrong = Signer { secret: "x".repeat(40), ..bench.signer("local") };
    assert_eq!(bench.send(wrong.post(bench.address, &headers, b"{}")).await.code(), "InvalidSignatureException");
    // A signature for another service is none for this one.
    let ssm = bench.signer("ssm").post(bench.address, &headers, b"{}");
    assert_eq!(bench.send(ssm).await.code(), "UnknownOperationException");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_survive_a_restart_and_are_nobody_elses_to_read() {
    let bench = Bench::start().await;
    let endpoint = format!("http://{}", bench.address);
    let call = async |action: &str, input| control::call(bench.folder.path(), &endpoint, action, &input).await;
    let set = json!({ "seed": 7, "rules": [{ "id": "a", "action": "CreateVpc", "fault": "deny" }] });
    call("SetFaults", set).await.unwrap();
    assert_eq!(call("AddFault", json!({ "fault": { "lag": { "seconds": 1 } } })).await.unwrap(), json!({ "id": "rule-1" }));
    let before = call("ListFaults", json!({})).await.unwrap();
    let refused = call("AddFault", json!({ "fault": "capasity" })).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Refused { message, .. } if message.contains("unknown variant `capasity`")),
        "{refused}"
    );
    let twice = json!({ "rules": [{ "id": "a", "fault": "deny" }, { "id": "a", "fault": "deny" }] });
    assert!(call("SetFaults", twice).await.unwrap_err().to_string().contains("two rules have the id a"));
    assert!(call("RemoveFault", json!({ "id": "b" })).await.unwrap_err().to_string().contains("rule b does not exist"));
    assert_eq!(call("ListFaults", json!({})).await.unwrap(), before, "what is refused changes nothing");

    let folder = bench.stop().await;
    let file = folder.path().join("faults.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let bench = Bench::start_in(folder).await;
    assert_eq!(bench.local("ListFaults", json!({})).await.json(), before);
    assert_eq!(bench.ec2("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.9.0.0/16").await.code(), "UnauthorizedOperation");
    bench.local("ClearFaults", json!({})).await;
    assert!(!file.exists());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_on_rules_that_say_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.json");
    std::fs::write(&path, "{\n  \"rules\": [\n    { \"fault\": \"lost\" },\n    { \"falt\": \"lost\" }\n  ]\n}\n").unwrap();
    let error = Server::start(config(folder.path())).await.err().unwrap();
    assert!(matches!(error, ServeError::Faults { line: 4, .. }), "{error}");
    let expected = format!("{}:4:", path.display());
    assert!(error.to_string().starts_with(&expected) && error.to_string().contains("unknown field `falt`"), "{error}");
    std::fs::remove_file(&path).unwrap();
    Server::start(config(folder.path())).await.unwrap().stop().await.unwrap();
}
