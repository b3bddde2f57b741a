//! Volumes on their way, and what nothing stands on any more.

use std::sync::Arc;

use super::{Deed, report, start};
use crate::cloud::Cloud;
use crate::model::ec2::{DeviceState, Ec2, InstanceState, VolumeState};
use crate::node::{DriverError, NodeDevice};

/// Takes a volume to the end of the way it is on.
pub(super) async fn settle_volume(cloud: &Arc<Cloud>, id: &str) {
    let volume = cloud.state().ec2.volumes.get(id).map(|volume| (volume.state, volume.instance_id.clone()));
    let Some((state, instance_id)) = volume else { return };
    match (state, instance_id) {
        (VolumeState::Creating, _) => {
            if let Err(error) = make(cloud, id).await {
                cloud.log.line(format!("creation of {id} failed: {}", crate::store::chain(&error)));
                if let Some(volume) = cloud.state().ec2.volumes.get_mut(id) {
                    volume.state = VolumeState::Error;
                }
                cloud.changed();
            }
        }
        (VolumeState::Deleting, _) => delete(cloud, id).await,
        (_, Some(instance_id)) => settle_attachment(cloud, &instance_id, id).await,
        _ => {}
    }
}

/// Makes a volume that is still to be made; does nothing for others.
pub(super) async fn make(cloud: &Arc<Cloud>, id: &str) -> Result<(), DriverError> {
    let _guard = cloud.settling.lock(id).await;
    let Some((gibibytes, snapshot_id)) = cloud
        .state()
        .ec2
        .volumes
        .get(id)
        .and_then(|volume| (volume.state == VolumeState::Creating).then(|| (volume.gibibytes, volume.snapshot_id.clone())))
    else {
        return Ok(());
    };
    cloud.driver.create_volume(id, gibibytes, snapshot_id.as_deref()).await?;
    if let Some(volume) = cloud.state().ec2.volumes.get_mut(id)
        && volume.state == VolumeState::Creating
    {
        volume.state = if volume.instance_id.is_some() { VolumeState::InUse } else { VolumeState::Available };
    }
    cloud.changed();
    Ok(())
}

async fn delete(cloud: &Arc<Cloud>, id: &str) {
    let guard = cloud.settling.lock(id).await;
    let outcome = cloud.driver.delete_volume(id).await;
    report(cloud, &format!("deletion of {id}"), outcome);
    {
        let mut state = cloud.state();
        state.ec2.volumes.remove(id);
        state.ec2.modifications.remove(id);
    }
    drop(guard);
    cloud.changed();
    start(cloud, Deed::Sweep);
}

/// Grows a volume below to the size that the model says.
pub(super) async fn grow(cloud: &Arc<Cloud>, id: &str) {
    let _guard = cloud.settling.lock(id).await;
    let size = cloud.state().ec2.volumes.get(id).filter(|volume| !volume.is_root).map(|volume| volume.gibibytes);
    let failure = match size {
        // A root has no size of its own below.
        None => None,
        Some(gibibytes) => cloud.driver.grow_volume(id, gibibytes).await.err(),
    };
    if let Some(modification) = cloud.state().ec2.modifications.get_mut(id) {
        modification.end = Some(jiff::Timestamp::now());
        modification.failure = failure.as_ref().map(|error| crate::store::chain(error));
    }
    if let Some(error) = failure {
        cloud.log.line(format!("growing {id} failed: {}", crate::store::chain(&error)));
    }
    cloud.changed();
}

/// Attaches or detaches, as the instance's device says.
async fn settle_attachment(cloud: &Arc<Cloud>, instance_id: &str, volume_id: &str) {
    let _guard = cloud.settling.lock(instance_id).await;
    let Some((running, device)) = cloud.state().ec2.instance(instance_id).and_then(|instance| {
        let running = instance.state == InstanceState::Running;
        Some((running, instance.device_of(volume_id)?.clone()))
    }) else {
        return;
    };
    let below = NodeDevice { volume_id: volume_id.to_owned(), device: device.device.clone() };
    let done = match device.state {
        DeviceState::Attached => return,
        // A node that does not run gets its devices, or lacks them, at its next boot.
        _ if !running => true,
        DeviceState::Attaching => {
            let outcome = cloud.driver.attach_volume(instance_id, &below).await;
            report(cloud, &format!("attaching {volume_id} to {instance_id}"), outcome)
        }
        DeviceState::Detaching => {
            let outcome = cloud.driver.detach_volume(instance_id, &below).await;
            report(cloud, &format!("detaching {volume_id} from {instance_id}"), outcome)
        }
    };
    settled(&mut cloud.state().ec2, instance_id, volume_id, done);
    cloud.changed();
}

/// Notes how an attachment or detachment ended; one that failed is as before.
fn settled(ec2: &mut Ec2, instance_id: &str, volume_id: &str, done: bool) {
    let Some(instance) = ec2.instances.get_mut(instance_id) else { return };
    let Some(place) = instance.devices.iter().position(|device| device.volume_id == volume_id) else { return };
    let attached = (instance.devices[place].state == DeviceState::Attaching) == done;
    if attached {
        instance.devices[place].state = DeviceState::Attached;
    } else {
        instance.devices.remove(place);
    }
    if let Some(volume) = ec2.volumes.get_mut(volume_id) {
        volume.state = if attached { VolumeState::InUse } else { VolumeState::Available };
        volume.instance_id = attached.then(|| instance_id.to_owned());
    }
}

/// Deletes layers and shares that nothing stands on any more.
pub(super) async fn sweep(cloud: &Arc<Cloud>) {
    let _guard = cloud.settling.lock("sweep").await;
    let (layers, shares) = {
        let state = cloud.state();
        (state.ec2.unused_layers(), unused_shares(cloud, &state.ec2))
    };
    for layer in layers {
        if report(cloud, &format!("deletion of layer {layer}"), cloud.driver.delete_layer(&layer).await) {
            cloud.state().ec2.layers.remove(&layer);
            cloud.changed();
        }
    }
    for (group, key) in shares {
        if report(cloud, &format!("deletion of share {key}"), cloud.driver.delete_share(&key).await) {
            let mut state = cloud.state();
            if let Some(keys) = state.ec2.shares.get_mut(&group) {
                keys.remove(&key);
            }
            state.ec2.shares.retain(|_, keys| !keys.is_empty());
            drop(state);
            cloud.changed();
        }
    }
}

/// Shares whose group has no volume and no living instance.
fn unused_shares(cloud: &Cloud, ec2: &Ec2) -> Vec<(String, String)> {
    let Some(tag) = &cloud.config.share_group_tag else { return Vec::new() };
    let used = |group: &String| {
        ec2.living().any(|instance| instance.tags.get(tag) == Some(group))
            || ec2.volumes.values().any(|volume| volume.tags.get(tag) == Some(group))
    };
    ec2.shares
        .iter()
        .filter(|(group, _)| !used(group))
        .flat_map(|(group, keys)| keys.iter().map(|key| (group.clone(), key.clone())))
        .collect()
}
