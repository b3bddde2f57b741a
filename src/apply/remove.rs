//! Removal: gone already counts as done, in use is waited out (ec2.md 5.2).

use std::time::Duration;

use aws_sdk_ec2::types as sdk;
use ewulf_core::address::Address;
use ewulf_core::world::IngressRule;

use super::actions::shortened;
use super::create::permissions;
use super::{Run, StepError};
use crate::aws::{CallError, Class, failure, retry};
use crate::events::Work;
use crate::observe::filter;

/// How long something may stay in use after what used it has ended: Terraform waits as long (ec2.md 5.2).
const IN_USE: Duration = Duration::from_secs(900);

/// Repeats a delete while something still uses the object; an object that is gone is deleted.
async fn delete<F>(call: impl FnMut() -> F) -> Result<(), CallError>
where
    F: Future<Output = Result<(), CallError>>,
{
    match retry(IN_USE, &[Class::Conflict, Class::Ambiguous, Class::Unreachable], call).await {
        Err(error) if error.class == Class::NotFound => Ok(()),
        answer => answer,
    }
}

/// Sends one delete request and drops its answer.
macro_rules! deletion {
    ($call:literal, $id:expr, $request:expr) => {
        delete(|| async { $request.send().await.map(drop).map_err(|error| failure($call, $id, error)) })
    };
}

pub async fn ingress(run: &Run, rules: &[IngressRule]) -> Result<String, StepError> {
    let group = run.id(&Address::SecurityGroup)?;
    let permissions = permissions(&group, rules);
    let request = || run.cloud.ec2.revoke_security_group_ingress().group_id(&group).set_ip_permissions(Some(permissions.clone()));
    deletion!("RevokeSecurityGroupIngress", &group, request()).await?;
    Ok(format!("{group} no longer admits {}", rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
}

pub async fn tags(run: &Run, ids: &[String], keys: &[String]) -> Result<String, StepError> {
    let tags: Vec<sdk::Tag> = keys.iter().map(|key| sdk::Tag::builder().key(key).build()).collect();
    let request = || run.cloud.ec2.delete_tags().set_resources(Some(ids.to_vec())).set_tags(Some(tags.clone()));
    deletion!("DeleteTags", shortened(ids), request()).await?;
    Ok(format!("removed tags {}", keys.join(", ")))
}

pub async fn volume(run: &Run, id: &str) -> Result<String, StepError> {
    deletion!("DeleteVolume", id, run.cloud.ec2.delete_volume().volume_id(id)).await?;
    Ok(format!("deleted volume {id}"))
}

pub async fn template(run: &Run, id: &str) -> Result<String, StepError> {
    deletion!("DeleteLaunchTemplate", id, run.cloud.ec2.delete_launch_template().launch_template_id(id)).await?;
    Ok(format!("deleted launch template {id}"))
}

pub async fn placement_group(run: &Run, name: &str) -> Result<String, StepError> {
    deletion!("DeletePlacementGroup", name, run.cloud.ec2.delete_placement_group().group_name(name)).await?;
    Ok(format!("deleted placement group {name}"))
}

pub async fn security_group(run: &Run, id: &str, work: &Work) -> Result<String, StepError> {
    let answer = deletion!("DeleteSecurityGroup", id, run.cloud.ec2.delete_security_group().group_id(id)).await;
    explained(run, answer, filter("group-id", id), work).await?;
    Ok(format!("deleted security group {id}"))
}

pub async fn subnet(run: &Run, id: &str, work: &Work) -> Result<String, StepError> {
    let answer = deletion!("DeleteSubnet", id, run.cloud.ec2.delete_subnet().subnet_id(id)).await;
    explained(run, answer, filter("subnet-id", id), work).await?;
    Ok(format!("deleted subnet {id}"))
}

pub async fn associations(run: &Run, ids: &[String]) -> Result<String, StepError> {
    for id in ids {
        deletion!("DisassociateRouteTable", id, run.cloud.ec2.disassociate_route_table().association_id(id)).await?;
    }
    Ok(format!("dissociated {}", shortened(ids)))
}

pub async fn routes(run: &Run, id: &str) -> Result<String, StepError> {
    deletion!("DeleteRouteTable", id, run.cloud.ec2.delete_route_table().route_table_id(id)).await?;
    Ok(format!("deleted route table {id}"))
}

pub async fn detach_gateway(run: &Run, id: &str, vpc: &str, work: &Work) -> Result<String, StepError> {
    let request = || run.cloud.ec2.detach_internet_gateway().internet_gateway_id(id).vpc_id(vpc);
    let answer = deletion!("DetachInternetGateway", id, request()).await;
    explained(run, answer, filter("vpc-id", vpc), work).await?;
    Ok(format!("detached {id}"))
}

pub async fn gateway(run: &Run, id: &str) -> Result<String, StepError> {
    let request = || run.cloud.ec2.delete_internet_gateway().internet_gateway_id(id);
    deletion!("DeleteInternetGateway", id, request()).await?;
    Ok(format!("deleted internet gateway {id}"))
}

pub async fn vpc(run: &Run, id: &str, work: &Work) -> Result<String, StepError> {
    let answer = deletion!("DeleteVpc", id, run.cloud.ec2.delete_vpc().vpc_id(id)).await;
    explained(run, answer, filter("vpc-id", id), work).await?;
    Ok(format!("deleted VPC {id}"))
}

/// Adds to a conflict which network interfaces are still there: they are what holds networks back (ec2.md 5.2).
async fn explained(run: &Run, answer: Result<(), CallError>, interfaces: sdk::Filter, work: &Work) -> Result<(), StepError> {
    let Err(mut error) = answer else { return Ok(()) };
    if error.class == Class::Conflict {
        work.waiting("asking what still uses it");
        let found = run.cloud.ec2.describe_network_interfaces().filters(interfaces).send().await;
        let list: Vec<String> = found
            .map(|answer| answer.network_interfaces.unwrap_or_default())
            .unwrap_or_default()
            .iter()
            .map(|interface| {
                let id = interface.network_interface_id().unwrap_or_default();
                format!("{id} ({})", interface.description().filter(|text| !text.is_empty()).unwrap_or("no description"))
            })
            .collect();
        if !list.is_empty() {
            error.message = format!("{}; network interfaces still there: {}", error.message, list.join(", "));
        }
    }
    Err(error.into())
}
