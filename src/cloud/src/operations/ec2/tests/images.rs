use super::bench::{BASE, Bench, texts};

async fn until_available(bench: &Bench, image: &str) {
    bench.until(|bench| bench.cloud.state().ec2.images[image].state.wire() == "available").await;
}

async fn stop(bench: &Bench, id: &str) {
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(id, "stopped").await;
}

async fn terminate(bench: &Bench, id: &str) {
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(id, "terminated").await;
}

#[tokio::test]
async fn the_public_base_image_exists_from_the_start() {
    let bench = Bench::new();
    let answer = bench.ok("DescribeImages", "Owner.1=136693071363&Filter.1.Name=name&Filter.1.Value.1=debian-13-amd64-*").await;
    assert_eq!(texts(&answer, "imageId"), [BASE]);
    assert_eq!(texts(&answer, "rootDeviceName"), ["/dev/xvda"]);
    assert_eq!(texts(&answer, "encrypted"), ["false"]);
    assert!(bench.all("DescribeImages", "Owner.1=self", "imageId").await.is_empty());
    assert_eq!(bench.code("DescribeImages", "ImageId.1=ami-0123456789abcdef0").await, "InvalidAMIID.NotFound");
    assert_eq!(bench.code("DeregisterImage", &format!("ImageId={BASE}")).await, "AuthFailure");
}

#[tokio::test]
async fn an_image_of_a_stopped_instance_freezes_its_root_and_is_launched_from() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    stop(&bench, &id).await;
    let form = format!(
        "InstanceId={id}&Name=one&TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1"
    );
    let image = bench.first("CreateImage", &form, "imageId").await;
    assert_eq!(bench.code("CreateImage", &form).await, "InvalidAMIName.Duplicate");
    until_available(&bench, &image).await;
    let snapshot = bench.first("DescribeImages", &format!("ImageId.1={image}"), "snapshotId").await;
    assert!(bench.did(&format!("freeze_layer {id} {snapshot}")));
    assert_eq!(bench.first("DescribeSnapshots", &format!("SnapshotId.1={snapshot}"), "status").await, "completed");
    let answer =
        bench.first("RunInstances", &format!("ImageId={image}&InstanceType=t3.micro&MinCount=1&MaxCount=1"), "instanceId").await;
    bench.until_state(&answer, "running").await;
    assert!(bench.did(&format!("create_root {answer} [\"debian-13\", \"{snapshot}\"]")));
}

#[tokio::test]
async fn a_layer_goes_only_when_nothing_stands_on_it() {
    let bench = Bench::new();
    let builder = bench.launch(1, "").await.remove(0);
    stop(&bench, &builder).await;
    let image = bench.first("CreateImage", &format!("InstanceId={builder}&Name=one"), "imageId").await;
    until_available(&bench, &image).await;
    let layer = bench.first("DescribeImages", &format!("ImageId.1={image}"), "snapshotId").await;
    terminate(&bench, &builder).await;
    // A child of the image, and an image made of the child.
    let launch = format!("ImageId={image}&InstanceType=t3.micro&MinCount=1&MaxCount=1");
    let child = bench.first("RunInstances", &launch, "instanceId").await;
    bench.until_state(&child, "running").await;
    stop(&bench, &child).await;
    let second = bench.first("CreateImage", &format!("InstanceId={child}&Name=two"), "imageId").await;
    until_available(&bench, &second).await;
    let upper = bench.first("DescribeImages", &format!("ImageId.1={second}"), "snapshotId").await;
    assert_eq!(bench.code("DeleteSnapshot", &format!("SnapshotId={layer}")).await, "InvalidSnapshot.InUse");
    bench.ok("DeregisterImage", &format!("ImageId={image}")).await;
    bench.ok("DeleteSnapshot", &format!("SnapshotId={layer}")).await;
    terminate(&bench, &child).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(!bench.did(&format!("delete_layer {layer}")), "the second image stands on it");
    bench.ok("DeregisterImage", &format!("ImageId={second}&DeleteAssociatedSnapshots=true")).await;
    bench.until(|bench| bench.did(&format!("delete_layer {layer}")) && bench.did(&format!("delete_layer {upper}"))).await;
    assert!(!bench.deeds().iter().any(|deed| deed == "delete_layer debian-13"));
}

#[tokio::test]
async fn an_image_of_a_running_instance_restarts_it() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let form = format!("InstanceId={id}&Name=one");
    assert_eq!(bench.code("CreateImage", &format!("{form}&NoReboot=true")).await, "UnsupportedOperation");
    let image = bench.first("CreateImage", &form, "imageId").await;
    until_available(&bench, &image).await;
    assert!(bench.did(&format!("stop {id} false")));
    bench.until_state(&id, "running").await;
}

#[tokio::test]
async fn further_volumes_become_snapshots_of_the_image_and_volumes_of_its_launches() {
    let bench = Bench::new();
    let devices = "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=3";
    let id = bench.launch(1, devices).await.remove(0);
    stop(&bench, &id).await;
    let image = bench.first("CreateImage", &format!("InstanceId={id}&Name=one"), "imageId").await;
    until_available(&bench, &image).await;
    let answer = bench.ok("DescribeImages", &format!("ImageId.1={image}")).await;
    assert_eq!(texts(&answer, "deviceName"), ["/dev/xvda", "/dev/sdf"]);
    let snapshot = texts(&answer, "snapshotId").remove(1);
    let launch = format!("ImageId={image}&InstanceType=t3.micro&MinCount=1&MaxCount=1");
    let child = bench.first("RunInstances", &launch, "instanceId").await;
    bench.until_state(&child, "running").await;
    let volume = bench.boot(&child).devices[0].volume_id.clone();
    assert!(bench.did(&format!("create_volume {volume} 3 Some(\"{snapshot}\")")));
}

#[tokio::test]
async fn a_pending_image_cannot_be_launched_and_a_lost_source_fails_it() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    assert_eq!(bench.code("CreateImage", &format!("InstanceId={id}&Name=one")).await, "InvalidParameterValue");
    assert_eq!(bench.code("CreateImage", &format!("InstanceId={id}&Name=a")).await, "InvalidAMIName.Malformed");
}
