//! Images of snapshots, copies of images, and what can be changed about an image.

use super::bench::{BASE, Bench, texts};

/// What EC2 needs to be told beside the snapshot, since its defaults are of another age.
const TODAY: &str = "Architecture=x86_64&VirtualizationType=hvm&EnaSupport=true&SriovNetSupport=simple&RootDeviceName=/dev/xvda";

fn root(snapshot: &str) -> String {
    format!("BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}")
}

async fn registered(bench: &Bench, name: &str, more: &str) -> String {
    let snapshot = bench.uploaded(2).await;
    bench.first("RegisterImage", &format!("Name={name}&{TODAY}&{}&{more}", root(&snapshot)), "imageId").await
}

async fn until_available(bench: &Bench, image: &str) {
    bench.until(|bench| bench.cloud.state().ec2.images[image].state.wire() == "available").await;
}

fn launch(image: &str) -> String {
    format!("ImageId={image}&InstanceType=c7i.large&MinCount=1&MaxCount=1")
}

#[tokio::test]
async fn a_registered_image_has_old_defaults_unless_told() {
    let bench = Bench::new();
    let snapshot = bench.uploaded(2).await;
    let mapping = root(&snapshot).replace("xvda", "sda1");
    let old = bench.first("RegisterImage", &format!("Name=old&{mapping}"), "imageId").await;
    let answer = bench.ok("DescribeImages", &format!("ImageId.1={old}")).await;
    for (element, value) in [
        ("architecture", "i386"),
        ("virtualizationType", "paravirtual"),
        ("enaSupport", "false"),
        ("rootDeviceName", "/dev/sda1"),
        ("imageState", "available"),
        ("volumeSize", "2"),
        ("deleteOnTermination", "true"),
    ] {
        assert_eq!(texts(&answer, element), [value], "{element}");
    }
    assert!(texts(&answer, "sriovNetSupport").is_empty() && texts(&answer, "bootMode").is_empty());
    assert_eq!(bench.code("RunInstances", &launch(&old)).await, "InvalidParameterValue");

    let more = "BootMode=uefi&TpmSupport=v2.0&ImdsSupport=v2.0&Description=d\
                &BlockDeviceMapping.1.Ebs.VolumeType=gp3&BlockDeviceMapping.1.Ebs.VolumeSize=5\
                &TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1";
    let today = registered(&bench, "today", more).await;
    let answer = bench.ok("DescribeImages", &format!("ImageId.1={today}")).await;
    for (element, value) in [
        ("architecture", "x86_64"),
        ("virtualizationType", "hvm"),
        ("enaSupport", "true"),
        ("bootMode", "uefi"),
        ("tpmSupport", "v2.0"),
        ("imdsSupport", "v2.0"),
        ("volumeType", "gp3"),
        ("volumeSize", "5"),
        ("key", "a"),
    ] {
        assert_eq!(texts(&answer, element), [value], "{element}");
    }
    for (attribute, value) in [("tpmSupport", "v2.0"), ("bootMode", "uefi"), ("imdsSupport", "v2.0"), ("description", "d")] {
        let form = format!("ImageId={today}&Attribute={attribute}");
        assert_eq!(bench.all("DescribeImageAttribute", &form, "value").await, [value], "{attribute}");
    }
    assert_eq!(bench.code("DeleteSnapshot", &format!("SnapshotId={snapshot}")).await, "InvalidSnapshot.InUse");
}

