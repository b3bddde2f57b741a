//! One account and several users of it, on a cloud whose nodes are records: the whole program, but no machine below it.

mod account;
mod changes;
mod failures;
mod ladders;
mod neighbours;
mod seats;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_sdk_ec2::types as sdk;
use ewulf::aws::{Cloud, Place};
use ewulf_cloud::Config;
use ewulf_cloud::server::Server;
use serde_json::Value;
use tempfile::TempDir;

/// A cloud inside the test's process, and the program as its client.
pub struct Account {
    folder: TempDir,
    /// Kept because dropping it ends the cloud.
    _server: Server,
    pub cloud: Cloud,
    /// An image that anybody may launch.
    ami: String,
}

impl Account {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let state = folder.path().join("cloud");
        let config = Config { records: true, ..Config::new(&state, folder.path().join("cache")) };
        let server = Server::start(config).await.expect("the cloud starts");
        let cloud = Cloud::connect(Place::Local { state }, "us-east-1").await.expect("its credentials are there");
        let parameter = cloud.ssm.get_parameter().name("/aws/service/debian/release/13/latest/amd64").send().await;
        let ami = parameter.expect("Debian is there").parameter.and_then(|it| it.value).expect("it has a value");
        Self { folder, _server: server, cloud, ami }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// How a spec names an image that anybody may launch.
    pub fn image(&self) -> String {
        format!("{{ami: {}}}", self.ami)
    }

    /// Writes the spec of a cluster of three nodes in `network`; `more` are further lines.
    pub fn spec(&self, cluster: &str, network: &str, more: &str) -> PathBuf {
        let text = format!(
            "cluster: {cluster}\ncloud: local\nnetwork: {network}\n\
             master: {{instance_type: c7a.large, image: {{ami: {ami}}}}}\n\
             workers:\n  - {{group: compute, count: 2, instance_type: c7a.large, image: {{ami: {ami}}}}}\n{more}\n",
            ami = self.ami
        );
        let path = self.path().join(format!("{cluster}.yaml"));
        std::fs::write(&path, text).expect("the folder is writable");
        path
    }

    /// The program with these arguments, on this account.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ewulf"));
        command
            .args(arguments)
            .arg("--local-state")
            .arg(self.path().join("cloud"))
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end; exit code, stdout and stderr.
    pub fn ewulf(&self, arguments: &[&str]) -> (i32, String, String) {
        told(tokio::task::block_in_place(|| self.command(arguments).output()).expect("the binary starts"))
    }

    /// Runs the program, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.ewulf(arguments);
        assert_eq!(code, 0, "{arguments:?}:\n{out}{err}");
        out
    }

    /// What `ps --all` lists, with whatever is a second old counted as old enough.
    pub fn everything(&self) -> Vec<Value> {
        let out = self.succeed(&["ps", "--all", "--cloud", "local", "--older-than", "1s", "--json"]);
        serde_json::from_str(&out).expect("it is a list")
    }

    /// Makes a VPC with tags, and answers its id.
    pub async fn vpc(&self, cidr: &str, tags: &[(&str, &str)]) -> String {
        let tags = tag_specification(sdk::ResourceType::Vpc, tags);
        let answer = self.cloud.ec2.create_vpc().cidr_block(cidr).tag_specifications(tags).send().await;
        answer.expect("a VPC is made").vpc.and_then(|vpc| vpc.vpc_id).expect("it has an id")
    }

    /// Ids of all VPCs but the default one.
    pub async fn vpcs(&self) -> Vec<String> {
        let answer = self.cloud.ec2.describe_vpcs().send().await.expect("VPCs are listed");
        let others = answer.vpcs().iter().filter(|vpc| vpc.is_default != Some(true));
        others.filter_map(|vpc| vpc.vpc_id.clone()).collect()
    }
}

pub fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it was not killed"), text(&output.stdout), text(&output.stderr))
}

pub fn tag_specification(kind: sdk::ResourceType, tags: &[(&str, &str)]) -> sdk::TagSpecification {
    let tags = tags.iter().map(|(key, value)| sdk::Tag::builder().key(*key).value(*value).build());
    sdk::TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
}
