//! One exhaustive match from a plan's action to the calls that carry it out, and to the sentence that names it.

use ewulf_core::address::Address;
use ewulf_core::plan::{Action, Launch, Step};

use super::{Run, StepError, changes, create, instances, join, remove};
use crate::events::Work;

/// Says what an action does, without a period.
pub fn sentence(action: &Action) -> String {
    match action {
        Action::CreateVpc { cidr } => format!("creating VPC {cidr}"),
        Action::CreateSubnet { cidr, zone } => format!("creating subnet {cidr} in {zone}"),
        Action::CreateGateway => "creating internet gateway".into(),
        Action::AttachGateway => "attaching internet gateway".into(),
        Action::CreateRoutes => "creating route table".into(),
        Action::AssociateRoutes => "associating route table with the subnet".into(),
        Action::CreateDefaultRoute => "routing 0.0.0.0/0 to the gateway".into(),
        Action::CreateSecurityGroup { name } => format!("creating security group {name}"),
        Action::AllowIngress { rules } => format!("allowing {}", join_texts(rules)),
        Action::RevokeIngress { rules } => format!("revoking {}", join_texts(rules)),
        Action::CreatePlacementGroup { name } => format!("creating placement group {name}"),
        Action::CreateTemplate { name, .. } => format!("creating launch template {name}"),
        Action::CreateVolume { gibibytes, zone, .. } => format!("creating volume of {gibibytes} GiB in {zone}"),
        Action::GrowVolume { gibibytes } => format!("growing volume to {gibibytes} GiB"),
        Action::AttachVolume { device } => format!("attaching volume to the master as {device}"),
        Action::GrowFileSystem { gibibytes, .. } => format!("growing the shared file system to {gibibytes} GiB"),
        Action::Launch(launch) => launching(launch),
        Action::Start { ids } => format!("starting {}", shortened(ids)),
        Action::SetInstanceProfile { ids, profile: Some(profile) } => {
            format!("giving {} instance profile {profile}", shortened(ids))
        }
        Action::SetInstanceProfile { ids, profile: None } => format!("taking the instance profile from {}", shortened(ids)),
        Action::SetSecurityGroup { interfaces } => format!("putting {} into the cluster's security group", shortened(interfaces)),
        Action::SetMetadataOptions { ids, options } => format!("setting the metadata service of {}: {options}", shortened(ids)),
        Action::GrowRoots { volumes, gibibytes } => format!("growing {} to {gibibytes} GiB", shortened(volumes)),
        Action::GrowRootFileSystems { ids, gibibytes, .. } => {
            format!("growing the root file system of {} to {gibibytes} GiB", count(ids.len(), "node"))
        }
        Action::ChangeStopped { nodes } => format!("stopping, changing and starting {}", count(nodes.len(), "node")),
        Action::ReplaceRoot(replacement) => format!("giving {} a root volume from {}", replacement.id, replacement.image_id),
        Action::AwaitRunning { nodes } => format!("waiting until {} run", count(nodes.len(), "node")),
        Action::Join { nodes, .. } => format!("joining {}", count(nodes.len(), "node")),
        Action::SetTags { ids, .. } => format!("tagging {}", shortened(ids)),
        Action::RemoveTags { ids, keys } => format!("removing tags {} from {}", keys.join(", "), shortened(ids)),
        Action::Terminate { ids } => format!("terminating {}", count(ids.len(), "node")),
        Action::DeleteVolume { id } => format!("deleting volume {id}"),
        Action::DeleteTemplate { id } => format!("deleting launch template {id}"),
        Action::DeletePlacementGroup { name } => format!("deleting placement group {name}"),
        Action::DeleteSecurityGroup { id } => format!("deleting security group {id}"),
        Action::DeleteSubnet { id } => format!("deleting subnet {id}"),
        Action::DissociateRoutes { associations } => format!("dissociating {}", shortened(associations)),
        Action::DeleteRoutes { id } => format!("deleting route table {id}"),
        Action::DetachGateway { id, .. } => format!("detaching internet gateway {id}"),
        Action::DeleteGateway { id } => format!("deleting internet gateway {id}"),
        Action::DeleteVpc { id } => format!("deleting VPC {id}"),
    }
}