#[tokio::test]
async fn what_an_image_cannot_be_made_of_is_refused() {
    let bench = Bench::new();
    let snapshot = bench.uploaded(2).await;
    let good = format!("Name=one&{TODAY}&{}", root(&snapshot));
    let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=1", "volumeId").await;
    bench.until(|bench| bench.cloud.state().ec2.volumes[&volume].state.wire() == "available").await;
    for (form, code) in [
        (good.replace("Name=one", "Name=a"), "InvalidAMIName.Malformed"),
        (good.replace(&snapshot, "snap-0123456789abcdef0"), "InvalidSnapshot.NotFound"),
        (good.replace("RootDeviceName=/dev/xvda", "RootDeviceName=/dev/sda1"), "InvalidBlockDeviceMapping"),
        (format!("{good}&BlockDeviceMapping.1.Ebs.Encrypted=true"), "InvalidBlockDeviceMapping"),
        (format!("{good}&BlockDeviceMapping.1.Ebs.VolumeSize=1"), "InvalidBlockDeviceMapping"),
        (format!("{good}&Description={}", "d".repeat(256)), "InvalidParameterValue"),
        (format!("{good}&TpmSupport=v2.0"), "InvalidParameterCombination"),
        (format!("{good}&BootMode=coreboot"), "InvalidParameterValue"),
        (format!("{good}&ImageLocation=bucket/manifest.xml"), "UnsupportedOperation"),
        (good.replace("=hvm", "=paravirtual"), "InvalidParameterCombination"),
        (format!("{}&BootMode=legacy-bios", good.replace("x86_64", "arm64")), "InvalidParameterCombination"),
        (format!("Name=one&{TODAY}"), "MissingParameter"),
    ] {
        assert_eq!(bench.code("RegisterImage", &form).await, code, "{form}");
    }
    bench.ok("RegisterImage", &good).await;
    assert_eq!(bench.code("RegisterImage", &good).await, "InvalidAMIName.Duplicate");
    let pending = bench.first("CreateSnapshot", &format!("VolumeId={volume}"), "snapshotId").await;
    bench.until_completed(&pending).await;
    bench.cloud.state().ec2.snapshots.get_mut(&pending).unwrap().state = crate::model::ec2::SnapshotState::Pending;
    let form = good.replace("Name=one", "Name=two").replace(&snapshot, &pending);
    assert_eq!(bench.code("RegisterImage", &form).await, "IncorrectState");
}

#[tokio::test]
async fn an_instance_of_blocks_ends_with_a_reason_where_nodes_are_containers() {
    let bench = Bench::new();
    let image = registered(&bench, "blocks", "").await;
    let id = bench.first("RunInstances", &launch(&image), "instanceId").await;
    bench.until_state(&id, "terminated").await;
    let answer = bench.ok("DescribeInstances", &format!("InstanceId.1={id}")).await;
    assert!(answer.contains("blocks of a disk"), "{answer}");
    assert!(!bench.deeds().iter().any(|deed| deed.starts_with("create_root")));
}

#[tokio::test]
async fn an_image_registered_from_a_root_stands_on_its_layers() {
    let bench = Bench::new();
    let builder = bench.launch(1, "").await.remove(0);
    bench.ok("StopInstances", &format!("InstanceId.1={builder}")).await;
    bench.until_state(&builder, "stopped").await;
    let root_volume = bench.first("DescribeVolumes", "", "volumeId").await;
    let snapshot = bench.first("CreateSnapshot", &format!("VolumeId={root_volume}"), "snapshotId").await;
    bench.until_completed(&snapshot).await;
    let image = bench.first("RegisterImage", &format!("Name=root&{TODAY}&{}", root(&snapshot)), "imageId").await;
    let id = bench.first("RunInstances", &launch(&image), "instanceId").await;
    bench.until_state(&id, "running").await;
    assert!(bench.did(&format!("create_root {id} [\"debian-13\", \"{snapshot}\"]")));
    assert_eq!(bench.all("DescribeImages", &format!("ImageId.1={image}"), "lastLaunchedTime").await.len(), 1);
}

