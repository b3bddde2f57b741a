//! The way from a spec's cloud and region to clients; a local cloud that is down is brought up on the way.

use std::path::Path;

use ewulf_cloud::lifecycle::{self, LifecycleError, Running};
use ewulf_core::address::{CLUSTER_TAG, SHARED_TAG};
use ewulf_core::names::Region;
use ewulf_core::spec;

use crate::aws::{Cloud, Place};
use crate::events::Events;

use super::failure::{Failure, Kind};
use super::session::Session;
use super::user;

/// Where a cluster is, for verbs that know it by name alone, and for turning any spec local.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CloudOptions {
    /// The cloud, aws or local, instead of the spec's
    #[arg(long, value_name = "CLOUD", value_enum, hide_possible_values = true)]
    pub cloud: Option<CloudChoice>,
    /// The region of AWS, instead of the spec's
    #[arg(long, value_name = "REGION")]
    pub region: Option<Region>,
}

/// A cloud on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CloudChoice {
    /// Amazon EC2
    Aws,
    /// Real nodes on this machine
    Local,
}

impl From<CloudChoice> for spec::Cloud {
    fn from(choice: CloudChoice) -> Self {
        match choice {
            CloudChoice::Aws => Self::Aws,
            CloudChoice::Local => Self::Local,
        }
    }
}

impl CloudOptions {
    /// Applies the command line's choices to a spec.
    pub fn override_spec(&self, spec: &mut spec::ClusterSpec) {
        if let Some(cloud) = self.cloud {
            spec.cloud = cloud.into();
        }
        if let Some(region) = &self.region {
            spec.region = region.clone();
        }
    }
}

impl Session {
    /// Makes clients for a cloud and region; starts the local cloud if it is down, and says so to `events`.
    pub async fn connect(&self, cloud: spec::Cloud, region: &Region, events: &Events) -> Result<Cloud, Failure> {
        let place = match cloud {
            spec::Cloud::Aws => Place::Aws { endpoint_url: self.options.endpoint_url.clone() },
            spec::Cloud::Local => {
                let state = self.local_state();
                start_local(&state, false, events).await?;
                Place::Local { state }
            }
        };
        Ok(Cloud::connect(place, region.as_str()).await?)
    }

    /// Makes clients for the cloud that a spec names.
    pub async fn connect_for(&self, spec: &spec::ClusterSpec, events: &Events) -> Result<Cloud, Failure> {
        self.connect(spec.cloud, &spec.region, events).await
    }
}

/// Starts the local cloud of a state folder, unless it is up; with `records`, or if it had them before, without nodes.
pub async fn start_local(state: &Path, records: bool, events: &Events) -> Result<Running, Failure> {
    if let Some(running) = lifecycle::status(state).await?.running {
        return Ok(running);
    }
    let config = config(state, records)?;
    let exe = std::env::current_exe()
        .map_err(|error| Failure::new(Kind::Failed, "ewulf's own program file cannot be found").caused_by(Some(&error)))?;
    let mut arguments = ["--local-state", &config.state_dir.to_string_lossy(), "local", "serve"].map(str::to_owned).to_vec();
    if config.records {
        arguments.push("--records".to_owned());
    }
    let work = events.begin("local cloud", "starting");
    match lifecycle::up(&config, &exe, &arguments, |sentence| work.waiting(sentence)).await {
        Ok(running) => {
            work.done(format!("Started at {}.", running.endpoint));
            Ok(running)
        }
        Err(error) => {
            work.failed(&error);
            Err(error.into())
        }
    }
}

/// Whether the local cloud of this folder was last started without nodes.
pub fn keeps_records(state: &Path) -> Result<bool, Failure> {
    let stored = lifecycle::stored_config(state)?;
    Ok(stored.is_some_and(|config| config.records))
}

/// The configuration of the local cloud of a state folder: what `local serve` must be started with. Without nodes if
/// that is wanted now, or was when it was last started.
pub fn config(state: &Path, records: bool) -> Result<ewulf_cloud::Config, Failure> {
    // The state folder itself is the cloud's; those above it are the user's.
    if let (Some(parent), true) = (state.parent(), user::is_root()) {
        user::User::invoking().create_folder(parent).map_err(|error| {
            Failure::new(Kind::Failed, format!("state folder {}: cannot be made", state.display())).caused_by(Some(&error))
        })?;
    }
    let mut config = ewulf_cloud::Config::new(state, user::cache_folder());
    config.records = records || keeps_records(state)?;
    config.share_path_tag = Some(SHARED_TAG.to_owned());
    config.share_group_tag = Some(CLUSTER_TAG.to_owned());
    Ok(config)
}

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let failure = Self::of(Kind::Failed, &error);
        match error {
            LifecycleError::NotRoot { sudo } => failure.hint(sudo),
            LifecycleError::Ended { .. } | LifecycleError::Slow { .. } | LifecycleError::Driver(_) => {
                failure.hint("`sudo ewulf doctor local` looks for what is missing")
            }
            LifecycleError::Mounted(mount) => {
                failure.hint(format!("sudo umount {}", crate::ui::text::shell_word(&mount.to_string_lossy())))
            }
            LifecycleError::Store(_)
            | LifecycleError::Spawn { .. }
            | LifecycleError::End { .. }
            | LifecycleError::Stranger(_)
            | LifecycleError::NotAState(_)
            | LifecycleError::ShutDown(_) => failure,
        }
    }
}
