use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bench::{BASE, Bench, texts};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGbEFK0vHMGlkM41C/Zax9DDlHFRt52VvCsnMGUngzo5";

/// The form of an import of this text.
fn import(name: &str, text: &str) -> String {
    let encoded = STANDARD.encode(text).replace('+', "%2B").replace('=', "%3D");
    format!("KeyName={name}&PublicKeyMaterial={encoded}")
}

#[tokio::test]
async fn a_created_key_is_told_once_and_fits_its_public_half() {
    let bench = Bench::new();
    for (kind, begin) in [("ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----"), ("rsa", "-----BEGIN RSA PRIVATE KEY-----")] {
        let answer = bench.ok("CreateKeyPair", &format!("KeyName={kind}&KeyType={kind}")).await;
        let private = texts(&answer, "keyMaterial").remove(0);
        assert!(private.starts_with(begin), "{private}");
        let shown = bench.ok("DescribeKeyPairs", &format!("KeyName.1={kind}&IncludePublicKey=true")).await;
        assert!(!shown.contains("keyMaterial"));
        assert_eq!(texts(&shown, "keyFingerprint"), texts(&answer, "keyFingerprint"));
        assert_eq!(texts(&shown, "keyType"), [kind]);
        // The public half as OpenSSH itself derives it from the private one.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, private).unwrap();
        std::process::Command::new("chmod").arg("600").arg(&path).status().unwrap();
        let derived = std::process::Command::new("ssh-keygen").arg("-yf").arg(&path).output().unwrap();
        let derived = String::from_utf8(derived.stdout).unwrap();
        let blob = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        assert_eq!(blob(&texts(&shown, "publicKey")[0]), blob(&derived));
    }
    let left = std::fs::read_dir(&bench.cloud.config.state_dir).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("new-key")), "{left:?}");
}

#[tokio::test]
async fn names_of_keys_are_unique_and_what_is_asked_is_checked() {
    let bench = Bench::new();
    bench.ok("ImportKeyPair", &import("mine", ED25519)).await;
    assert_eq!(bench.code("ImportKeyPair", &import("mine", ED25519)).await, "InvalidKeyPair.Duplicate");
    assert_eq!(bench.code("CreateKeyPair", "KeyName=mine").await, "InvalidKeyPair.Duplicate");
    assert_eq!(bench.code("CreateKeyPair", "KeyName=other&DryRun=true").await, "DryRunOperation");
    assert_eq!(bench.code("CreateKeyPair", "KeyName=other&KeyType=dsa").await, "InvalidParameterValue");
    assert_eq!(bench.code("CreateKeyPair", "KeyName=other&KeyFormat=ppk").await, "UnsupportedOperation");
    assert_eq!(bench.code("CreateKeyPair", "").await, "MissingParameter");
    assert_eq!(bench.code("ImportKeyPair", &import("other", "nonsense")).await, "InvalidKey.Format");
    assert_eq!(bench.code("DescribeKeyPairs", "KeyName.1=other").await, "InvalidKeyPair.NotFound");
}

#[tokio::test]
async fn an_imported_key_reads_back_by_name_id_fingerprint_and_tag() {
    let bench = Bench::new();
    let tag = "&TagSpecification.1.ResourceType=key-pair&TagSpecification.1.Tag.1.Key=team&TagSpecification.1.Tag.1.Value=a";
    let id = bench.first("ImportKeyPair", &format!("{}{tag}", import("mine", ED25519)), "keyPairId").await;
    for form in [
        "KeyName.1=mine".to_owned(),
        format!("KeyPairId.1={id}"),
        "Filter.1.Name=fingerprint&Filter.1.Value.1=cV47TXjaiMxUSq0ZFC2jg06TBBT29EVWzuPxna0UlI4%3D".to_owned(),
        "Filter.1.Name=tag:team&Filter.1.Value.1=a".to_owned(),
    ] {
        assert_eq!(bench.all("DescribeKeyPairs", &form, "keyName").await, ["mine"], "{form}");
    }
    assert!(bench.all("DescribeKeyPairs", "", "publicKey").await.is_empty());
    bench.ok("CreateTags", &format!("ResourceId.1={id}&Tag.1.Key=more&Tag.1.Value=b")).await;
    let kinds = bench.all("DescribeTags", &format!("Filter.1.Name=resource-id&Filter.1.Value.1={id}"), "resourceType").await;
    assert_eq!(kinds, ["key-pair", "key-pair"]);
}

#[tokio::test]
async fn deleting_a_key_that_is_not_there_is_no_error() {
    let bench = Bench::new();
    let id = bench.first("ImportKeyPair", &import("mine", ED25519), "keyPairId").await;
    assert_eq!(bench.code("DeleteKeyPair", "").await, "MissingParameter");
    assert_eq!(bench.first("DeleteKeyPair", "KeyName=mine", "keyPairId").await, id);
    bench.ok("DeleteKeyPair", "KeyName=mine").await;
    bench.ok("DeleteKeyPair", &format!("KeyPairId={id}")).await;
    assert!(bench.all("DescribeKeyPairs", "", "keyName").await.is_empty());
}

#[tokio::test]
async fn a_launch_and_its_template_take_a_key_that_exists() {
    let bench = Bench::new();
    // A template's values are looked at when something is launched from it.
    let form = format!(
        "LaunchTemplateName=with-key&LaunchTemplateData.ImageId={BASE}&LaunchTemplateData.InstanceType=c7i.large\
         &LaunchTemplateData.KeyName=mine"
    );
    let template = bench.first("CreateLaunchTemplate", &form, "launchTemplateId").await;
    let launch = format!("LaunchTemplate.LaunchTemplateId={template}&MinCount=1&MaxCount=1");
    assert_eq!(bench.code("RunInstances", &launch).await, "InvalidKeyPair.NotFound");
    bench.ok("ImportKeyPair", &import("mine", ED25519)).await;
    let id = bench.first("RunInstances", &launch, "instanceId").await;
    bench.ok("DeleteKeyPair", "KeyName=mine").await;
    // Instances keep the key they were launched with.
    let form = "Filter.1.Name=key-name&Filter.1.Value.1=mine";
    assert_eq!(bench.all("DescribeInstances", form, "keyName").await, ["mine"]);
    let kept = bench.cloud.state().ec2.instance(&id).unwrap().public_key.clone().unwrap();
    assert_eq!(kept, format!("{ED25519} mine"));
}