#[tokio::test]
async fn a_copy_of_an_image_outlives_its_source() {
    let bench = Bench::new();
    let source = registered(&bench, "source", "").await;
    bench.ok("CreateTags", &format!("ResourceId.1={source}&Tag.1.Key=a&Tag.1.Value=1")).await;
    let form = format!("Name=copy&SourceImageId={source}&SourceRegion=us-east-1&ClientToken=t&CopyImageTags=true&Encrypted=true");
    let copy = bench.first("CopyImage", &form, "imageId").await;
    until_available(&bench, &copy).await;
    assert_eq!(bench.first("CopyImage", &form, "imageId").await, copy);
    assert_eq!(bench.code("CopyImage", &form.replace("=copy", "=other")).await, "IdempotentParameterMismatch");
    assert_eq!(bench.code("CopyImage", &form.replace("&ClientToken=t", "")).await, "InvalidAMIName.Duplicate");
    assert_eq!(bench.code("CopyImage", &form.replace("us-east-1", "eu-west-1")).await, "InvalidParameterValue");
    let answer = bench.ok("DescribeImages", &format!("ImageId.1={copy}")).await;
    assert_eq!((texts(&answer, "sourceImageId"), texts(&answer, "key")), (vec![source.clone()], vec!["a".to_owned()]));
    assert_eq!(texts(&answer, "encrypted"), ["true"]);
    let snapshot = texts(&answer, "snapshotId").remove(0);
    bench.ok("DeregisterImage", &format!("ImageId={source}&DeleteAssociatedSnapshots=true")).await;
    let (data, _) = bench.cloud_blocks().read(&snapshot, 0).await.unwrap();
    assert_eq!(data[0], 7);
    // The public image can be copied by anyone: its layers are shared.
    let form = format!("Name=base&SourceImageId={BASE}&SourceRegion=us-east-1");
    let base = bench.first("CopyImage", &form, "imageId").await;
    until_available(&bench, &base).await;
    let id = bench.first("RunInstances", &launch(&base), "instanceId").await;
    bench.until_state(&id, "running").await;
    assert!(bench.did(&format!("create_root {id} [\"debian-13\"]")));
}

#[tokio::test]
async fn launch_permissions_are_given_taken_and_reset() {
    let bench = Bench::new();
    let image = registered(&bench, "shared", "").await;
    let modify = |rest: &str| format!("ImageId={image}&{rest}");
    bench
        .ok("ModifyImageAttribute", &modify("LaunchPermission.Add.1.UserId=111111111111&LaunchPermission.Add.2.Group=all"))
        .await;
    bench.ok("ModifyImageAttribute", &modify("Attribute=launchPermission&OperationType=add&UserId.1=222222222222")).await;
    let shown = modify("Attribute=launchPermission");
    let answer = bench.ok("DescribeImageAttribute", &shown).await;
    assert_eq!((texts(&answer, "group"), texts(&answer, "userId").len()), (vec!["all".to_owned()], 2));
    assert_eq!(bench.all("DescribeImages", "ExecutableBy.1=222222222222", "imageId").await.join(" "), image);
    assert_eq!(bench.first("DescribeImages", &format!("ImageId.1={image}"), "isPublic").await, "true");
    bench.ok("ModifyImageAttribute", &modify("LaunchPermission.Remove.1.UserId=111111111111")).await;
    assert_eq!(bench.all("DescribeImageAttribute", &shown, "userId").await, ["222222222222"]);
    bench.ok("ResetImageAttribute", &shown).await;
    assert_eq!(bench.all("DescribeImageAttribute", &shown, "item").await, [""; 0]);
    for (form, code) in [
        ("LaunchPermission.Add.1.UserId=1", "InvalidAMIAttributeItemValue"),
        ("LaunchPermission.Add.1.Group=some", "InvalidAMIAttributeItemValue"),
        ("LaunchPermission.Add.1.Group=all&Description.Value=d", "InvalidParameterCombination"),
        ("", "InvalidParameterCombination"),
        ("ProductCode.1=x", "UnsupportedOperation"),
    ] {
        assert_eq!(bench.code("ModifyImageAttribute", &modify(form)).await, code, "{form}");
    }
    let long = modify(&format!("Description.Value={}", "d".repeat(256)));
    assert_eq!(bench.code("ModifyImageAttribute", &long).await, "InvalidParameterValue");
    bench.ok("ModifyImageAttribute", &modify("Description.Value=new")).await;
    assert_eq!(bench.first("DescribeImages", &format!("ImageId.1={image}"), "description").await, "new");
    assert_eq!(bench.code("ModifyImageAttribute", &format!("ImageId={BASE}&Description.Value=x")).await, "AuthFailure");
}

#[tokio::test]
async fn an_encrypted_image_is_not_shared() {
    let bench = Bench::new();
    bench.ok("EnableEbsEncryptionByDefault", "").await;
    let image = registered(&bench, "secret", "").await;
    let form = format!("ImageId={image}&LaunchPermission.Add.1.Group=all");
    assert_eq!(bench.code("ModifyImageAttribute", &form).await, "OperationNotPermitted");
}

