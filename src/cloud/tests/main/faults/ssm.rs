//! Commands that are not known yet, or never arrive.

use serde_json::{Value, json};

use super::eventually;
use crate::client::Bench;

async fn send(bench: &Bench, id: &str) -> String {
    let call = json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [id], "Parameters": { "commands": ["true"] } });
    bench.ssm("SendCommand", call).await.json()["Command"]["CommandId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invocations_of_a_new_command_are_not_known_at_first() {
    let bench = Bench::start().await;
    let id = bench.launch(1, "").await.remove(0);
    bench.rules(json!([{ "fault": { "invocation-lag": { "seconds": 0.5 } } }])).await;
    let command = send(&bench, &id).await;
    let get = json!({ "CommandId": command, "InstanceId": id });
    assert_eq!(bench.ssm("GetCommandInvocation", get.clone()).await.code(), "InvocationDoesNotExist");
    let list = bench.ssm("ListCommandInvocations", json!({ "CommandId": command })).await.json();
    assert_eq!(list["CommandInvocations"], json!([]));
    let commands = bench.ssm("ListCommands", json!({ "CommandId": command })).await.json();
    assert_eq!(commands["Commands"].as_array().map(Vec::len), Some(1), "the command itself is known");
    eventually(async || (bench.ssm("GetCommandInvocation", get.clone()).await.status == 200).then_some(())).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_may_never_reach_its_instance() {
    let bench = Bench::start().await;
    let id = bench.launch(1, "").await.remove(0);
    for (fault, status) in
        [("delivery-timed-out", ("TimedOut", "DeliveryTimedOut")), ("undeliverable", ("Failed", "Undeliverable"))]
    {
        bench.rules(json!([{ "when": { "resource": id }, "count": 1, "fault": fault }])).await;
        let end: Value = bench.ended(&send(&bench, &id).await, &id).await;
        assert_eq!((&end["Status"], &end["StatusDetails"]), (&json!(status.0), &json!(status.1)));
        assert_eq!(end["ExecutionStartDateTime"], "", "it never ran");
    }
    bench.stop().await;
}
