//! The way to a cloud: SDK clients, error classes, patience, and commands on nodes.
//!
//! Owns everything that is true of EC2 and SSM whoever calls them. Knows nothing of specs and plans. AWS and the
//! local cloud differ here by endpoint and credentials and nowhere else.

mod budget;
mod calls;
mod commands;
mod error;
#[cfg(test)]
mod error_tests;
mod passing;
mod patience;
#[cfg(test)]
pub(crate) mod testing;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ec2::config::Credentials;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

pub use budget::{Budget, NotALimit};
pub use calls::{CallLog, CallRecord, CallTotals, ServiceTotals};
pub use commands::{CommandOutcome, CommandStatus, Script};
pub use error::{CallError, Class, Handling, classify, describe, failure, quota};
pub use patience::{Backoff, retry};
pub use upload::shell_quote;

/// Longest wait for one attempt of one call: the SDK has no limit of its own, and EC2 answers within seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(45);
/// Attempts by the SDK for throttles and passing faults; its backoff is 1 s doubling to 20 s with jitter.
const ATTEMPTS: u32 = 5;

/// Where calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// AWS, or any endpoint named by `--endpoint-url` or the SDK's environment.
    Aws { endpoint_url: Option<String> },
    /// A local cloud, by its state folder: endpoint and credentials are read from there.
    Local { state: PathBuf },
}

/// Clients for one region of one cloud.
#[derive(Debug, Clone)]
pub struct Cloud {
    pub ec2: aws_sdk_ec2::Client,
    /// EC2 without retries by the SDK: for RunInstances, whose missing capacity is a server error that it would repeat
    /// blindly, and for creates without a client token, which it might carry out twice.
    pub ec2_once: aws_sdk_ec2::Client,
    pub ssm: aws_sdk_ssm::Client,
    pub region: String,
    pub place: Place,
    pub calls: Arc<CallLog>,
    /// What EC2's limits leave for launching, starting and ending instances.
    pub budget: Arc<Budget>,
}

/// Why no clients could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("local cloud in {state}: {file} cannot be read")]
    State {
        state: PathBuf,
        file: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("local cloud in {state}: its credentials file has no {key}")]
    Credentials { state: PathBuf, key: &'static str },
    #[error(transparent)]
    Limit(#[from] NotALimit),
}

impl Cloud {
    /// Makes clients for `region` at `place`; no call is made yet.
    pub async fn connect(place: Place, region: &str) -> Result<Self, ConnectError> {
        let calls = Arc::new(CallLog::default());
        let budget = Arc::new(Budget::from_environment()?);
        let http = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
        let timeouts =
            TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(region.to_owned()))
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        match &place {
            Place::Aws { endpoint_url: Some(url) } => loader = loader.endpoint_url(url),
            Place::Aws { endpoint_url: None } => {}
            Place::Local { state } => {
                let endpoint = read(state, "endpoint")?;
                loader = loader.endpoint_url(endpoint.trim()).credentials_provider(local_credentials(state)?);
            }
        }
        let config = loader.load().await;
        let ec2 = aws_sdk_ec2::config::Builder::from(&config).interceptor(calls::Counter(calls.clone()));
        let ssm = aws_sdk_ssm::config::Builder::from(&config).interceptor(calls::Counter(calls.clone()));
        let once = ec2.clone().retry_config(RetryConfig::standard().with_max_attempts(1));
        Ok(Self {
            ec2: aws_sdk_ec2::Client::from_conf(ec2.build()),
            ec2_once: aws_sdk_ec2::Client::from_conf(once.build()),
            ssm: aws_sdk_ssm::Client::from_conf(ssm.build()),
            region: region.to_owned(),
            place,
            calls,
            budget,
        })
    }
}

fn read(state: &Path, file: &'static str) -> Result<String, ConnectError> {
    std::fs::read_to_string(state.join(file)).map_err(|source| ConnectError::State { state: state.to_owned(), file, source })
}

/// Reads the key pair of the local cloud from its AWS-style credentials file.
fn local_credentials(state: &Path) -> Result<Credentials, ConnectError> {
    let text = read(state, "credentials")?;
    let value = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
            .ok_or_else(|| ConnectError::Credentials { state: state.to_owned(), key })
    };
    Ok(Credentials::new(value("aws_access_key_id")?, value("aws_secret_access_key")?, None, None, "ewulf local cloud"))
}
