//! Spot instances that EC2 takes back: the end after the notice.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Deed, start};
use crate::cloud::Cloud;
use crate::model::ec2::{Instance, InstanceState, Interruption, StateReason};

/// Waits until the instance's interruption is due and sets it on its way to `terminated`.
pub(super) async fn carry_out(cloud: &Arc<Cloud>, id: &str) {
    loop {
        let Some(due) = cloud.state().ec2.instance(id).and_then(interruption) else { return };
        let left = due.at.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            // It may be called off, or the instance gone, meanwhile.
            Ok(left) if !left.is_zero() => tokio::time::sleep(left).await,
            _ => break,
        }
    }
    {
        let mut state = cloud.state();
        let Some(instance) = state.ec2.instances.get_mut(id) else { return };
        if interruption(instance).is_none() {
            return;
        }
        instance.fate.interruption = None;
        let reason = StateReason::interrupted();
        instance.transition_reason.clone_from(&reason.message);
        instance.state_reason = Some(reason);
        instance.state = InstanceState::ShuttingDown;
    }
    cloud.log.line(format_args!("spot instance {id} is taken back"));
    cloud.changed();
    start(cloud, Deed::Instance(id.to_owned()));
}

/// The interruption ahead of an instance that is still there to be interrupted.
fn interruption(instance: &Instance) -> Option<Interruption> {
    let present = [InstanceState::Pending, InstanceState::Running].contains(&instance.state);
    instance.fate.interruption.filter(|_| present)
}

/// Gives an instance notice and takes it back at the end of it.
pub(crate) fn interrupt(cloud: &Arc<Cloud>, id: &str, due: Interruption) {
    if let Some(instance) = cloud.state().ec2.instances.get_mut(id) {
        instance.fate.interruption = Some(due);
    }
    cloud.changed();
    start(cloud, Deed::Interruption(id.to_owned()));
}
