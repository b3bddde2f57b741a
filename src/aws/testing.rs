//! A local cloud without nodes inside the test's own process.

use ewulf_cloud::config::Config;
use ewulf_cloud::server::Server;

use super::{Cloud, Place};

/// A cloud of records, and clients for it; gone when dropped.
pub struct RecordsCloud {
    pub cloud: Cloud,
    /// The cloud's own side, for tests that look behind the API.
    pub server: Server,
    _folder: tempfile::TempDir,
}

impl RecordsCloud {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for tests can be made");
        let state = folder.path().join("cloud");
        let config = Config { records: true, ..Config::new(&state, folder.path().join("cache")) };
        let server = Server::start(config).await.expect("a cloud of records starts");
        let cloud = Cloud::connect(Place::Local { state }, "us-east-1").await.expect("its files can be read");
        Self { cloud, server, _folder: folder }
    }

    /// Clients of their own, whose calls are counted by themselves.
    pub async fn clients(&self) -> Cloud {
        Cloud::connect(self.cloud.place.clone(), &self.cloud.region).await.expect("its files can be read")
    }
}
