//! Roots replaced under their instances.

use std::sync::Arc;

use super::{Deed, instance, report, start};
use crate::cloud::Cloud;
use crate::model::ec2::{Ec2, InstanceState, ReplacementState, Volume, VolumeState, new_id};
use crate::node::DriverError;

/// Takes a replacement to its end: the node is shut down, gets another root and boots.
pub(super) async fn replace(cloud: &Arc<Cloud>, id: &str) {
    let find = || cloud.state().ec2.root_replacements.get(id).filter(|task| task.state.is_open()).cloned();
    let Some(instance_id) = find().map(|task| task.instance_id) else { return };
    let _guard = cloud.settling.lock(&instance_id).await;
    let Some(task) = find() else { return };
    note(cloud, id, ReplacementState::InProgress);
    let mut begun = false;
    let outcome = swap(cloud, &instance_id, &task.layers, &mut begun).await;
    let succeeded = report(cloud, &format!("replacement {id} of the root of {instance_id}"), outcome);
    {
        let mut state = cloud.state();
        if succeeded {
            exchange_volumes(&mut state.ec2, id);
        } else if begun && let Some(instance) = state.ec2.instances.get_mut(&instance_id) {
            // Its old root is gone, and the new one does not boot.
            instance::note_end(instance, false);
        }
    }
    note(cloud, id, if succeeded { ReplacementState::Succeeded } else { ReplacementState::Failed });
    if !succeeded {
        start(cloud, Deed::Instance(instance_id));
    }
    start(cloud, Deed::Sweep);
}

fn note(cloud: &Cloud, id: &str, state: ReplacementState) {
    if let Some(task) = cloud.state().ec2.root_replacements.get_mut(id) {
        task.state = state;
        task.end = (!state.is_open()).then(jiff::Timestamp::now);
    }
    cloud.changed();
}

/// Gives the node its new root; `begun` says whether it lost its old one.
async fn swap(cloud: &Arc<Cloud>, instance_id: &str, layers: &[String], begun: &mut bool) -> Result<(), DriverError> {
    let running = cloud.state().ec2.instance(instance_id).is_some_and(|instance| instance.state == InstanceState::Running);
    if !running {
        return Err(DriverError::State(format!("{instance_id} was stopped or terminated meanwhile")));
    }
    if let Some(base) = layers.first() {
        instance::ensure_base(cloud, base).await?;
    }
    *begun = true;
    cloud.driver.stop(instance_id, false).await?;
    cloud.driver.destroy(instance_id).await?;
    if let Some(instance) = cloud.state().ec2.instances.get_mut(instance_id) {
        instance.has_root = false;
        instance.layers = layers.to_vec();
    }
    cloud.changed();
    cloud.driver.create_root(instance_id, layers).await?;
    if let Some(instance) = cloud.state().ec2.instances.get_mut(instance_id) {
        instance.has_root = true;
    }
    cloud.changed();
    instance::boot(cloud, instance_id).await
}

/// Puts a new volume in the place of the old root's, which goes or is kept as told.
fn exchange_volumes(ec2: &mut Ec2, id: &str) {
    let Some(task) = ec2.root_replacements.get(id) else { return };
    let Some(instance) = ec2.instances.get_mut(&task.instance_id) else { return };
    let volumes = &mut ec2.volumes;
    let is_root = |volume_id: &str| volumes.get(volume_id).is_some_and(|volume| volume.is_root);
    let Some(device) = instance.devices.iter_mut().find(|device| is_root(&device.volume_id)) else { return };
    let Some(old) = volumes.get_mut(&device.volume_id) else { return };
    let of_image = task.image_id.as_ref().and_then(|image| ec2.images.get(image)?.devices.first()?.snapshot_id.clone());
    let now = jiff::Timestamp::now();
    let new = Volume {
        id: new_id("vol"),
        gibibytes: task.gibibytes,
        snapshot_id: task.snapshot_id.clone().or(of_image).or_else(|| old.snapshot_id.clone()),
        state: VolumeState::InUse,
        created: now,
        modified: Vec::new(),
        ..old.clone()
    };
    let old_id = std::mem::replace(&mut device.volume_id, new.id.clone());
    device.attach_time = now;
    old.instance_id = None;
    old.is_root = false;
    old.state = VolumeState::Available;
    if task.delete_replaced {
        volumes.remove(&old_id);
    }
    volumes.insert(new.id.clone(), new);
}
