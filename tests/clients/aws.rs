//! The official `aws` command in the environment that `ewulf local env` prints.

use std::process::Command;

use serde_json::Value;

use super::REQUIREMENTS;
use crate::world::{Ground, World, python};

/// A user's shell on a cloud.
struct Shell<'a> {
    ground: &'a Ground,
    /// Where `aws` and `ewulf` are.
    path: String,
}

impl<'a> Shell<'a> {
    fn open(ground: &'a Ground) -> Self {
        let python = python::interpreter("clients", REQUIREMENTS);
        let folder = |file: &std::path::Path| file.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        let ewulf = folder(std::path::Path::new(env!("CARGO_BIN_EXE_ewulf")));
        let path = format!("{}:{ewulf}:{}", folder(&python), std::env::var("PATH").unwrap_or_default());
        Self { ground, path }
    }

    /// Runs a script in a shell that has taken up the cloud's environment; answers exit code and output.
    fn run(&self, script: &str) -> (Option<i32>, String) {
        let state = self.ground.state.display();
        let script = format!("eval \"$(ewulf --local-state '{state}' local env)\" || exit 99\n{script}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).current_dir(&self.ground.project).env_clear();
        shell.env("PATH", &self.path).env("HOME", &self.ground.project).env("AWS_PAGER", "");
        let output = shell.output().expect("there is a shell");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        (output.status.code(), said.join("\n").trim().to_owned())
    }

    /// Runs a script that must succeed.
    fn says(&self, script: &str) -> String {
        let (code, said) = self.run(script);
        assert_eq!(code, Some(0), "{script}:\n{said}");
        said
    }
}

#[test]
fn the_aws_command_works_as_on_aws() {
    let world = World::new(None);
    let shell = Shell::open(&world.ground);
    let who: Value = serde_json::from_str(&shell.says("aws sts get-caller-identity")).expect("it is JSON");
    assert_eq!(who["Arn"], format!("arn:aws:iam::{}:root", who["Account"].as_str().unwrap_or_default()));
    let script = "\
set -e
image=$(aws ssm get-parameter --name /aws/service/debian/release/13/latest/amd64 --query Parameter.Value --output text)
tags='ResourceType=instance,Tags=[{Key=Name,Value=judged}]'
aws ec2 run-instances --image-id $image --instance-type c7a.large --count 6 --user-data 'echo hello' \
    --tag-specifications \"$tags\" --query 'Instances[].InstanceId' --output text
";
    let ids = shell.says(script);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    let (one, all) = (ids[0], ids.join(" "));
    shell.says(&format!(
        "aws ec2 wait instance-running --instance-ids {all} && aws ec2 wait instance-status-ok --instance-ids {all}"
    ));
    let named =
        "aws ec2 describe-instances --filters Name=tag:Name,Values=judged --query 'Reservations[].Instances[].InstanceId'";
    for paging in ["", " --page-size 5", " --no-paginate", " --max-items 100"] {
        let found = shell.says(&format!("{named} --output text{paging}"));
        let mut found: Vec<&str> = found.split_whitespace().collect();
        found.sort_unstable();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        assert_eq!(found, sorted, "{paging}");
    }
    shell.says(&format!("aws ec2 create-tags --resources {one} --tags Key=team,Value=search"));
    let told = shell.says(&format!(
        "aws ec2 describe-tags --filters Name=resource-id,Values={one} Name=key,Values=team --query 'Tags[].Value' --output text"
    ));
    assert_eq!(told, "search");
    let data = shell.says(&format!(
        "aws ec2 describe-instance-attribute --instance-id {one} --attribute userData --query UserData.Value --output text \
         | base64 -d"
    ));
    assert_eq!(data, "echo hello");
    let table = shell.says("aws ec2 describe-instance-types --instance-types c7a.large --output table");
    assert!(table.contains("c7a.large") && table.contains("---"), "{table}");

    shell.says(&format!("until aws ssm get-connection-status --target {one} | grep -q '\"connected\"'; do sleep 0.1; done"));
    // A record has no inside, so the command fails; how, is told as on AWS.
    let told = shell.says(&format!(
        "id=$(aws ssm send-command --instance-ids {one} --document-name AWS-RunShellScript \
         --parameters commands=hostname --query Command.CommandId --output text)
         aws ssm wait command-executed --command-id $id --instance-id {one} 2>&1 | grep -c 'terminal failure state'
         aws ssm get-command-invocation --command-id $id --instance-id {one} --query StatusDetails --output text"
    ));
    assert_eq!(told, "1\nUndeliverable");

    let told = shell.says(
        "head -c 524288 /dev/zero | tr '\\0' x > block
         sum=$(python -c 'import base64, hashlib; print(base64.b64encode(hashlib.sha256(b\"x\" * 524288).digest()).decode())')
         id=$(aws ebs start-snapshot --volume-size 1 --query SnapshotId --output text)
         aws ebs put-snapshot-block --snapshot-id $id --block-index 3 --block-data block --data-length 524288 \
             --checksum $sum --checksum-algorithm SHA256 >/dev/null
         aws ebs complete-snapshot --snapshot-id $id --changed-blocks-count 1 >/dev/null
         aws ec2 wait snapshot-completed --snapshot-ids $id
         token=$(aws ebs list-snapshot-blocks --snapshot-id $id --query 'Blocks[0].BlockToken' --output text)
         aws ebs get-snapshot-block --snapshot-id $id --block-index 3 --block-token $token read >/dev/null
         cmp block read && echo same",
    );
    assert_eq!(told, "same");

    let (code, said) = shell.run("aws ec2 describe-instances --instance-ids i-0123456789abcdef0");
    assert!(code == Some(254) || code == Some(255), "{code:?}: {said}");
    assert!(said.contains("(InvalidInstanceID.NotFound) when calling the DescribeInstances operation"), "{said}");
    let (_, said) = shell.run(&format!("aws ec2 terminate-instances --dry-run --instance-ids {all}"));
    assert!(said.contains("(DryRunOperation)"), "{said}");
    shell.says(&format!(
        "aws ec2 terminate-instances --instance-ids {all} && aws ec2 wait instance-terminated --instance-ids {all}"
    ));
}
