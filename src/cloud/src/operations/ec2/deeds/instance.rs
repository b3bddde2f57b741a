//! Instances on their way: launching, stopping, terminating, restarting.

use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::{Deed, network, report, start, storage};
use crate::cloud::Cloud;
use crate::faults::Hold;
use crate::model::ec2::{DeviceState, Ec2, Instance, InstanceState, ShutdownBehavior, StateReason, VolumeState};
use crate::node::{DriverError, NodeBoot, NodeDevice};

/// Takes an instance to the end of the way it is on.
pub(super) async fn settle(cloud: &Arc<Cloud>, id: &str) {
    let _guard = cloud.settling.lock(id).await;
    loop {
        let state = cloud.state().ec2.instance(id).map(|instance| instance.state);
        match state {
            Some(InstanceState::Pending) => launch(cloud, id).await,
            Some(InstanceState::Stopping) => stop(cloud, id).await,
            Some(InstanceState::ShuttingDown) => terminate(cloud, id).await,
            _ => return,
        }
    }
}

async fn launch(cloud: &Arc<Cloud>, id: &str) {
    if is_doomed(cloud, id).await {
        return;
    }
    let outcome = bring_up(cloud, id).await;
    let failure = outcome.err().map(|error| crate::store::chain(&error));
    if let Some(failure) = &failure {
        cloud.log.line(format!("launch of {id} failed: {failure}"));
    }
    let mut state = cloud.state();
    let Some(instance) = state.ec2.instances.get_mut(id) else { return };
    if instance.state == InstanceState::Pending {
        match failure {
            None => instance.state = InstanceState::Running,
            Some(failure) => {
                instance.state_reason = Some(StateReason::machine(&failure));
                "Server.InternalError".clone_into(&mut instance.transition_reason);
                // A launch that fails leaves nothing; a start that fails leaves the instance as it was.
                instance.state = match instance.generation {
                    1 => InstanceState::ShuttingDown,
                    _ => InstanceState::Stopping,
                };
            }
        }
    }
    drop(state);
    cloud.changed();
}

/// Lets a slow launch take its time, and ends one that was to fail; answers whether it did.
async fn is_doomed(cloud: &Arc<Cloud>, id: &str) -> bool {
    let Some(fate) = pending(&cloud.state().ec2, id).map(|instance| instance.fate.clone()) else { return false };
    if !fate.launch_delay.is_zero() {
        let started = cloud.state().ec2.instance(id).map(|instance| instance.launch_time);
        let gone = started.and_then(|start| std::time::Duration::try_from(jiff::Timestamp::now().duration_since(start)).ok());
        let mut left = fate.launch_delay.saturating_sub(gone.unwrap_or_default());
        // Whoever terminates it meanwhile does not wait for the rest.
        while !left.is_zero() && pending(&cloud.state().ec2, id).is_some() {
            let step = left.min(std::time::Duration::from_millis(50));
            tokio::time::sleep(step).await;
            left -= step;
        }
    }
    let Some(reason) = fate.failure else { return false };
    let mut state = cloud.state();
    let Some(instance) = state.ec2.instances.get_mut(id).filter(|instance| instance.state == InstanceState::Pending) else {
        return false;
    };
    instance.transition_reason.clone_from(&reason.code);
    instance.state_reason = Some(reason);
    instance.state = match instance.generation {
        1 => InstanceState::ShuttingDown,
        _ => InstanceState::Stopping,
    };
    drop(state);
    cloud.changed();
    true
}

