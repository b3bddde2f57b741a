use super::bench::{Bench, texts};

async fn until_volume(bench: &Bench, id: &str, state: &str) {
    bench
        .until(|bench| {
            let held = bench.cloud.state();
            held.ec2.volumes.get(id).map(|volume| volume.state.wire()) == Some(state)
        })
        .await;
}

#[tokio::test]
async fn a_volume_is_made_attached_grown_detached_and_deleted() {
    let bench = Bench::new();
    let id = bench.launch(1, "Placement.AvailabilityZone=us-east-1b").await.remove(0);
    let answer = bench.ok("CreateVolume", "AvailabilityZone=us-east-1b&Size=10&VolumeType=gp3").await;
    let volume = texts(&answer, "volumeId").remove(0);
    assert_eq!(texts(&answer, "status"), ["creating"]);
    until_volume(&bench, &volume, "available").await;
    let attach = format!("VolumeId={volume}&InstanceId={id}&Device=/dev/sdf");
    assert_eq!(bench.first("AttachVolume", &attach, "status").await, "attaching");
    bench.until(|bench| bench.did(&format!("attach_volume {id} {volume} /dev/sdf"))).await;
    until_volume(&bench, &volume, "in-use").await;
    assert_eq!(bench.code("AttachVolume", &attach).await, "VolumeInUse");
    assert_eq!(bench.code("DeleteVolume", &format!("VolumeId={volume}")).await, "VolumeInUse");
    bench
        .until(|bench| {
            let state = bench.cloud.state();
            let device = state.ec2.instance(&id).and_then(|instance| instance.device_of(&volume).cloned());
            device.is_some_and(|device| device.state.wire() == "attached")
        })
        .await;
    assert_eq!(bench.code("ModifyVolume", &format!("VolumeId={volume}&Size=5")).await, "InvalidParameterValue");
    bench.ok("ModifyVolume", &format!("VolumeId={volume}&Size=20")).await;
    bench.until(|bench| bench.did(&format!("grow_volume {volume} 20"))).await;
    assert_eq!(bench.first("DescribeVolumesModifications", &format!("VolumeId.1={volume}"), "targetSize").await, "20");
    bench.ok("DetachVolume", &format!("VolumeId={volume}")).await;
    until_volume(&bench, &volume, "available").await;
    assert_eq!(bench.code("DetachVolume", &format!("VolumeId={volume}")).await, "IncorrectState");
    bench.ok("DeleteVolume", &format!("VolumeId={volume}")).await;
    bench.until(|bench| bench.did(&format!("delete_volume {volume}"))).await;
    bench.until(|bench| !bench.cloud.state().ec2.volumes.contains_key(&volume)).await;
}

#[tokio::test]
async fn volumes_are_attached_in_their_zone_to_a_free_device() {
    let bench = Bench::new();
    let id = bench.launch(1, "Placement.AvailabilityZone=us-east-1b").await.remove(0);
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=1", "volumeId").await;
    until_volume(&bench, &volume, "available").await;
    let attach = |device: &str| format!("VolumeId={volume}&InstanceId={id}&Device={device}");
    assert_eq!(bench.code("AttachVolume", &attach("/dev/sdf")).await, "InvalidVolume.ZoneMismatch");
    let near = bench.first("CreateVolume", "AvailabilityZone=us-east-1b&Size=1", "volumeId").await;
    until_volume(&bench, &near, "available").await;
    let taken = format!("VolumeId={near}&InstanceId={id}&Device=/dev/xvda");
    assert_eq!(bench.code("AttachVolume", &taken).await, "InvalidParameterValue");
    assert_eq!(bench.code("CreateVolume", "AvailabilityZone=us-east-1z&Size=1").await, "InvalidZone.NotFound");
}

#[tokio::test]
async fn volumes_of_a_launch_go_or_stay_as_told() {
    let bench = Bench::new();
    let devices = "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=3&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true\
                   &BlockDeviceMapping.2.DeviceName=/dev/sdg&BlockDeviceMapping.2.Ebs.VolumeSize=4\
                   &BlockDeviceMapping.3.DeviceName=/dev/xvda&BlockDeviceMapping.3.Ebs.VolumeSize=50";
    let id = bench.launch(1, devices).await.remove(0);
    let booted: Vec<String> = bench.boot(&id).devices.iter().map(|device| device.device.clone()).collect();
    assert_eq!(booted, ["/dev/sdf", "/dev/sdg"]);
    let filter = |size: u64| format!("Filter.1.Name=size&Filter.1.Value.1={size}");
    let goes = bench.first("DescribeVolumes", &filter(3), "volumeId").await;
    let stays = bench.first("DescribeVolumes", &filter(4), "volumeId").await;
    assert_eq!(bench.all("DescribeVolumes", &filter(50), "device").await, ["/dev/xvda"]);
    assert!(bench.did(&format!("create_volume {goes} 3 None")));
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until(|bench| bench.did(&format!("delete_volume {goes}"))).await;
    until_volume(&bench, &stays, "available").await;
    bench.until(|bench| !bench.cloud.state().ec2.volumes.contains_key(&goes)).await;
    assert_eq!(bench.all("DescribeVolumes", "", "volumeId").await, [stays]);
}

#[tokio::test]
async fn a_stopped_node_gets_its_new_volume_at_its_next_boot() {
    let bench = Bench::new();
    let id = bench.launch(1, "Placement.AvailabilityZone=us-east-1a").await.remove(0);
    bench.ok("StopInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "stopped").await;
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=1", "volumeId").await;
    until_volume(&bench, &volume, "available").await;
    bench.ok("AttachVolume", &format!("VolumeId={volume}&InstanceId={id}&Device=/dev/sdh")).await;
    bench.ok("StartInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "running").await;
    assert_eq!(bench.boot(&id).devices[0].volume_id, volume);
    assert!(!bench.did(&format!("attach_volume {id} {volume} /dev/sdh")));
}

#[tokio::test]
async fn a_volume_token_makes_one_volume() {
    let bench = Bench::new();
    let form = "AvailabilityZone=us-east-1a&Size=1&ClientToken=t";
    let id = bench.first("CreateVolume", form, "volumeId").await;
    assert_eq!(bench.first("CreateVolume", form, "volumeId").await, id);
    assert_eq!(bench.code("CreateVolume", &form.replace("Size=1", "Size=2")).await, "IdempotentParameterMismatch");
}

#[tokio::test]
async fn a_volume_comes_back_from_its_snapshot() {
    let bench = Bench::new();
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=7", "volumeId").await;
    until_volume(&bench, &volume, "available").await;
    let answer = bench.ok("CreateSnapshot", &format!("VolumeId={volume}")).await;
    assert_eq!(texts(&answer, "status"), ["pending"]);
    let snapshot = texts(&answer, "snapshotId").remove(0);
    bench.until(|bench| bench.cloud.state().ec2.snapshots[&snapshot].state.wire() == "completed").await;
    let small = format!("AvailabilityZone=us-east-1a&Size=6&SnapshotId={snapshot}");
    assert_eq!(bench.code("CreateVolume", &small).await, "InvalidParameterValue");
    let copy = bench.first("CreateVolume", &format!("AvailabilityZone=us-east-1a&SnapshotId={snapshot}"), "volumeId").await;
    bench.until(|bench| bench.did(&format!("create_volume {copy} 7 Some(\"{snapshot}\")"))).await;
    bench.ok("DeleteSnapshot", &format!("SnapshotId={snapshot}")).await;
    bench.until(|bench| bench.did(&format!("delete_volume_snapshot {snapshot}"))).await;
}
