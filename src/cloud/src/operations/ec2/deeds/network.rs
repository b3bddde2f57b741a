//! Networks and firewalls of VPCs, as the driver wants them.
//!
//! A VPC gets its network with its first instance. Changes that come while one is carried out are carried out
//! together: whoever waits next finds the model newer than the machine and brings over all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Deed, report};
use crate::cloud::Cloud;
use crate::imds;
use crate::model::ec2::{Ec2, Instance, PREFIX_LISTS, RuleTarget, Vpc};
use crate::node::{DriverError, FlowRule, NodeFirewall, Peer, SubnetNetwork, VpcNetwork};

/// Notes that a VPC's network or firewall is older than the model.
pub(super) fn note(cloud: &Cloud, deed: &Deed) {
    let (stale, vpc_id) = match deed {
        Deed::Network(vpc_id) => (&cloud.settling.stale_networks, vpc_id),
        Deed::Firewall(vpc_id) => (&cloud.settling.stale_firewalls, vpc_id),
        _ => return,
    };
    stale.lock().unwrap_or_else(PoisonError::into_inner).insert(vpc_id.clone());
}

/// Brings a VPC's network and firewall to what the model says; makes the network only if told to.
pub(super) async fn synchronise(cloud: &Arc<Cloud>, vpc_id: &str, make: bool) -> Result<(), DriverError> {
    let _guard = cloud.settling.lock(vpc_id).await;
    let Some(made) = cloud.state().ec2.vpcs.get(vpc_id).map(|vpc| vpc.has_network) else { return Ok(()) };
    if !made && !make {
        return Ok(());
    }
    // A mark is taken away before the model is read: what changes after that marks it again.
    if take(&cloud.settling.stale_networks, vpc_id) || !made {
        let network = {
            let state = cloud.state();
            state.ec2.vpcs.get(vpc_id).map(|vpc| vpc_network(&state.ec2, vpc))
        };
        if let Some(network) = network
            && let Err(error) = set_network(cloud, &network).await
        {
            note(cloud, &Deed::Network(vpc_id.to_owned()));
            return Err(error);
        }
    }
    if take(&cloud.settling.stale_firewalls, vpc_id) || !made {
        let nodes = firewall(&cloud.state().ec2, vpc_id);
        if let Err(error) = cloud.driver.set_firewall(vpc_id, &nodes).await {
            note(cloud, &Deed::Firewall(vpc_id.to_owned()));
            return Err(error);
        }
    }
    Ok(())
}

/// Takes a VPC's mark away; answers whether there was one.
fn take(stale: &Mutex<BTreeSet<String>>, vpc_id: &str) -> bool {
    stale.lock().unwrap_or_else(PoisonError::into_inner).remove(vpc_id)
}

/// Makes the network as it should be, with its metadata service.
async fn set_network(cloud: &Arc<Cloud>, network: &VpcNetwork) -> Result<(), DriverError> {
    cloud.driver.set_network(network).await?;
    if let Some(vpc) = cloud.state().ec2.vpcs.get_mut(&network.vpc_id) {
        vpc.has_network = true;
    }
    cloud.changed();
    imds::ensure(cloud, &network.vpc_id).await
}

/// Removes the network of a VPC that the model has forgotten.
pub(super) async fn remove(cloud: &Arc<Cloud>, vpc_id: &str) {
    let _guard = cloud.settling.lock(vpc_id).await;
    imds::remove(cloud, vpc_id);
    let outcome = cloud.driver.remove_network(vpc_id).await;
    report(cloud, &format!("removal of the network of {vpc_id}"), outcome);
}

/// The VPC as the driver sees it.
pub(in crate::operations::ec2) fn vpc_network(ec2: &Ec2, vpc: &Vpc) -> VpcNetwork {
    let subnets = ec2.subnets.values().filter(|subnet| subnet.vpc_id == vpc.id);
    VpcNetwork {
        vpc_id: vpc.id.clone(),
        cidr: vpc.cidr,
        subnets: subnets.map(|subnet| SubnetNetwork { subnet_id: subnet.id.clone(), cidr: subnet.cidr }).collect(),
        internet: reaches_the_world(ec2, vpc),
    }
}

/// Whether a table in use in the VPC has a route to a gateway attached to it.
fn reaches_the_world(ec2: &Ec2, vpc: &Vpc) -> bool {
    let attached =
        |id: &str| ec2.internet_gateways.get(id).is_some_and(|gateway| gateway.vpc_id.as_deref() == Some(vpc.id.as_str()));
    ec2.route_tables
        .values()
        .filter(|table| table.vpc_id == vpc.id)
        .filter(|table| table.main_association_id.is_some() || !table.associations.is_empty())
        .flat_map(|table| &table.routes)
        .any(|route| attached(&route.target))
}

/// What each node of the VPC may receive and send.
fn firewall(ec2: &Ec2, vpc_id: &str) -> Vec<NodeFirewall> {
    let nodes: Vec<&Instance> = ec2.living().filter(|instance| instance.vpc_id == vpc_id).collect();
    let mut members: BTreeMap<&str, Vec<Ipv4Addr>> = BTreeMap::new();
    for node in &nodes {
        for group in &node.security_groups {
            members.entry(group).or_default().push(node.private_address);
        }
    }
    let flows = |instance: &Instance, egress: bool| {
        let groups = instance.security_groups.iter().filter_map(|id| ec2.security_groups.get(id));
        let rules = groups.flat_map(|group| &group.rules).filter(|rule| rule.egress == egress);
        rules
            .flat_map(|rule| {
                let peers = match &rule.target {
                    RuleTarget::Cidr(network) => vec![Peer::Cidr(*network)],
                    RuleTarget::Group(id) => vec![Peer::Addresses(members.get(id.as_str()).cloned().unwrap_or_default())],
                    RuleTarget::PrefixList(id) => {
                        let lists = PREFIX_LISTS.iter().filter(|list| list.id == id);
                        lists.flat_map(|list| list.cidrs).map(|network| Peer::Cidr(*network)).collect()
                    }
                    // Nodes have no IPv6 address, so there is nothing to let through.
                    RuleTarget::Cidr6(_) => Vec::new(),
                };
                peers.into_iter().map(|peer| FlowRule { protocol: rule.protocol.0, ports: rule.ports, peer })
            })
            .collect()
    };
    nodes
        .iter()
        .map(|instance| NodeFirewall {
            address: instance.private_address,
            ingress: flows(instance, false),
            egress: flows(instance, true),
        })
        .collect()
}
