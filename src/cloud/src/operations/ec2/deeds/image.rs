//! Snapshots and images: layers frozen, volumes copied.

use std::sync::Arc;

use super::{instance, report};
use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, ImageState, InstanceState, SnapshotSource, SnapshotState};
use crate::node::DriverError;

/// Takes a pending snapshot that belongs to no image.
pub(super) async fn settle_snapshot(cloud: &Arc<Cloud>, id: &str) {
    let source = {
        let state = cloud.state();
        state.ec2.snapshots.get(id).filter(|snapshot| snapshot.state == SnapshotState::Pending).map(|snapshot| {
            let volume = state.ec2.volumes.get(&snapshot.volume_id);
            (snapshot.volume_id.clone(), volume.and_then(|volume| volume.instance_id.clone()))
        })
    };
    let Some((volume_id, instance_id)) = source else { return };
    // A root is frozen while its node is still; a volume is copied as it is.
    let lock = instance_id.unwrap_or_else(|| volume_id.clone());
    let _guard = cloud.settling.lock(&lock).await;
    let outcome = take(cloud, id).await;
    finish(&mut cloud.state().ec2, id, &outcome);
    report(cloud, &format!("snapshot {id}"), outcome);
    cloud.changed();
}

/// Freezes or copies what a snapshot is of.
async fn take(cloud: &Arc<Cloud>, id: &str) -> Result<(), DriverError> {
    let copy_of = cloud.state().ec2.snapshots.get(id).and_then(|snapshot| snapshot.copy_of.clone());
    if let Some(source_id) = copy_of {
        return copy(cloud, &source_id, id).await;
    }
    let source = {
        let state = cloud.state();
        let Some(snapshot) = state.ec2.snapshots.get(id) else { return Ok(()) };
        let volume = state.ec2.volumes.get(&snapshot.volume_id);
        let root_of = volume.filter(|volume| volume.is_root).and_then(|volume| volume.instance_id.clone());
        volume.map(|volume| (volume.id.clone(), root_of))
    };
    match source {
        None => Err(DriverError::State(format!("the volume of {id} is gone"))),
        Some((volume_id, None)) => cloud.driver.snapshot_volume(&volume_id, id).await,
        Some((_, Some(instance_id))) => {
            cloud.driver.freeze_layer(&instance_id, id).await?;
            let mut state = cloud.state();
            let ec2 = &mut state.ec2;
            let Some(instance) = ec2.instances.get_mut(&instance_id) else { return Ok(()) };
            if !instance.layers.iter().any(|layer| layer == id) {
                instance.layers.push(id.to_owned());
            }
            let layers = instance.layers.clone();
            ec2.layers.insert(id.to_owned());
            if let Some(snapshot) = ec2.snapshots.get_mut(id) {
                snapshot.source = SnapshotSource::Root { layers };
            }
            drop(state);
            cloud.changed();
            Ok(())
        }
    }
}

/// Copies a snapshot's blocks; layers are shared, so those of a root are there already.
async fn copy(cloud: &Arc<Cloud>, source_id: &str, id: &str) -> Result<(), DriverError> {
    let is_volume = cloud.state().ec2.snapshots.get(id).is_some_and(|snapshot| snapshot.source == SnapshotSource::Volume);
    if is_volume {
        cloud.driver.blocks().copy(source_id, id).await?;
    }
    // What was deleted meanwhile may have been copied in part.
    match cloud.state().ec2.snapshots.contains_key(source_id) {
        true => Ok(()),
        false => Err(DriverError::State(format!("{source_id} was deleted before it was copied"))),
    }
}

/// Notes how a snapshot ended.
fn finish(ec2: &mut Ec2, id: &str, outcome: &Result<(), DriverError>) {
    if let Some(snapshot) = ec2.snapshots.get_mut(id) {
        match outcome {
            Ok(()) => {
                snapshot.state = SnapshotState::Completed;
                snapshot.copy_of = None;
            }
            Err(error) => {
                snapshot.state = SnapshotState::Error;
                snapshot.state_message = Some(crate::store::chain(error));
            }
        }
    }
}

/// Takes a pending image: its instance stands still meanwhile and runs again afterwards if it ran before.
pub(super) async fn settle_image(cloud: &Arc<Cloud>, id: &str) {
    let source = {
        let state = cloud.state();
        let image = state.ec2.images.get(id).filter(|image| image.state == ImageState::Pending);
        image.map(|image| {
            let snapshots = image.devices.iter().filter_map(|device| device.snapshot_id.clone());
            let still = image.without_reboot;
            (image.source_instance_id.clone(), still, snapshots.collect::<Vec<_>>())
        })
    };
    let Some((instance_id, without_reboot, snapshots)) = source else { return };
    let _guard = cloud.settling.lock(instance_id.as_deref().unwrap_or(id)).await;
    let outcome = match &instance_id {
        Some(instance_id) => take_all(cloud, instance_id, without_reboot, &snapshots).await,
        None => take_each(cloud, &snapshots).await,
    };
    let failure = outcome.as_ref().err().map(|error| crate::store::chain(error));
    {
        let mut state = cloud.state();
        let ec2 = &mut state.ec2;
        for snapshot_id in &snapshots {
            finish(ec2, snapshot_id, &outcome);
        }
        let layers = snapshots.first().and_then(|root| Some(ec2.snapshots.get(root)?.layers().to_vec()));
        if let Some(image) = ec2.images.get_mut(id) {
            image.layers = layers.unwrap_or_default();
            image.state = if failure.is_some() { ImageState::Failed } else { ImageState::Available };
            image.failure = failure;
        }
    }
    report(cloud, &format!("image {id}"), outcome);
    cloud.changed();
}

/// Takes the snapshots of an image, the root's first.
async fn take_all(cloud: &Arc<Cloud>, instance_id: &str, without_reboot: bool, snapshots: &[String]) -> Result<(), DriverError> {
    let state = cloud.state().ec2.instance(instance_id).map(|instance| instance.state);
    let restart = match state {
        Some(InstanceState::Stopped) => false,
        Some(InstanceState::Running) => !without_reboot,
        _ => return Err(DriverError::State(format!("{instance_id} was stopped or terminated meanwhile"))),
    };
    if restart {
        cloud.driver.stop(instance_id, false).await?;
    }
    let outcome = take_each(cloud, snapshots).await;
    if restart {
        let booted = instance::boot(cloud, instance_id).await;
        if !report(cloud, &format!("restart of {instance_id} after its image"), booted)
            && let Some(instance) = cloud.state().ec2.instances.get_mut(instance_id)
        {
            instance::note_end(instance, false);
            super::start(cloud, super::Deed::Instance(instance_id.to_owned()));
        }
    }
    outcome
}

async fn take_each(cloud: &Arc<Cloud>, snapshots: &[String]) -> Result<(), DriverError> {
    for snapshot_id in snapshots {
        take(cloud, snapshot_id).await?;
    }
    Ok(())
}
