//! A server on a state folder of its own, and a client that signs with AWS's own signer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use ewulf_cloud::Config;
use ewulf_cloud::server::Server;
use serde_json::{Value, json};

pub const SSM: &str = "application/x-amz-json-1.1";
pub const FORM: &str = "application/x-www-form-urlencoded";

/// An answer: status and body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The error code, or `OK`.
    pub fn code_or_ok(&self) -> String {
        if self.status == 200 { "OK".to_owned() } else { self.code() }
    }

    /// The error code, of either protocol.
    pub fn code(&self) -> String {
        match self.body.split_once("<Code>") {
            Some((_, rest)) => rest.split('<').next().unwrap_or_default().to_owned(),
            None => self.json()["__type"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// How to sign; what a test changes to be refused.
#[derive(Debug, Clone)]
pub struct Signer {
    pub key: String,
    pub secret: String,
    pub session_token: Option<String>,
    pub region: &'static str,
    pub service: &'static str,
    pub time: SystemTime,
}

impl Signer {
    /// Signs as the owner of the state folder would.
    pub fn owner(state_dir: &Path, service: &'static str) -> Self {
        let text = std::fs::read_to_string(state_dir.join("credentials")).unwrap();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(" = ").to_owned()
        };
        Self {
            key: value("aws_access_key_id"),
            secret: value("aws_secret_access_key"),
            session_token: None,
            region: "us-east-1",
            service,
            time: SystemTime::now(),
        }
    }

    /// A POST to `/` with these headers, signed.
    pub fn post(&self, address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Request {
        let credentials = Credentials::from_keys(&self.key, &self.secret, self.session_token.clone());
        let identity = Identity::from(credentials);
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let host = address.to_string();
        // A call of its own, as SDKs say it: the date alone does not tell two of one second apart.
        let invocation = format!("{:032x}", rand::random::<u128>());
        let mut all = vec![("host", host.as_str()), ("amz-sdk-invocation-id", &invocation)];
        all.extend_from_slice(headers);
        let url = format!("http://{address}/");
        let signable = SignableRequest::new("POST", url, all.iter().copied(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(signable, &parameters.into()).unwrap().into_parts();
        let mut headers: Vec<(String, String)> =
            all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        headers.extend(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
        Request { headers, body: body.to_vec() }
    }
}

/// Sends raw text and reads all that comes back.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A server that refuses early may close before all is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, body: body.to_owned() }
}

impl Request {
    pub fn send(&self, address: SocketAddr) -> Answer {
        let mut text = String::from("POST / HTTP/1.1\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        exchange(address, &bytes)
    }
}

/// The API of one state folder, as its owner uses it.
#[derive(Debug, Clone)]
pub struct Api {
    pub state_dir: PathBuf,
    pub address: SocketAddr,
}

impl Api {
    pub fn signer(&self, service: &'static str) -> Signer {
        Signer::owner(&self.state_dir, service)
    }

    /// One SSM action.
    pub async fn ssm(&self, action: &str, input: Value) -> Answer {
        let target = format!("AmazonSSM.{action}");
        let headers = [("content-type", SSM), ("x-amz-target", target.as_str())];
        self.send(self.signer("ssm").post(self.address, &headers, input.to_string().as_bytes())).await
    }

    /// One EC2 action, as a form.
    pub async fn ec2(&self, form: &str) -> Answer {
        let request = self.signer("ec2").post(self.address, &[("content-type", FORM)], form.as_bytes());
        self.send(request).await
    }

    pub async fn send(&self, request: Request) -> Answer {
        let address = self.address;
        tokio::task::spawn_blocking(move || request.send(address)).await.unwrap()
    }

    pub async fn raw(&self, text: &str) -> Answer {
        let (address, text) = (self.address, text.to_owned());
        tokio::task::spawn_blocking(move || exchange(address, text.as_bytes())).await.unwrap()
    }

    /// Launches instances of the public image with these further parameters and waits until SSM knows them.
    pub async fn launch(&self, count: usize, parameters: &str) -> Vec<String> {
        let name = "/aws/service/debian/release/13/latest/amd64";
        let image = self.ssm("GetParameter", json!({ "Name": name })).await.json();
        let image = image["Parameter"]["Value"].as_str().unwrap().to_owned();
        let form = format!(
            "Action=RunInstances&Version=2016-11-15&ImageId={image}&InstanceType=t3.micro\
             &MinCount={count}&MaxCount={count}{parameters}"
        );
        let answer = self.ec2(&form).await;
        let ids = answer.body.split("<instanceId>").skip(1).filter_map(|rest| rest.split('<').next());
        let ids: Vec<String> = ids.map(str::to_owned).collect();
        assert_eq!(ids.len(), count, "{answer:?}");
        self.wait_ping(&ids, "Online").await;
        ids
    }

    /// Waits until SSM says this of all these instances.
    pub async fn wait_ping(&self, ids: &[String], status: &str) {
        let filters = json!({ "Filters": [{ "Key": "InstanceIds", "Values": ids }] });
        let started = Instant::now();
        loop {
            let known = self.ssm("DescribeInstanceInformation", filters.clone()).await.json();
            let known = known["InstanceInformationList"].as_array().unwrap().clone();
            if known.len() == ids.len() && known.iter().all(|it| it["PingStatus"] == status) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{ids:?} are not {status}: {known:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a script to one instance; answers with the command's id.
    pub async fn begin(&self, id: &str, commands: &[&str]) -> String {
        self.begin_with(json!({ "InstanceIds": [id], "Parameters": { "commands": commands } })).await
    }

    pub async fn begin_with(&self, mut call: Value) -> String {
        call["DocumentName"] = "AWS-RunShellScript".into();
        let answer = self.ssm("SendCommand", call).await;
        answer.json()["Command"]["CommandId"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    pub async fn invocation(&self, command: &str, instance: &str) -> Value {
        self.ssm("GetCommandInvocation", json!({ "CommandId": command, "InstanceId": instance })).await.json()
    }

    /// Waits for the end of a command on one instance.
    pub async fn ended(&self, command: &str, instance: &str) -> Value {
        let started = Instant::now();
        loop {
            let answer = self.invocation(command, instance).await;
            if !["Pending", "InProgress", "Delayed", "Cancelling"].contains(&answer["Status"].as_str().unwrap()) {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "{command} never ended: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a script on one instance to its end.
    pub async fn run(&self, id: &str, commands: &[&str]) -> Value {
        self.ended(&self.begin(id, commands).await, id).await
    }
}

/// How long anything may take; the machine may be busy compiling.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running server with records, on a folder that goes with it.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub server: Server,
    api: Api,
}

impl std::ops::Deref for Bench {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub async fn start_in(folder: tempfile::TempDir) -> Self {
        let server = Server::start(config(folder.path())).await.unwrap();
        let api = Api { state_dir: folder.path().to_owned(), address: server.address() };
        Self { folder, server, api }
    }

    /// Ends the server; the folder stays.
    pub async fn stop(mut self) -> tempfile::TempDir {
        self.server.stop().await.unwrap();
        self.folder
    }
}

pub fn config(state_dir: &Path) -> Config {
    Config { records: true, ..Config::new(state_dir, state_dir.join("cache")) }
}
