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
    assert!(texts(&answer, "fastRestored").is_empty(), "DescribeVolumes alone tells it");
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
    assert_eq!(bench.code("ModifyVolume", &format!("VolumeId={volume}&Size=30")).await, "IncorrectModificationState");
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

/// Lets so many seconds pass for a volume's last modification.
fn age_modification(bench: &Bench, volume: &str, seconds: i64) {
    use jiff::ToSpan as _;
    let mut state = bench.cloud.state();
    let modification = state.ec2.modifications.get_mut(volume).expect("a modification");
    modification.end = modification.end.map(|end| end.checked_sub(seconds.seconds()).expect("an earlier time"));
}

#[tokio::test]
async fn a_modified_volume_is_optimized_for_a_while_and_modified_four_times_a_day() {
    let bench = Bench::new();
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=1&VolumeType=gp3", "volumeId").await;
    until_volume(&bench, &volume, "available").await;
    let shown = format!("VolumeId.1={volume}");
    for size in 2..=5 {
        let answer = bench.ok("ModifyVolume", &format!("VolumeId={volume}&Size={size}")).await;
        assert_eq!(texts(&answer, "modificationState"), ["modifying"]);
        bench.until(|bench| bench.cloud.state().ec2.modifications[&volume].end.is_some()).await;
        assert_eq!(bench.all("DescribeVolumesModifications", &shown, "modificationState").await, ["optimizing"]);
        age_modification(&bench, &volume, 2);
        let answer = bench.ok("DescribeVolumesModifications", &shown).await;
        assert_eq!(
            (texts(&answer, "modificationState"), texts(&answer, "progress")),
            (vec!["completed".into()], vec!["100".into()])
        );
    }
    let more = format!("VolumeId={volume}&Size=9");
    assert_eq!(bench.code("ModifyVolume", &more).await, "VolumeModificationRateExceeded");
    {
        use jiff::ToSpan as _;
        let mut state = bench.cloud.state();
        let oldest = &mut state.ec2.volumes.get_mut(&volume).expect("the volume").modified[0];
        *oldest = oldest.checked_sub(24.hours()).expect("an earlier time");
    }
    bench.ok("ModifyVolume", &more).await;
    assert_eq!(bench.code("DescribeVolumesModifications", "MaxResults=501").await, "InvalidParameterValue");
}

#[tokio::test]
async fn performance_is_in_proportion_to_size() {
    let bench = Bench::new();
    let form = |rest: &str| format!("AvailabilityZone=us-east-1a&{rest}");
    for refused in [
        "Size=7&VolumeType=gp3&Iops=3501",
        "Size=100&VolumeType=gp3&Throughput=751",
        "Size=10&VolumeType=io1&Iops=501",
        "Size=4&VolumeType=io2&Iops=4001",
    ] {
        assert_eq!(bench.code("CreateVolume", &form(refused)).await, "InvalidParameterValue", "{refused}");
    }
    for admitted in [
        "Size=1&VolumeType=gp3",
        "Size=7&VolumeType=gp3&Iops=3500&Throughput=875",
        "Size=10&VolumeType=io1&Iops=500",
        "Size=4&VolumeType=io2&Iops=4000",
    ] {
        bench.ok("CreateVolume", &form(admitted)).await;
    }
}

#[tokio::test]
async fn device_names_of_a_launch_are_those_of_ebs() {
    let bench = Bench::new();
    let launch = |device: &str| {
        format!(
            "ImageId={}&InstanceType=c7i.large&MinCount=1&MaxCount=1\
             &BlockDeviceMapping.1.DeviceName={device}&BlockDeviceMapping.1.Ebs.VolumeSize=1",
            super::bench::BASE
        )
    };
    for refused in ["sdf", "/dev/nvme1n1", "/dev/sd", "/dev/sdf/../x"] {
        assert_eq!(bench.code("RunInstances", &launch(refused)).await, "InvalidParameterValue", "{refused}");
    }
    bench.ok("RunInstances", &launch("/dev/xvdf")).await;
}

#[tokio::test]
async fn volumes_tell_their_status_and_their_attribute() {
    let bench = Bench::new();
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=4&VolumeType=io2&Iops=100", "volumeId").await;
    until_volume(&bench, &volume, "available").await;
    let answer = bench.ok("DescribeVolumeStatus", &format!("VolumeId.1={volume}")).await;
    assert_eq!(texts(&answer, "name"), ["io-enabled", "io-performance"]);
    assert!(answer.contains("<status>ok</status>") && answer.contains("<status>normal</status>"), "{answer}");
    let impaired = "Filter.1.Name=volume-status.status&Filter.1.Value.1=impaired";
    assert!(bench.all("DescribeVolumeStatus", impaired, "volumeId").await.is_empty());
    let attribute = format!("VolumeId={volume}&Attribute=autoEnableIO");
    assert_eq!(bench.first("DescribeVolumeAttribute", &attribute, "value").await, "false");
    bench.ok("ModifyVolumeAttribute", &format!("VolumeId={volume}&AutoEnableIO.Value=true")).await;
    assert_eq!(bench.first("DescribeVolumeAttribute", &attribute, "value").await, "true");
    assert_eq!(bench.code("DescribeVolumeAttribute", &attribute.replace("autoEnableIO", "x")).await, "InvalidParameterValue");
}
