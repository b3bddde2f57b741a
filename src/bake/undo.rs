//! What a bake has made and must not leave behind.
//!
//! Each thing is noted as soon as it exists, and removed in reverse order. What cannot be removed is named, with the
//! cause; it never hides the failure that led here.

use std::time::Duration;

use aws_sdk_ec2::types::InstanceStateName;

use crate::aws::{Backoff, CallError, Class, Cloud, failure, retry};

/// EC2 takes up to some minutes to end an instance; its group cannot be deleted before.
const TERMINATION_PATIENCE: Duration = Duration::from_secs(600);

/// One thing that a bake made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    SecurityGroup(String),
    Builder(String),
    /// An AMI that is not finished, with its snapshots.
    Image(String),
}

impl std::fmt::Display for Made {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SecurityGroup(id) => write!(formatter, "security group {id}"),
            Self::Builder(id) => write!(formatter, "builder {id}"),
            Self::Image(id) => write!(formatter, "unfinished image {id}"),
        }
    }
}

/// Something that could not be removed.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// What it is, with its id.
    pub what: String,
    pub cause: CallError,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} could not be removed: {}", self.what, self.cause)
    }
}

/// Removes everything in reverse order of making; goes on after a failure, and answers with what is left.
pub(super) async fn remove_all(cloud: &Cloud, made: Vec<Made>) -> Vec<Leftover> {
    let mut left = Vec::new();
    for thing in made.into_iter().rev() {
        if let Err(cause) = remove(cloud, &thing).await {
            left.push(Leftover { what: thing.to_string(), cause });
        }
    }
    left
}

async fn remove(cloud: &Cloud, thing: &Made) -> Result<(), CallError> {
    let outcome = match thing {
        Made::SecurityGroup(id) => delete_group(cloud, id).await,
        Made::Builder(id) => terminate(cloud, id).await,
        Made::Image(id) => deregister(cloud, id).await,
    };
    match outcome {
        // Whoever removed it before did what was wanted.
        Err(error) if error.class == Class::NotFound => Ok(()),
        outcome => outcome,
    }
}

async fn delete_group(cloud: &Cloud, id: &str) -> Result<(), CallError> {
    // A network interface of the builder may outlive it by seconds (ec2.md 5).
    retry(Duration::from_secs(180), &[Class::Conflict], || async {
        cloud.ec2.delete_security_group().group_id(id).send().await.map_err(|error| failure("DeleteSecurityGroup", id, error))?;
        Ok(())
    })
    .await
}

/// Terminates an instance and waits until it is gone.
async fn terminate(cloud: &Cloud, id: &str) -> Result<(), CallError> {
    // An instance may be invisible for seconds after its launch (ec2.md 1).
    retry(Duration::from_secs(30), &[Class::NotFound], || async {
        cloud.ec2.terminate_instances().instance_ids(id).send().await.map_err(|error| failure("TerminateInstances", id, error))
    })
    .await?;
    let mut backoff = Backoff::polling(TERMINATION_PATIENCE);
    loop {
        let answer = cloud
            .ec2
            .describe_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(|error| failure("DescribeInstances", id, error))?;
        let mut instances = answer.reservations().iter().flat_map(|reservation| reservation.instances());
        let is_gone = instances.all(|instance| {
            instance.state().and_then(|state| state.name()).is_some_and(|state| *state == InstanceStateName::Terminated)
        });
        if is_gone {
            return Ok(());
        }
        if !backoff.pause().await {
            return Err(CallError::unexpected("TerminateInstances", id, "it still shuts down after 10 minutes"));
        }
    }
}

/// Deregisters an AMI and deletes its snapshots, which are read first: afterwards nothing names them (ec2.md 8.10).
pub(super) async fn deregister(cloud: &Cloud, id: &str) -> Result<(), CallError> {
    let answer = cloud.ec2.describe_images().image_ids(id).send().await.map_err(|error| failure("DescribeImages", id, error))?;
    let snapshots: Vec<String> = answer
        .images()
        .iter()
        .flat_map(|image| image.block_device_mappings())
        .filter_map(|mapping| mapping.ebs().and_then(|ebs| ebs.snapshot_id()).map(str::to_owned))
        .collect();
    cloud.ec2.deregister_image().image_id(id).send().await.map_err(|error| failure("DeregisterImage", id, error))?;
    for snapshot in snapshots {
        retry(Duration::from_secs(60), &[Class::Conflict], || async {
            cloud
                .ec2
                .delete_snapshot()
                .snapshot_id(&snapshot)
                .send()
                .await
                .map_err(|error| failure("DeleteSnapshot", &snapshot, error))?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}
