//! What a killed bake left: found by the tags of its creating calls, and removed by the next bake of the same image.

use aws_sdk_ec2::types::{Filter, Tag};
use ewulf_core::events::Level;
use ewulf_core::orphans::PartKind;

use super::owner::{BAKE_TAG, OWNER_TAG, Owner};
use super::undo::{Made, deregister, remove_all};
use crate::aws::{CallError, Class, Cloud, failure};
use crate::events::Events;

/// One thing that another bake of the image made.
struct Remnant {
    what: Made,
    /// None if its tag cannot be read, which no bake writes.
    owner: Option<Owner>,
}

/// Removes what dead bakes of an image left, and answers with something of a bake that may be alive, which is not touched.
pub async fn remove_dead(cloud: &Cloud, events: &Events, image: &str) -> Result<Option<String>, CallError> {
    let found = find(cloud, image).await?;
    let (alive, dead): (Vec<Remnant>, Vec<Remnant>) =
        found.into_iter().partition(|remnant| remnant.owner.as_ref().is_some_and(Owner::is_alive));
    if !dead.is_empty() {
        let names: Vec<String> = dead.iter().map(|remnant| remnant.what.to_string()).collect();
        let work = events.begin(format!("{image}: remnants"), format!("removing {} of an earlier bake", names.join(" and ")));
        let left = remove_all(cloud, dead.into_iter().map(|remnant| remnant.what).collect()).await;
        for leftover in &left {
            events.notice(Level::Warning, leftover.to_string());
        }
        work.done("Removed what an earlier bake left");
    }
    // The last one made says most.
    Ok(alive.last().map(|remnant| match &remnant.owner {
        Some(owner) => format!("{}, {}", remnant.what, owner.describe()),
        None => remnant.what.to_string(),
    }))
}

/// Removes what is left of an image and is neither builder nor group: a failed AMI, a snapshot, a volume. What is gone
/// already is removed.
pub async fn remove_part(cloud: &Cloud, kind: PartKind, id: &str) -> Result<(), CallError> {
    let answer = match kind {
        PartKind::Image => deregister(cloud, id).await,
        PartKind::Snapshot => {
            let answer = cloud.ec2.delete_snapshot().snapshot_id(id).send().await;
            answer.map(drop).map_err(|error| failure("DeleteSnapshot", id, error))
        }
        PartKind::Volume => {
            let answer = cloud.ec2.delete_volume().volume_id(id).send().await;
            answer.map(drop).map_err(|error| failure("DeleteVolume", id, error))
        }
        _ => Err(CallError::unexpected("DeleteSnapshot", id, format!("a {kind} is not removed so"))),
    };
    match answer.map_err(|error| error.settled(false)) {
        Err(error) if error.class == Class::Gone => Ok(()),
        answer => answer,
    }
}

/// Builders and groups of any bake of an image, in the order in which they are made.
async fn find(cloud: &Cloud, image: &str) -> Result<Vec<Remnant>, CallError> {
    let by_image = Filter::builder().name(format!("tag:{BAKE_TAG}")).values(image).build();
    let states = ["pending", "running", "stopping", "stopped"].map(str::to_owned).to_vec();
    let by_state = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
    let instances = cloud.ec2.describe_instances().filters(by_image.clone()).filters(by_state).send();
    let groups = cloud.ec2.describe_security_groups().filters(by_image).send();
    let (instances, groups) = tokio::join!(instances, groups);
    let instances = instances.map_err(|error| failure("DescribeInstances", image, error))?.reservations.unwrap_or_default();
    let groups = groups.map_err(|error| failure("DescribeSecurityGroups", image, error))?.security_groups.unwrap_or_default();
    let groups = groups.iter().filter_map(|group| {
        Some(Remnant { what: Made::SecurityGroup(group.group_id()?.to_owned()), owner: owner(group.tags()) })
    });
    let instances = instances.iter().flat_map(|reservation| reservation.instances()).filter_map(|instance| {
        Some(Remnant { what: Made::Builder(instance.instance_id()?.to_owned()), owner: owner(instance.tags()) })
    });
    Ok(groups.chain(instances).collect())
}

fn owner(tags: &[Tag]) -> Option<Owner> {
    tags.iter().find(|tag| tag.key() == Some(OWNER_TAG))?.value()?.parse().ok()
}
