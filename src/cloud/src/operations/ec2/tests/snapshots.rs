//! Copies of snapshots, snapshots of many volumes, who may use them, encryption by default.

use super::bench::{Bench, texts};

async fn until_volume(bench: &Bench, id: &str, state: &str) {
    bench.until(|bench| bench.cloud.state().ec2.volumes.get(id).map(|volume| volume.state.wire()) == Some(state)).await;
}

#[tokio::test]
async fn a_copy_of_a_snapshot_has_its_blocks() {
    let bench = Bench::new();
    let source = bench.uploaded(2).await;
    let form = format!(
        "SourceRegion=us-east-1&SourceSnapshotId={source}&Description=d&Encrypted=true\
         &TagSpecification.1.ResourceType=snapshot&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1"
    );
    let answer = bench.ok("CopySnapshot", &form).await;
    assert_eq!(texts(&answer, "key"), ["a"]);
    let copy = texts(&answer, "snapshotId").remove(0);
    bench.until_completed(&copy).await;
    bench.ok("DeleteSnapshot", &format!("SnapshotId={source}")).await;
    assert_eq!(bench.cloud_blocks().read(&copy, 0).await.unwrap().0[0], 7);
    let answer = bench.ok("DescribeSnapshots", &format!("SnapshotId.1={copy}")).await;
    assert_eq!((texts(&answer, "encrypted"), texts(&answer, "volumeId")), (vec!["true".into()], vec!["vol-ffffffff".into()]));
    let again = format!("SourceSnapshotId={copy}");
    for (form, code) in [
        (format!("SourceRegion=eu-west-1&{again}"), "InvalidParameterValue"),
        (format!("SourceRegion=us-east-1&{again}&KmsKeyId=k"), "InvalidParameterDependency"),
        (format!("SourceRegion=us-east-1&{again}&CompletionDurationMinutes=20"), "InvalidParameterValue"),
        ("SourceRegion=us-east-1&SourceSnapshotId=snap-0123456789abcdef0".to_owned(), "InvalidSnapshot.NotFound"),
    ] {
        assert_eq!(bench.code("CopySnapshot", &form).await, code, "{form}");
    }
}

#[tokio::test]
async fn all_volumes_of_an_instance_become_snapshots_at_once() {
    let bench = Bench::new();
    let devices = "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.VolumeSize=3\
                   &BlockDeviceMapping.2.DeviceName=/dev/sdg&BlockDeviceMapping.2.Ebs.VolumeSize=4";
    let id = bench.launch(1, devices).await.remove(0);
    let form = format!("InstanceSpecification.InstanceId={id}");
    assert_eq!(bench.code("CreateSnapshots", &form).await, "UnsupportedOperation");
    let size = |size: u64| format!("Filter.1.Name=size&Filter.1.Value.1={size}");
    let (three, four) =
        (bench.first("DescribeVolumes", &size(3), "volumeId").await, bench.first("DescribeVolumes", &size(4), "volumeId").await);
    bench.ok("CreateTags", &format!("ResourceId.1={three}&Tag.1.Key=a&Tag.1.Value=1")).await;
    let data = format!("{form}&InstanceSpecification.ExcludeBootVolume=true&CopyTagsFromSource=volume");
    let less = format!("{data}&InstanceSpecification.ExcludeDataVolumeId.1={four}");
    let answer = bench.ok("CreateSnapshots", &less).await;
    assert_eq!((texts(&answer, "volumeSize"), texts(&answer, "key")), (vec!["3".to_owned()], vec!["a".to_owned()]));
    // Only 15 seconds later may the same volume be taken again.
    assert_eq!(bench.code("CreateSnapshots", &data).await, "SnapshotCreationPerVolumeRateExceeded");
    assert_eq!(bench.code("CreateSnapshot", &format!("VolumeId={three}")).await, "SnapshotCreationPerVolumeRateExceeded");
    bench.age_snapshots(15);
    let answer = bench.ok("CreateSnapshots", &data).await;
    let snapshots = texts(&answer, "snapshotId");
    assert_eq!(snapshots.len(), 2);
    for snapshot in &snapshots {
        bench.until_completed(snapshot).await;
    }
    let root = bench.first("DescribeVolumes", &size(8), "volumeId").await;
    let excluded = format!("{form}&InstanceSpecification.ExcludeDataVolumeId.1={root}");
    assert_eq!(bench.code("CreateSnapshots", &excluded).await, "InvalidParameterValue");
}