#[tokio::test]
async fn a_deprecated_image_is_hidden_from_others_and_still_launched() {
    let bench = Bench::new();
    let image = registered(&bench, "old", "").await;
    let at = |text: &str| format!("ImageId={image}&DeprecateAt={text}");
    assert_eq!(bench.code("EnableImageDeprecation", &at("2020-01-01T00:00:00Z")).await, "InvalidParameterValue");
    assert_eq!(bench.code("EnableImageDeprecation", &at("2099-01-01T00:00:00Z")).await, "InvalidParameterValue");
    assert_eq!(bench.code("EnableImageDeprecation", &at("soon")).await, "InvalidParameterValue");
    let next_year = (jiff::Timestamp::now() + jiff::Span::new().hours(365 * 24)).strftime("%Y-%m-%dT12:00:40Z").to_string();
    bench.ok("EnableImageDeprecation", &at(&next_year)).await;
    let shown = bench.first("DescribeImages", &format!("ImageId.1={image}"), "deprecationTime").await;
    assert!(shown.ends_with("T12:01:00.000Z"), "{shown}");
    bench.ok("DisableImageDeprecation", &format!("ImageId={image}")).await;
    assert!(bench.all("DescribeImages", &format!("ImageId.1={image}"), "deprecationTime").await.is_empty());
    // A stranger's image, the public one, and one's own.
    for id in [BASE, &image] {
        let mut state = bench.cloud.state();
        state.ec2.images.get_mut(id).unwrap().deprecation = Some(jiff::Timestamp::UNIX_EPOCH);
    }
    let shown = bench.all("DescribeImages", "", "imageId").await;
    assert!(shown.contains(&image) && !shown.iter().any(|id| id == BASE), "{shown:?}");
    let shown = bench.all("DescribeImages", "IncludeDeprecated=true", "imageId").await;
    assert!(shown.contains(&image) && shown.iter().any(|id| id == BASE), "{shown:?}");
    bench.launch(1, "").await;
}

#[tokio::test]
async fn a_disabled_image_is_not_launched_and_a_protected_one_not_deregistered() {
    let bench = Bench::new();
    let image = registered(&bench, "one", "").await;
    let form = format!("ImageId={image}");
    bench.ok("ModifyImageAttribute", &format!("{form}&LaunchPermission.Add.1.Group=all")).await;
    bench.ok("DisableImage", &form).await;
    assert_eq!(bench.code("RunInstances", &launch(&image)).await, "InvalidAMIID.Unavailable");
    assert!(!bench.all("DescribeImages", "Owner.1=self", "imageId").await.contains(&image));
    let answer = bench.ok("DescribeImages", "Owner.1=self&IncludeDisabled=true").await;
    assert_eq!((texts(&answer, "imageState"), texts(&answer, "isPublic")), (vec!["disabled".into()], vec!["false".into()]));
    bench.ok("EnableImage", &form).await;
    assert_eq!(bench.first("DescribeImages", &format!("ImageId.1={image}"), "imageState").await, "available");

    bench.ok("EnableImageDeregistrationProtection", &format!("{form}&WithCooldown=true")).await;
    assert_eq!(bench.code("DeregisterImage", &form).await, "OperationNotPermitted");
    bench.ok("DisableImageDeregistrationProtection", &form).await;
    let shown = format!("{form}&Attribute=deregistrationProtection");
    assert_eq!(bench.code("DeregisterImage", &form).await, "OperationNotPermitted");
    assert_eq!(bench.first("DescribeImageAttribute", &shown, "value").await, "enabled-with-cooldown");
    let past = crate::model::ec2::Protection::Until(jiff::Timestamp::UNIX_EPOCH);
    bench.cloud.state().ec2.images.get_mut(&image).unwrap().protection = past;
    assert_eq!(bench.first("DescribeImageAttribute", &shown, "value").await, "disabled");
    bench.ok("EnableImageDeregistrationProtection", &form).await;
    bench.ok("DisableImageDeregistrationProtection", &form).await;
    bench.ok("DeregisterImage", &form).await;
}
