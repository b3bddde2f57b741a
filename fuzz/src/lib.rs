//! What the targets share: one cloud of records, which lives as long as the fuzzer.

use std::sync::{Arc, LazyLock};

use ewulf_cloud::node::records::Records;
use ewulf_cloud::store::Log;
use ewulf_cloud::wire::error::ApiError;
use ewulf_cloud::{Cloud, Config, State};
use tokio::runtime::{Builder, Runtime};

/// A cloud without a server, and what its actions run on.
pub struct Ground {
    pub cloud: Arc<Cloud>,
    pub runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// The cloud that every input meets, with what the inputs before have left in it.
pub static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = Config { records: true, ..Config::new(folder.path(), folder.path()) };
    let log = Log::open(config.files(), config.owner_uid).expect("a log can be opened");
    let (driver, _) = Records::new(folder.path());
    let mut state = State::default();
    state.ec2.seed(&config.region, &config.account);
    let cloud = Cloud::new(config, Arc::new(driver), state, log);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    Ground { cloud, runtime, _folder: folder }
});

/// Refusals are answers; a failure of the server's own is a finding.
pub fn judge<T>(outcome: Result<T, ApiError>) {
    if let Err(error) = outcome {
        assert!(error.status < 500, "{error}");
    }
}
