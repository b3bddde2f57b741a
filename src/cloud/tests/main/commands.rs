//! Run Command, as far as it goes without nodes.

use serde_json::{Value, json};

use crate::client::Bench;

/// Launches one instance, named `one`.
async fn instance(bench: &Bench) -> String {
    let name = "&TagSpecification.1.ResourceType=instance\
                &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=one";
    bench.launch(1, name).await.remove(0)
}

fn script(target: Value) -> Value {
    let mut call = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] } });
    call.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_never_said_to_have_run_in_a_record() {
    let bench = Bench::start().await;
    let id = instance(&bench).await;
    let sent = bench.ssm("SendCommand", script(json!({ "InstanceIds": [id] }))).await.json();
    let command = sent["Command"]["CommandId"].as_str().unwrap().to_owned();
    let end = bench.ended(&command, &id).await;
    assert_eq!((&end["Status"], &end["StatusDetails"]), (&json!("Failed"), &json!("Undeliverable")));
    assert_eq!((&end["ResponseCode"], &end["StandardOutputContent"]), (&json!(-1), &json!("")));

    let list = bench.ssm("ListCommandInvocations", json!({ "CommandId": command, "Details": true })).await.json();
    let shown = &list["CommandInvocations"][0];
    assert_eq!((&shown["InstanceName"], &shown["CommandPlugins"][0]["Name"]), (&json!("one"), &json!("aws:runShellScript")));
    let list = bench.ssm("ListCommands", json!({ "CommandId": command })).await.json();
    let shown = &list["Commands"][0];
    assert_eq!((&shown["TargetCount"], &shown["ErrorCount"], &shown["Status"]), (&json!(1), &json!(1), &json!("Failed")));

    // It is all there after a restart.
    let bench = Bench::start_in(bench.stop().await).await;
    assert_eq!(bench.ended(&command, &id).await["StatusDetails"], "Undeliverable");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_ssm_would_refuse_are_refused() {
    let bench = Bench::start().await;
    let id = instance(&bench).await;
    let unknown = "i-00000000000000000";
    let mut document = script(json!({ "InstanceIds": [id] }));
    document["DocumentName"] = "AWS-RunPowerShellScript".into();
    let mut parameter = script(json!({ "InstanceIds": [id] }));
    parameter["Parameters"]["comands"] = json!(["true"]);
    let mut empty = script(json!({ "InstanceIds": [id] }));
    empty["Parameters"] = json!({});
    let mut large = script(json!({ "InstanceIds": [id] }));
    large["Parameters"]["commands"] = json!(["x".repeat(65 << 10)]);
    let many: Vec<String> = (0..51).map(|index| format!("i-{index:017x}")).collect();
    for (call, code) in [
        (script(json!({ "InstanceIds": [id, unknown] })), "InvalidInstanceId"),
        (script(json!({ "InstanceIds": [id, id] })), "DuplicateInstanceId"),
        (script(json!({ "InstanceIds": many })), "ValidationException"),
        (script(json!({})), "ValidationException"),
        (script(json!({ "InstanceIds": [id], "TimeoutSeconds": 29 })), "ValidationException"),
        (script(json!({ "InstanceIds": [id], "MaxErrors": "x" })), "ValidationException"),
        (script(json!({ "InstanceIds": [id], "Comment": "x".repeat(101) })), "ValidationException"),
        (document, "InvalidDocument"),
        (parameter, "InvalidParameters"),
        (empty, "InvalidParameters"),
        (large, "MaxDocumentSizeExceeded"),
    ] {
        let answer = bench.ssm("SendCommand", call).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{answer:?}");
    }
    let call = json!({ "CommandId": "00000000-0000-4000-8000-000000000000", "InstanceId": id });
    assert_eq!(bench.ssm("GetCommandInvocation", call).await.code(), "InvocationDoesNotExist");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_choose_by_tag_and_a_stopped_instance_takes_no_commands() {
    let bench = Bench::start().await;
    let id = instance(&bench).await;
    let by_tag = |value: &str| script(json!({ "Targets": [{ "Key": "tag:Name", "Values": [value] }] }));
    assert_eq!(bench.ssm("SendCommand", by_tag("one")).await.json()["Command"]["TargetCount"], 1);
    let none = bench.ssm("SendCommand", by_tag("two")).await.json();
    assert_eq!(none["Command"]["StatusDetails"], "NoInstancesInTag");

    bench.ec2(&format!("Action=StopInstances&Version=2016-11-15&InstanceId.1={id}")).await;
    bench.wait_ping(std::slice::from_ref(&id), "ConnectionLost").await;
    let answer = bench.ssm("SendCommand", script(json!({ "InstanceIds": [id] }))).await;
    assert_eq!(answer.code(), "InvalidInstanceId");
    assert!(answer.json()["message"].as_str().unwrap().contains("not in a valid state for account"));
    bench.stop().await;
}
