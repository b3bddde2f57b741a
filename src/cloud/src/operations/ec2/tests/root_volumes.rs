//! Roots replaced under running instances.

use super::bench::{Bench, texts};

async fn until_ended(bench: &Bench, task: &str, state: &str) {
    bench.until(|bench| bench.cloud.state().ec2.root_replacements[task].state.wire() == state).await;
}

async fn root_of(bench: &Bench, id: &str) -> String {
    let form = format!(
        "Filter.1.Name=attachment.instance-id&Filter.1.Value.1={id}&Filter.2.Name=attachment.device&Filter.2.Value.1=/dev/xvda"
    );
    bench.first("DescribeVolumes", &form, "volumeId").await
}

#[tokio::test]
async fn a_running_instance_gets_its_first_root_back() {
    let bench = Bench::new();
    let devices = "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=3";
    let id = bench.launch(1, devices).await.remove(0);
    let (address, old) = (bench.boot(&id).address, root_of(&bench, &id).await);
    let kept = format!("InstanceId={id}&ClientToken=t");
    assert_eq!(bench.code("CreateReplaceRootVolumeTask", &kept).await, "UnsupportedOperation");
    let form = format!(
        "{kept}&DeleteReplacedRootVolume=true&TagSpecification.1.ResourceType=replace-root-volume-task\
         &TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1"
    );
    let answer = bench.ok("CreateReplaceRootVolumeTask", &form).await;
    assert_eq!((texts(&answer, "taskState"), texts(&answer, "key")), (vec!["pending".into()], vec!["a".into()]));
    let task = texts(&answer, "replaceRootVolumeTaskId").remove(0);
    assert_eq!(bench.first("CreateReplaceRootVolumeTask", &form, "replaceRootVolumeTaskId").await, task);
    until_ended(&bench, &task, "succeeded").await;
    for deed in [format!("stop {id} false"), format!("destroy {id}"), format!("create_root {id} [\"debian-13\"]")] {
        assert!(bench.did(&deed), "{deed}");
    }
    let boot = bench.boot(&id);
    assert_eq!((boot.address, boot.devices.len()), (address, 1));
    bench.until_state(&id, "running").await;
    let new = root_of(&bench, &id).await;
    assert_ne!(new, old);
    assert_eq!(bench.code("DescribeVolumes", &format!("VolumeId.1={old}")).await, "InvalidVolume.NotFound");
    let answer = bench.ok("DescribeReplaceRootVolumeTasks", &format!("Filter.1.Name=instance-id&Filter.1.Value.1={id}")).await;
    assert_eq!((texts(&answer, "taskState"), texts(&answer, "completeTime").len()), (vec!["succeeded".into()], 1));
    let unknown = "ReplaceRootVolumeTaskId.1=replacevol-0123456789abcdef0";
    assert_eq!(bench.code("DescribeReplaceRootVolumeTasks", unknown).await, "InvalidReplaceRootVolumeTaskId.NotFound");
}

#[tokio::test]
async fn a_root_comes_from_an_image_or_from_a_snapshot_of_its_own() {
    let bench = Bench::new();
    let ids = bench.launch(2, "").await;
    for id in &ids {
        bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
        bench.until_state(id, "stopped").await;
    }
    let root = root_of(&bench, &ids[0]).await;
    let snapshot = bench.first("CreateSnapshot", &format!("VolumeId={root}"), "snapshotId").await;
    bench.until_completed(&snapshot).await;
    let image = bench.first("CreateImage", &format!("InstanceId={}&Name=one", ids[1]), "imageId").await;
    bench.until(|bench| bench.cloud.state().ec2.images[&image].state.wire() == "available").await;
    let form = |id: &str, rest: &str| format!("InstanceId={id}&DeleteReplacedRootVolume=true&{rest}");
    let of_snapshot = |id: &str| form(id, &format!("SnapshotId={snapshot}"));
    assert_eq!(bench.code("CreateReplaceRootVolumeTask", &of_snapshot(&ids[0])).await, "IncorrectInstanceState");
    for id in &ids {
        bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
        bench.until_state(id, "running").await;
    }
    assert_eq!(bench.code("CreateReplaceRootVolumeTask", &of_snapshot(&ids[1])).await, "InvalidParameterValue");
    let both = form(&ids[0], &format!("SnapshotId={snapshot}&ImageId={image}"));
    assert_eq!(bench.code("CreateReplaceRootVolumeTask", &both).await, "InvalidParameterCombination");
    let one = bench.first("CreateReplaceRootVolumeTask", &of_snapshot(&ids[0]), "replaceRootVolumeTaskId").await;
    until_ended(&bench, &one, "succeeded").await;
    assert!(bench.did(&format!("create_root {} [\"debian-13\", \"{snapshot}\"]", ids[0])));
    let layers = bench.cloud.state().ec2.images[&image].layers.clone();
    let of_image = form(&ids[0], &format!("ImageId={image}"));
    let other = bench.first("CreateReplaceRootVolumeTask", &of_image, "replaceRootVolumeTaskId").await;
    until_ended(&bench, &other, "succeeded").await;
    assert!(bench.did(&format!("create_root {} {layers:?}", ids[0])));
}

#[tokio::test]
async fn records_keep_the_replaced_volume_and_are_imaged_while_they_run() {
    let bench = Bench::of_records();
    let id = bench.launch(1, "").await.remove(0);
    let old = root_of(&bench, &id).await;
    let task = bench.first("CreateReplaceRootVolumeTask", &format!("InstanceId={id}"), "replaceRootVolumeTaskId").await;
    until_ended(&bench, &task, "succeeded").await;
    assert_eq!(bench.all("DescribeVolumes", &format!("VolumeId.1={old}"), "status").await, ["available"]);
    let form = format!("InstanceId={id}&Name=one&NoReboot=true");
    let before = bench.deeds().iter().filter(|deed| deed.starts_with("stop")).count();
    let image = bench.first("CreateImage", &form, "imageId").await;
    bench.until(|bench| bench.cloud.state().ec2.images[&image].state.wire() == "available").await;
    assert_eq!(bench.deeds().iter().filter(|deed| deed.starts_with("stop")).count(), before);
    let again = form.replace("=one", "=two");
    assert_eq!(bench.code("CreateImage", &again).await, "SnapshotCreationPerVolumeRateExceeded");
    bench.age_snapshots(15);
    let long = format!("{again}&Description={}", "d".repeat(256));
    assert_eq!(bench.code("CreateImage", &long).await, "InvalidParameterValue");
    bench.ok("CreateImage", &again).await;
}