/// Makes all that a pending instance needs and boots it.
async fn bring_up(cloud: &Arc<Cloud>, id: &str) -> Result<(), DriverError> {
    let Some((vpc_id, layers, volumes)) = cloud.state().ec2.instance(id).map(|instance| {
        let volumes: Vec<String> = instance.devices.iter().map(|device| device.volume_id.clone()).collect();
        (instance.vpc_id.clone(), instance.layers.clone(), volumes)
    }) else {
        return Ok(());
    };
    match layers.first() {
        Some(base) => ensure_base(cloud, base).await?,
        None if cloud.config.records => {}
        // An image that was registered with blocks: a disk, where a container needs folders.
        None => {
            let message = "the image's root snapshot holds blocks of a disk, which this cloud cannot boot: \
                           launch an image that was made with CreateImage";
            return Err(DriverError::State(message.to_owned()));
        }
    }
    for volume_id in volumes {
        storage::make(cloud, &volume_id).await?;
    }
    network::synchronise(cloud, &vpc_id, true).await?;
    // The semaphore is never closed, so a permit always comes.
    let _permit = cloud.settling.boots.acquire().await.ok();
    let Some(has_root) = pending(&cloud.state().ec2, id).map(|instance| instance.has_root) else { return Ok(()) };
    if !has_root {
        cloud.driver.create_root(id, &layers).await?;
        if let Some(instance) = cloud.state().ec2.instances.get_mut(id) {
            instance.has_root = true;
        }
        cloud.changed();
    }
    boot(cloud, id).await
}

/// The instance, as long as no one has called its launch off.
fn pending<'a>(ec2: &'a Ec2, id: &str) -> Option<&'a Instance> {
    ec2.instance(id).filter(|instance| instance.state == InstanceState::Pending)
}

/// Boots a node whose root and network exist.
pub(super) async fn boot(cloud: &Arc<Cloud>, id: &str) -> Result<(), DriverError> {
    let node = {
        let state = cloud.state();
        state.ec2.instance(id).and_then(|instance| node_boot(&state.ec2, instance))
    };
    let Some(node) = node else { return Ok(()) };
    cloud.driver.boot(&node).await?;
    let mut state = cloud.state();
    let ec2 = &mut state.ec2;
    if let Some(instance) = ec2.instances.get_mut(id) {
        for device in instance.devices.iter_mut().filter(|device| device.state == DeviceState::Attaching) {
            device.state = DeviceState::Attached;
            if let Some(volume) = ec2.volumes.get_mut(&device.volume_id) {
                volume.state = VolumeState::InUse;
            }
        }
    }
    drop(state);
    cloud.changed();
    Ok(())
}

/// Makes a base present; one at a time, with its progress in the log.
pub(super) async fn ensure_base(cloud: &Arc<Cloud>, base: &str) -> Result<(), DriverError> {
    let known = || cloud.settling.bases.lock().unwrap_or_else(PoisonError::into_inner);
    if known().contains(base) {
        return Ok(());
    }
    let _guard = cloud.settling.lock(&format!("base {base}")).await;
    if known().contains(base) {
        return Ok(());
    }
    let (sender, mut sentences) = mpsc::unbounded_channel::<String>();
    let log = cloud.log.clone();
    let listener = tokio::spawn(async move {
        while let Some(sentence) = sentences.recv().await {
            log.line(sentence);
        }
    });
    let outcome = cloud.driver.ensure_base(base, sender).await;
    // The driver has dropped the sender, so the listener ends by itself once all is written.
    let _ = listener.await;
    outcome?;
    known().insert(base.to_owned());
    Ok(())
}

async fn stop(cloud: &Arc<Cloud>, id: &str) {
    let at_once = cloud.state().ec2.instance(id).is_some_and(|instance| instance.stop_at_once);
    let outcome = cloud.driver.stop(id, at_once).await;
    report(cloud, &format!("stop of {id}"), outcome);
    if let Some(instance) = cloud.state().ec2.instances.get_mut(id) {
        // Termination may have come while the node shut down.
        if instance.state == InstanceState::Stopping {
            instance.state = InstanceState::Stopped;
        }
        instance.stop_at_once = false;
    }
    cloud.changed();
}