#[tokio::test]
async fn permissions_of_a_snapshot_are_given_taken_and_reset() {
    let bench = Bench::new();
    let snapshot = bench.uploaded(1).await;
    let form = |rest: &str| format!("SnapshotId={snapshot}&{rest}");
    bench.ok("ModifySnapshotAttribute", &form("CreateVolumePermission.Add.1.UserId=111111111111")).await;
    let older = "Attribute=createVolumePermission&OperationType=add&UserGroup.1=all";
    bench.ok("ModifySnapshotAttribute", &form(older)).await;
    let shown = form("Attribute=createVolumePermission");
    let answer = bench.ok("DescribeSnapshotAttribute", &shown).await;
    assert_eq!((texts(&answer, "userId"), texts(&answer, "group")), (vec!["111111111111".into()], vec!["all".into()]));
    bench.ok("ModifySnapshotAttribute", &form("CreateVolumePermission.Remove.1.Group=all")).await;
    assert!(bench.all("DescribeSnapshotAttribute", &shown, "group").await.is_empty());
    bench.ok("ResetSnapshotAttribute", &shown).await;
    assert!(bench.all("DescribeSnapshotAttribute", &shown, "userId").await.is_empty());
    assert_eq!(bench.code("ModifySnapshotAttribute", &form("")).await, "MissingParameter");
    assert_eq!(bench.code("ResetSnapshotAttribute", &form("Attribute=productCodes")).await, "InvalidParameterValue");
    bench.cloud.state().ec2.snapshots.get_mut(&snapshot).unwrap().encrypted = true;
    let share = form("CreateVolumePermission.Add.1.Group=all");
    assert_eq!(bench.code("ModifySnapshotAttribute", &share).await, "OperationNotPermitted");
}

#[tokio::test]
async fn an_account_that_encrypts_by_default_encrypts_volumes_copies_and_launches() {
    let bench = Bench::new();
    let source = bench.uploaded(1).await;
    assert_eq!(bench.first("GetEbsEncryptionByDefault", "", "ebsEncryptionByDefault").await, "false");
    assert_eq!(bench.first("EnableEbsEncryptionByDefault", "", "ebsEncryptionByDefault").await, "true");
    let volume = bench.ok("CreateVolume", "AvailabilityZone=us-east-1a&Size=1").await;
    assert_eq!(texts(&volume, "encrypted"), ["true"]);
    let copy = bench.first("CopySnapshot", &format!("SourceRegion=us-east-1&SourceSnapshotId={source}"), "snapshotId").await;
    let id = bench.launch(1, "").await.remove(0);
    let of_instance = format!("Filter.1.Name=attachment.instance-id&Filter.1.Value.1={id}");
    assert_eq!(bench.all("DescribeVolumes", &of_instance, "encrypted").await, ["true"]);
    bench.ok("DisableEbsEncryptionByDefault", "").await;
    // What comes of an encrypted snapshot stays encrypted.
    bench.until_completed(&copy).await;
    let volume = bench.ok("CreateVolume", &format!("AvailabilityZone=us-east-1a&SnapshotId={copy}")).await;
    assert_eq!(texts(&volume, "encrypted"), ["true"]);
    until_volume(&bench, &texts(&volume, "volumeId")[0], "available").await;
    assert_eq!(bench.first("GetEbsDefaultKmsKeyId", "", "kmsKeyId").await, "alias/aws/ebs");
    // All with the one key of the account, and what is not encrypted with none.
    let key = texts(&volume, "kmsKeyId");
    assert!(key[0].starts_with("arn:aws:kms:us-east-1:000000000000:key/"), "{key:?}");
    assert_eq!(bench.all("DescribeVolumes", &of_instance, "kmsKeyId").await, key);
    assert_eq!(bench.all("DescribeSnapshots", &format!("SnapshotId.1={copy}"), "kmsKeyId").await, key);
    assert!(bench.all("DescribeSnapshots", &format!("SnapshotId.1={source}"), "kmsKeyId").await.is_empty());
}
