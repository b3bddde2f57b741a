//! A new server takes up what a former one left.

use std::sync::Arc;

use super::deeds::{self, Deed, node_boot, vpc_network};
use crate::cloud::Cloud;
use crate::model::ec2::{DeviceState, Ec2, ImageState, InstanceState, SnapshotState, VolumeState};

/// Adopts the nodes that still run, notes the end of those that do not, and goes on with whatever was under way.
pub async fn resume(cloud: &Arc<Cloud>) {
    let (nodes, networks) = {
        let mut state = cloud.state();
        super::prepare(cloud, &mut state.ec2);
        let ec2 = &state.ec2;
        let nodes: Vec<_> =
            ec2.living().filter(|instance| instance.has_root).filter_map(|instance| node_boot(ec2, instance)).collect();
        let networks: Vec<_> = ec2.vpcs.values().filter(|vpc| vpc.has_network).map(|vpc| vpc_network(ec2, vpc)).collect();
        (nodes, networks)
    };
    cloud.changed();
    match cloud.driver.adopt(&nodes, &networks).await {
        Ok(alive) => {
            let deeds = take_up(&mut cloud.state().ec2, &alive);
            cloud.changed();
            deeds::begin(cloud, deeds).await;
        }
        // Nothing is known of the nodes then, so nothing is said of them.
        Err(error) => cloud.log.line(format!("adoption of nodes failed: {}", crate::store::chain(&error))),
    }
}

/// Brings the model up to what still runs; answers with all that is to be done.
fn take_up(ec2: &mut Ec2, alive: &[String]) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for vpc in ec2.vpcs.values().filter(|vpc| vpc.has_network) {
        deeds.push(Deed::Network(vpc.id.clone()));
        deeds.push(Deed::Firewall(vpc.id.clone()));
    }
    for instance in ec2.instances.values_mut() {
        let runs = alive.contains(&instance.id);
        match (instance.state, runs) {
            (InstanceState::Running, false) => deeds::note_end(instance, false),
            (InstanceState::Pending, true) => instance.state = InstanceState::Running,
            (InstanceState::Stopped, true) => instance.state = InstanceState::Stopping,
            _ => {}
        }
        let settled = [InstanceState::Running, InstanceState::Stopped, InstanceState::Terminated];
        if !settled.contains(&instance.state) {
            deeds.push(Deed::Instance(instance.id.clone()));
        }
        if instance.fate.interruption.is_some() {
            deeds.push(Deed::Interruption(instance.id.clone()));
        }
        let moving = instance.devices.iter().filter(|device| device.state != DeviceState::Attached);
        deeds.extend(moving.map(|device| Deed::Volume(device.volume_id.clone())));
    }
    let moving = [VolumeState::Creating, VolumeState::Deleting];
    let volumes = ec2.volumes.values().filter(|volume| moving.contains(&volume.state));
    deeds.extend(volumes.map(|volume| Deed::Volume(volume.id.clone())));
    let open = ec2.modifications.values().filter(|modification| modification.end.is_none());
    deeds.extend(open.map(|modification| Deed::Grow(modification.volume_id.clone())));
    let images = ec2.images.values().filter(|image| image.state == ImageState::Pending);
    deeds.extend(images.map(|image| Deed::Image(image.id.clone())));
    let of_images: Vec<&String> =
        ec2.images.values().flat_map(|image| &image.devices).filter_map(|device| device.snapshot_id.as_ref()).collect();
    let snapshots = ec2.snapshots.values().filter(|snapshot| snapshot.state == SnapshotState::Pending);
    deeds.extend(
        snapshots
            .filter(|snapshot| snapshot.upload.is_none())
            .filter(|snapshot| !of_images.contains(&&snapshot.id))
            .map(|snapshot| Deed::Snapshot(snapshot.id.clone())),
    );
    let roots = ec2.root_replacements.values().filter(|task| task.state.is_open());
    deeds.extend(roots.map(|task| Deed::Root(task.id.clone())));
    deeds.push(Deed::Sweep);
    deeds
}