/// Carries out one step; answers what came of it.
pub(super) async fn perform(run: &Run, step: &Step, work: &Work) -> Result<String, StepError> {
    match &step.action {
        Action::CreateVpc { cidr } => create::vpc(run, *cidr).await,
        Action::CreateSubnet { cidr, zone } => create::subnet(run, *cidr, zone).await,
        Action::CreateGateway => create::gateway(run).await,
        Action::AttachGateway => create::attach_gateway(run).await,
        Action::CreateRoutes => create::routes(run).await,
        Action::AssociateRoutes => create::associate_routes(run).await,
        Action::CreateDefaultRoute => create::default_route(run).await,
        Action::CreateSecurityGroup { name } => create::security_group(run, name).await,
        Action::AllowIngress { rules } => create::allow_ingress(run, rules).await,
        Action::RevokeIngress { rules } => remove::ingress(run, rules).await,
        Action::CreatePlacementGroup { name } => create::placement_group(run, &step.address, name).await,
        Action::CreateTemplate { name, template } => create::template(run, &step.address, name, template).await,
        Action::CreateVolume { gibibytes, zone, keep } => create::volume(run, *gibibytes, zone, *keep).await,
        Action::GrowVolume { gibibytes } => create::grow_volume(run, *gibibytes).await,
        Action::AttachVolume { device } => create::attach_volume(run, device).await,
        Action::GrowFileSystem { gibibytes, shared_path } => create::grow_file_system(run, *gibibytes, shared_path).await,
        Action::Launch(launch) => instances::launch(run, launch, work).await,
        Action::Start { ids } => instances::start(run, ids, work).await,
        Action::SetInstanceProfile { ids, profile } => changes::set_instance_profile(run, ids, profile.as_deref()).await,
        Action::SetSecurityGroup { interfaces } => changes::set_security_group(run, interfaces).await,
        Action::SetMetadataOptions { ids, options } => changes::set_metadata_options(run, ids, *options).await,
        Action::GrowRoots { volumes, gibibytes } => changes::grow_roots(run, volumes, *gibibytes).await,
        Action::GrowRootFileSystems { ids, volumes, gibibytes } => {
            changes::grow_root_file_systems(run, ids, volumes, *gibibytes).await
        }
        Action::ChangeStopped { nodes } => changes::change_stopped(run, nodes, work).await,
        Action::ReplaceRoot(replacement) => changes::replace_root(run, replacement, work).await,
        Action::AwaitRunning { nodes } => instances::await_running(run, nodes, work).await,
        Action::Join { nodes, shared_path, cidr } => join::join(run, nodes, shared_path, *cidr, work).await,
        Action::SetTags { ids, tags } => create::set_tags(run, ids, tags).await,
        Action::RemoveTags { ids, keys } => remove::tags(run, ids, keys).await,
        Action::Terminate { ids } => instances::terminate(run, ids, work).await,
        Action::DeleteVolume { id } => remove::volume(run, id).await,
        Action::DeleteTemplate { id } => remove::template(run, id).await,
        Action::DeletePlacementGroup { name } => remove::placement_group(run, name).await,
        Action::DeleteSecurityGroup { id } => remove::security_group(run, id, work).await,
        Action::DeleteSubnet { id } => remove::subnet(run, id, work).await,
        Action::DissociateRoutes { associations } => remove::associations(run, associations).await,
        Action::DeleteRoutes { id } => remove::routes(run, id).await,
        Action::DetachGateway { id, vpc } => remove::detach_gateway(run, id, vpc, work).await,
        Action::DeleteGateway { id } => remove::gateway(run, id).await,
        Action::DeleteVpc { id } => remove::vpc(run, id, work).await,
    }
}

/// What is launched; where, if there are other places.
fn launching(launch: &Launch) -> String {
    let nodes = count(launch.indexes.len(), "node");
    match launch.rung {
        (_, 1) => format!("launching {nodes}"),
        (rung, of) => format!("launching {nodes}: {}, rung {rung} of {of}", launch.pool),
    }
}

fn join_texts(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `1 node`, `3 nodes`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The first few of many ids.
pub(super) fn shortened(ids: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown} and {} more", ids.len() - SHOWN) } else { shown }
}

/// Name of a resource for people: `demo node/master`.
pub(super) fn display_name(run: &Run, address: &Address) -> String {
    format!("{} {address}", run.plan.cluster)
}