async fn terminate(cloud: &Arc<Cloud>, id: &str) {
    let outcome = cloud.driver.destroy(id).await;
    if !report(cloud, &format!("termination of {id}"), outcome) {
        // Once more, after what held it may have let go; then the record ends whatever is left below.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let outcome = cloud.driver.destroy(id).await;
        report(cloud, &format!("second termination of {id}"), outcome);
    }
    let mut deeds = Vec::new();
    {
        let mut state = cloud.state();
        let ec2 = &mut state.ec2;
        ec2.release_interfaces(id);
        let Some(instance) = ec2.instances.get_mut(id) else { return };
        instance.state = InstanceState::Terminated;
        instance.terminated_at = Some(jiff::Timestamp::now());
        instance.has_root = false;
        if !instance.fate.lingering.is_zero() {
            cloud.faults.hold(Hold::Interface, id, cloud.uptime() + instance.fate.lingering);
        }
        let vpc_id = instance.vpc_id.clone();
        for device in std::mem::take(&mut instance.devices) {
            let Some(volume) = ec2.volumes.get_mut(&device.volume_id) else { continue };
            volume.instance_id = None;
            if volume.is_root {
                // A root lives and dies with its node.
                ec2.volumes.remove(&device.volume_id);
            } else if device.delete_on_termination {
                volume.state = VolumeState::Deleting;
                deeds.push(Deed::Volume(device.volume_id));
            } else {
                volume.state = VolumeState::Available;
            }
        }
        deeds.push(Deed::Firewall(vpc_id));
        deeds.push(Deed::Sweep);
    }
    cloud.changed();
    for deed in deeds {
        network::note(cloud, &deed);
        start(cloud, deed);
    }
}

pub(super) async fn reboot(cloud: &Arc<Cloud>, id: &str) {
    let _guard = cloud.settling.lock(id).await;
    let running = cloud.state().ec2.instance(id).is_some_and(|instance| instance.state == InstanceState::Running);
    if running {
        let outcome = cloud.driver.reboot(id).await;
        report(cloud, &format!("reboot of {id}"), outcome);
    }
}

/// Takes notice that a node has ended by itself: powered off from inside, or killed. Returns at once.
pub(in crate::operations::ec2) fn ended(cloud: &Arc<Cloud>, id: &str, powered_off: bool) {
    let Some(generation) = cloud.state().ec2.instance(id).and_then(|instance| {
        // Stopping and the like: the end is what was asked for.
        let alive = [InstanceState::Pending, InstanceState::Running].contains(&instance.state);
        alive.then_some(instance.generation)
    }) else {
        return;
    };
    let (cloud, id) = (Arc::clone(cloud), id.to_owned());
    tokio::spawn(async move {
        // A boot under way answers first.
        let guard = cloud.settling.lock(&id).await;
        if let Some(instance) = cloud.state().ec2.instances.get_mut(&id)
            && instance.generation == generation
            && instance.state == InstanceState::Running
        {
            note_end(instance, powered_off);
        }
        drop(guard);
        cloud.changed();
        settle(&cloud, &id).await;
    });
}

/// Puts an instance whose node has ended on its way to stopped or terminated.
///
/// A power-off from inside is what `InstanceInitiatedShutdownBehavior` is about. A node that was killed is a machine
/// that failed: EC2 keeps such an instance, so its disk can be looked at, unless it is a spot instance.
pub(in crate::operations::ec2) fn note_end(instance: &mut Instance, powered_off: bool) {
    let (reason, terminates) = match powered_off {
        true => (StateReason::powered_off(), instance.shutdown_behavior == ShutdownBehavior::Terminate),
        false => (StateReason::machine("The node ended unexpectedly."), instance.spot_request_id.is_some()),
    };
    instance.transition_reason.clone_from(&reason.message);
    instance.state_reason = Some(reason);
    instance.state = if terminates { InstanceState::ShuttingDown } else { InstanceState::Stopping };
}

/// All that the driver needs to boot the instance.
pub(in crate::operations::ec2) fn node_boot(ec2: &Ec2, instance: &Instance) -> Option<NodeBoot> {
    let subnet = ec2.subnets.get(&instance.subnet_id)?;
    let is_root = |volume_id: &str| ec2.volumes.get(volume_id).is_some_and(|volume| volume.is_root);
    Some(NodeBoot {
        instance_id: instance.id.clone(),
        hostname: instance.hostname(),
        vpc_id: instance.vpc_id.clone(),
        subnet_id: instance.subnet_id.clone(),
        address: instance.private_address,
        mac: instance.mac.clone(),
        subnet: subnet.cidr,
        cores: instance.cpu_options.cores * instance.cpu_options.threads_per_core,
        devices: instance
            .devices
            .iter()
            .filter(|device| device.state != DeviceState::Detaching && !is_root(&device.volume_id))
            .map(|device| NodeDevice { volume_id: device.volume_id.clone(), device: device.device.clone() })
            .collect(),
        shares: instance.shares.clone(),
    })
}
