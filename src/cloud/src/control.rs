//! The caller's side of the cloud's own actions: signed requests to the server of a state folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Config, Files};
use crate::store::{self, StoreError};
use crate::wire::sigv4::{Credentials, Request, authorization};

/// How long an answer may take: the longest fills a disk.
const LIMIT: Duration = Duration::from_secs(60);

/// Largest answer: a journal's entry has some 200 bytes, and there are 10,000 at most.
const MAXIMUM_ANSWER: u64 = 16 << 20;

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Why the cloud's server did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{} holds no key of a local cloud", .0.display())]
    NoKey(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the local cloud at {address} does not answer")]
    Silent {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the local cloud at {address} answers something else than JSON")]
    Garbled { address: String },
    #[error("{message}")]
    Refused { code: String, message: String },
}

/// Asks the ready server of a state folder, at its endpoint, for one action.
pub async fn call(state_dir: &Path, endpoint: &str, action: &str, input: &Value) -> Result<Value, ControlError> {
    let files = Files { state_dir };
    let key = store::read(&files.credentials())?.as_deref().and_then(Credentials::read);
    let key = key.ok_or_else(|| ControlError::NoKey(files.credentials()))?;
    let region = region(files)?;
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).to_owned();
    let request = request(&address, &key, &region, action, &input.to_string());
    let exchange = tokio::time::timeout(LIMIT, exchange(&address, &request));
    let answer = exchange.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let answer = answer.map_err(|source| ControlError::Silent { address: address.clone(), source })?;
    let text = String::from_utf8_lossy(&answer);
    let garbled = || ControlError::Garbled { address: address.clone() };
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(garbled)?;
    let value: Value = serde_json::from_str(body).map_err(|_| garbled())?;
    if head.split(' ').nth(1) == Some("200") {
        return Ok(value);
    }
    let member = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Err(ControlError::Refused { code: member("__type"), message: member("message") })
}

/// The region that the server was started with.
fn region(files: Files<'_>) -> Result<String, StoreError> {
    let path = files.config();
    let text = store::read(&path)?.unwrap_or_default();
    let config: Config = serde_json::from_str(&text).map_err(|source| StoreError::Content { path, source })?;
    Ok(config.region)
}

/// The request as it goes over the wire.
fn request(address: &str, key: &Credentials, region: &str, action: &str, body: &str) -> Vec<u8> {
    let date = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let target = format!("LocalCloud.{action}");
    // The date alone does not tell two equal calls of one second apart, and the server carries out no request twice.
    let invocation = format!("{:032x}", rand::random::<u128>());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("amz-sdk-invocation-id", invocation.as_str()),
        ("content-type", CONTENT_TYPE),
        ("host", address),
        ("x-amz-date", &date),
        ("x-amz-target", &target),
    ] {
        // An address or an action with a line end in it is signed without, and so refused.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    let signed = Request { method: "POST", path: "/", query: "", headers: &headers, body: body.as_bytes() };
    let authorization = authorization(signed, key, region, "local", &date);
    let mut text = String::from("POST / HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    text.push_str(&format!("authorization: {authorization}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

async fn exchange(address: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.take(MAXIMUM_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}
