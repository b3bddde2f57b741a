//! Documents, sessions, settings and labels through the API.

use serde_json::json;

use crate::client::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn the_one_document_is_listed_described_and_read() {
    let bench = Bench::start().await;
    let filters = json!({ "Filters": [{ "Key": "Owner", "Values": ["Amazon"] }] });
    let listed = bench.ssm("ListDocuments", filters).await.json();
    assert_eq!(listed["DocumentIdentifiers"][0]["Name"], "AWS-RunShellScript");
    let none = json!({ "Filters": [{ "Key": "PlatformTypes", "Values": ["Windows"] }] });
    assert_eq!(bench.ssm("ListDocuments", none).await.json(), json!({ "DocumentIdentifiers": [] }));
    let described = bench.ssm("DescribeDocument", json!({ "Name": "AWS-RunShellScript" })).await.json();
    let names: Vec<&str> =
        described["Document"]["Parameters"].as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["commands", "workingDirectory", "executionTimeout"]);
    let read = bench.ssm("GetDocument", json!({ "Name": "AWS-RunShellScript" })).await.json();
    let content: serde_json::Value = serde_json::from_str(read["Content"].as_str().unwrap()).unwrap();
    assert_eq!(content["parameters"]["executionTimeout"]["default"], "3600");
    for (call, code) in [
        (json!({ "Name": "AWS-RunPowerShellScript" }), "InvalidDocument"),
        (json!({ "Name": "AWS-RunShellScript", "DocumentVersion": "7" }), "InvalidDocumentVersion"),
    ] {
        assert_eq!(bench.ssm("GetDocument", call).await.code(), code);
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_refused_by_name_and_an_unknown_node_as_unconnected() {
    let bench = Bench::start().await;
    let id = bench.launch(1, "").await.remove(0);
    assert_eq!(bench.ssm("GetConnectionStatus", json!({ "Target": id })).await.json()["Status"], "connected");
    let absent = "i-0123456789abcdef0";
    assert_eq!(bench.ssm("GetConnectionStatus", json!({ "Target": absent })).await.json()["Status"], "notconnected");
    assert_eq!(bench.ssm("StartSession", json!({ "Target": absent })).await.code(), "TargetNotConnected");
    let refused = bench.ssm("StartSession", json!({ "Target": id, "DocumentName": "AWS-StartSSHSession" })).await;
    assert_eq!(refused.code(), "UnsupportedOperationException");
    assert!(refused.body.contains("StartSession"));
    assert_eq!(bench.ssm("StartSession", json!({ "Target": id, "DocumentName": "None" })).await.code(), "InvalidDocument");
    assert_eq!(bench.ssm("DescribeSessions", json!({ "State": "Active" })).await.json(), json!({ "Sessions": [] }));
    assert_eq!(bench.ssm("DescribeSessions", json!({ "State": "Lost" })).await.code(), "ValidationException");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_settings_have_their_defaults() {
    let bench = Bench::start().await;
    let setting = "/ssm/managed-instance/default-ec2-instance-management-role";
    let answer = bench.ssm("GetServiceSetting", json!({ "SettingId": setting })).await.json();
    assert_eq!(
        (&answer["ServiceSetting"]["SettingValue"], &answer["ServiceSetting"]["Status"]),
        (&json!("$None"), &json!("Default"))
    );
    assert_eq!(bench.ssm("GetServiceSetting", json!({ "SettingId": "/ssm/none" })).await.code(), "ServiceSettingNotFound");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_stand_for_versions() {
    let bench = Bench::start().await;
    for value in ["one", "two"] {
        let put = json!({ "Name": "/p", "Value": value, "Type": "String", "Overwrite": true });
        assert_eq!(bench.ssm("PutParameter", put).await.status, 200);
    }
    let label = json!({ "Name": "/p", "ParameterVersion": 1, "Labels": ["prod", "aws-x", "1st"] });
    let answer = bench.ssm("LabelParameterVersion", label).await.json();
    assert_eq!(answer, json!({ "InvalidLabels": ["aws-x", "1st"], "ParameterVersion": 1 }));
    let read = bench.ssm("GetParameter", json!({ "Name": "/p:prod" })).await.json();
    assert_eq!((&read["Parameter"]["Value"], &read["Parameter"]["Selector"]), (&json!("one"), &json!(":prod")));
    // A label moves: it stands for one version at a time.
    bench.ssm("LabelParameterVersion", json!({ "Name": "/p", "Labels": ["prod"] })).await;
    assert_eq!(bench.ssm("GetParameter", json!({ "Name": "/p:prod" })).await.json()["Parameter"]["Value"], "two");
    let history = bench.ssm("GetParameterHistory", json!({ "Name": "/p" })).await.json();
    assert_eq!((&history["Parameters"][0]["Labels"], &history["Parameters"][1]["Labels"]), (&json!([]), &json!(["prod"])));
    assert!(history["Parameters"][0].get("ARN").is_none(), "{history}");
    let many: Vec<String> = (0..10).map(|number| format!("l{number}")).collect();
    let answer = bench.ssm("LabelParameterVersion", json!({ "Name": "/p", "Labels": many })).await;
    assert_eq!(answer.code(), "ParameterVersionLabelLimitExceeded");
    let off = json!({ "Name": "/p", "ParameterVersion": 2, "Labels": ["prod", "none"] });
    let answer = bench.ssm("UnlabelParameterVersion", off).await.json();
    assert_eq!(answer, json!({ "RemovedLabels": ["prod"], "InvalidLabels": ["none"] }));
    assert_eq!(bench.ssm("GetParameter", json!({ "Name": "/p:prod" })).await.code(), "ParameterVersionNotFound");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn public_parameters_name_images_that_exist() {
    let bench = Bench::start().await;
    for name in [
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
        "/aws/service/debian/release/12/latest/amd64",
        "/aws/service/debian/release/13/latest/amd64",
    ] {
        let image = bench.ssm("GetParameter", json!({ "Name": name })).await.json();
        let image = image["Parameter"]["Value"].as_str().unwrap_or_else(|| panic!("{name}: {image}")).to_owned();
        let images = bench.ec2(&format!("Action=DescribeImages&Version=2016-11-15&ImageId.1={image}")).await;
        assert!(images.body.contains("<imageOwnerId>"), "{name}: {images:?}");
    }
    bench.stop().await;
}
