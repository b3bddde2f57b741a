//! One writer for a cluster: a parameter that exists while somebody works (DESIGN.md section 6).

use std::time::Duration;

use aws_sdk_ssm::types::ParameterType;
use ewulf_core::names::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::aws::{Backoff, CallError, Class, Cloud, failure};

/// How long a lock lasts without being renewed: three renewals may fail before somebody else takes it.
const LASTS: Duration = Duration::from_secs(180);
const RENEWED_EVERY: Duration = Duration::from_secs(50);

/// Who holds a lock, where, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub who: String,
    pub host: String,
    pub process: u32,
    /// Start time of the process in clock ticks since boot: a recycled process id is not the holder.
    pub started: u64,
    pub doing: String,
    pub since: Timestamp,
    pub until: Timestamp,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cluster {cluster} is being changed by {who} on {host} (process {process}, {doing}) since {age} s ago", who = holder.who, host = holder.host, process = holder.process, doing = holder.doing)]
    Held { cluster: ClusterName, holder: Box<Holder>, age: i64 },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A held lock; it is renewed until it is released.
#[derive(Debug)]
pub struct Lock {
    cloud: Cloud,
    name: String,
    renewal: JoinHandle<()>,
}

impl Lock {
    /// Takes the cluster's lock. One that expired, or whose process on this machine is gone, is taken over.
    pub async fn acquire(cloud: &Cloud, cluster: &ClusterName, doing: &str) -> Result<Self, LockError> {
        let name = format!("/ewulf/{cluster}/lock");
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(10));
        loop {
            match put(cloud, &name, &holder(doing), false).await {
                Ok(()) => break,
                Err(error) if error.class == Class::Exists => {}
                Err(error) => return Err(error.into()),
            }
            match read(cloud, &name).await? {
                Some(other) if other.is_over() => {
                    put(cloud, &name, &holder(doing), true).await?;
                    break;
                }
                Some(other) => {
                    let age = Timestamp::now().as_second() - other.since.as_second();
                    return Err(LockError::Held { cluster: cluster.clone(), holder: Box::new(other), age });
                }
                // Released in between, or not readable everywhere yet.
                None if backoff.pause().await => {}
                None => return Err(CallError::unexpected("PutParameter", &name, "it exists and cannot be read").into()),
            }
        }
        let renewal = tokio::spawn(renew(cloud.clone(), name.clone(), doing.to_owned()));
        Ok(Self { cloud: cloud.clone(), name, renewal })
    }

    /// Gives the lock back.
    pub async fn release(self) -> Result<(), CallError> {
        self.renewal.abort();
        match self.cloud.ssm.delete_parameter().name(&self.name).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failure("DeleteParameter", &self.name, error) {
                error if error.class == Class::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Holder {
    /// Whether it expired, or was of this machine and its process is gone.
    pub fn is_over(&self) -> bool {
        self.until < Timestamp::now() || (self.host == host() && process_start(self.process) != Some(self.started))
    }
}

async fn renew(cloud: Cloud, name: String, doing: String) {
    let since = Timestamp::now();
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        // A renewal that fails is tried again in time; three in a row let the lock expire.
        let _ = put(&cloud, &name, &Holder { since, ..holder(&doing) }, true).await;
    }
}

fn holder(doing: &str) -> Holder {
    let since = Timestamp::now();
    let process = std::process::id();
    Holder {
        who: std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".to_owned()),
        host: host(),
        process,
        started: process_start(process).unwrap_or(0),
        doing: doing.to_owned(),
        since,
        until: since.saturating_add(LASTS).unwrap_or(Timestamp::MAX),
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Start time of a process, field 22 of proc(5)'s stat; None when there is no such process.
fn process_start(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; fields count from behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

async fn put(cloud: &Cloud, name: &str, holder: &Holder, overwrite: bool) -> Result<(), CallError> {
    let value = serde_json::to_string(holder).map_err(|error| CallError::unexpected("PutParameter", name, error.to_string()))?;
    let request = cloud.ssm.put_parameter().name(name).value(value).r#type(ParameterType::String).overwrite(overwrite);
    request.send().await.map(drop).map_err(|error| failure("PutParameter", name, error))
}

async fn read(cloud: &Cloud, name: &str) -> Result<Option<Holder>, CallError> {
    match cloud.ssm.get_parameter().name(name).send().await {
        Ok(answer) => {
            let value = answer.parameter.and_then(|parameter| parameter.value).unwrap_or_default();
            let holder = serde_json::from_str(&value);
            holder.map(Some).map_err(|error| CallError::unexpected("GetParameter", name, format!("not a lock of ewulf: {error}")))
        }
        Err(error) => match failure("GetParameter", name, error) {
            error if error.class == Class::NotFound => Ok(None),
            error => Err(error),
        },
    }
}
