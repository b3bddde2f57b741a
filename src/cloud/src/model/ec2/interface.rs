//! Network interfaces: those that were made by themselves, and every one as others see it.
//!
//! The interface that an instance was launched with lives in the instance; all others are records here. One that
//! outlives its instance moves from there to here, and one that an instance is launched with moves the other way, so
//! nothing is kept twice.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ec2, Instance, InstanceState, Tags};

/// A network interface that is no instance's first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    pub zone: String,
    pub description: String,
    /// `interface`, `efa`, or what made it: `natGateway`, `vpc_endpoint`.
    pub kind: String,
    pub mac: String,
    pub private_address: Ipv4Addr,
    pub secondary_addresses: Vec<Ipv4Addr>,
    /// Ids.
    pub security_groups: Vec<String>,
    pub source_dest_check: bool,
    /// Whether EC2 made it for a gateway or an endpoint: then only that can take it away.
    pub requester_managed: bool,
    pub attachment: Option<InterfaceAttachment>,
    pub created: Timestamp,
    pub tags: Tags,
}

/// How an interface is attached to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceAttachment {
    /// `eni-attach-…`
    pub id: String,
    pub instance_id: String,
    /// From 1: 0 is the instance's own.
    pub device_index: u32,
    pub network_card: u32,
    pub at: Timestamp,
    pub delete_on_termination: bool,
}

/// What an instance's first interface has beyond what each has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FirstInterface {
    pub secondary_addresses: Vec<Ipv4Addr>,
    /// Whether it outlives the instance.
    pub kept: bool,
    /// The public address that EC2 gave it by itself, until the instance stops.
    pub public_address: Option<Ipv4Addr>,
}

/// Any network interface, as it is shown.
#[derive(Debug, Clone, Copy)]
pub struct InterfaceView<'a> {
    pub id: &'a str,
    pub vpc_id: &'a str,
    pub subnet_id: &'a str,
    pub zone: &'a str,
    pub description: &'a str,
    pub kind: &'a str,
    pub mac: &'a str,
    pub private_address: Ipv4Addr,
    pub secondary_addresses: &'a [Ipv4Addr],
    pub security_groups: &'a [String],
    pub source_dest_check: bool,
    pub requester_managed: bool,
    /// The public address that EC2 gave by itself.
    pub public_address: Option<Ipv4Addr>,
    pub attachment: Option<AttachmentView<'a>>,
    pub tags: &'a Tags,
}

#[derive(Debug, Clone, Copy)]
pub struct AttachmentView<'a> {
    pub id: &'a str,
    pub instance_id: &'a str,
    pub device_index: u32,
    pub network_card: u32,
    pub at: Timestamp,
    pub delete_on_termination: bool,
}

impl InterfaceView<'_> {
    /// All private addresses, the primary one first.
    pub fn private_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        std::iter::once(self.private_address).chain(self.secondary_addresses.iter().copied())
    }

    /// The word for its status.
    pub fn status(&self) -> &'static str {
        if self.attachment.is_some() || self.requester_managed { "in-use" } else { "available" }
    }
}

impl<'a> From<&'a Interface> for InterfaceView<'a> {
    fn from(one: &'a Interface) -> Self {
        Self {
            id: &one.id,
            vpc_id: &one.vpc_id,
            subnet_id: &one.subnet_id,
            zone: &one.zone,
            description: &one.description,
            kind: &one.kind,
            mac: &one.mac,
            private_address: one.private_address,
            secondary_addresses: &one.secondary_addresses,
            security_groups: &one.security_groups,
            source_dest_check: one.source_dest_check,
            requester_managed: one.requester_managed,
            public_address: None,
            attachment: one.attachment.as_ref().map(|attachment| AttachmentView {
                id: &attachment.id,
                instance_id: &attachment.instance_id,
                device_index: attachment.device_index,
                network_card: attachment.network_card,
                at: attachment.at,
                delete_on_termination: attachment.delete_on_termination,
            }),
            tags: &one.tags,
        }
    }
}

impl Instance {
    /// Its first interface.
    pub fn first_interface(&self) -> InterfaceView<'_> {
        InterfaceView {
            id: &self.interface_id,
            vpc_id: &self.vpc_id,
            subnet_id: &self.subnet_id,
            zone: &self.zone,
            description: &self.interface_description,
            kind: &self.interface_type,
            mac: &self.mac,
            private_address: self.private_address,
            secondary_addresses: &self.first.secondary_addresses,
            security_groups: &self.security_groups,
            source_dest_check: self.source_dest_check,
            requester_managed: false,
            // A stopped instance has given it back.
            public_address: self.first.public_address.filter(|_| self.state != InstanceState::Stopped),
            attachment: Some(AttachmentView {
                id: &self.interface_attachment_id,
                instance_id: &self.id,
                device_index: 0,
                network_card: 0,
                at: self.created,
                delete_on_termination: !self.first.kept,
            }),
            tags: &self.interface_tags,
        }
    }
}

impl Ec2 {
    /// Every network interface there is, in no order.
    pub fn all_interfaces(&self) -> impl Iterator<Item = InterfaceView<'_>> {
        self.living().map(Instance::first_interface).chain(self.interfaces.values().map(InterfaceView::from))
    }

    /// The interface of this id.
    pub fn interface(&self, id: &str) -> Option<InterfaceView<'_>> {
        match self.interfaces.get(id) {
            Some(own) => Some(own.into()),
            None => self.living().find(|instance| instance.interface_id == id).map(Instance::first_interface),
        }
    }

    /// The interfaces of an instance, by device index.
    pub fn interfaces_of<'a>(&'a self, instance: &'a Instance) -> Vec<InterfaceView<'a>> {
        let attached = |one: &&Interface| one.attachment.as_ref().is_some_and(|at| at.instance_id == instance.id);
        let mut all: Vec<InterfaceView<'_>> = self.interfaces.values().filter(attached).map(InterfaceView::from).collect();
        all.push(instance.first_interface());
        all.sort_by_key(|one| one.attachment.map(|attachment| attachment.device_index));
        all
    }

    /// The private addresses in use in a subnet.
    pub fn addresses_in(&self, subnet_id: &str) -> BTreeSet<Ipv4Addr> {
        let mut used = BTreeSet::new();
        for one in self.all_interfaces().filter(|one| one.subnet_id == subnet_id) {
            used.extend(one.private_addresses());
        }
        used
    }

    /// The interface that holds this private address of the VPC.
    pub fn interface_at(&self, vpc_id: &str, address: Ipv4Addr) -> Option<InterfaceView<'_>> {
        self.all_interfaces().find(|one| one.vpc_id == vpc_id && one.private_addresses().any(|other| other == address))
    }

    /// Lets an instance's interfaces go with it, or by themselves: each as its attachment says.
    ///
    /// To be called while the instance is still alive.
    pub fn release_interfaces(&mut self, instance_id: &str) {
        let mut gone: Vec<String> = Vec::new();
        for one in self.interfaces.values_mut() {
            if let Some(attachment) = one.attachment.take_if(|attachment| attachment.instance_id == instance_id)
                && attachment.delete_on_termination
            {
                gone.push(one.id.clone());
            }
        }
        self.interfaces.retain(|id, _| !gone.contains(id));
        if let Some(instance) = self.instances.get_mut(instance_id) {
            if instance.first.kept {
                let record = Interface {
                    id: instance.interface_id.clone(),
                    vpc_id: instance.vpc_id.clone(),
                    subnet_id: instance.subnet_id.clone(),
                    zone: instance.zone.clone(),
                    description: instance.interface_description.clone(),
                    kind: instance.interface_type.clone(),
                    mac: instance.mac.clone(),
                    private_address: instance.private_address,
                    secondary_addresses: std::mem::take(&mut instance.first.secondary_addresses),
                    security_groups: instance.security_groups.clone(),
                    source_dest_check: instance.source_dest_check,
                    requester_managed: false,
                    attachment: None,
                    created: instance.created,
                    tags: instance.interface_tags.clone(),
                };
                self.interfaces.insert(record.id.clone(), record);
            } else {
                gone.push(instance.interface_id.clone());
            }
            instance.first.public_address = None;
        }
        self.unmap(&gone);
    }

    /// Takes the elastic addresses off these interfaces.
    pub fn unmap(&mut self, interface_ids: &[String]) {
        for address in self.addresses.values_mut() {
            if address.association.as_ref().is_some_and(|association| interface_ids.contains(&association.interface_id)) {
                address.disassociate();
            }
        }
    }
}

/// A locally administered hardware address, as unlike another in the VPC as the IPv4 address is.
pub fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:ec:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Any network interface, to be changed.
pub enum InterfaceMut<'a> {
    First(&'a mut Instance),
    Own(&'a mut Interface),
}

impl Ec2 {
    /// The interface of this id, to be changed.
    pub fn interface_mut(&mut self, id: &str) -> Option<InterfaceMut<'_>> {
        if self.interfaces.contains_key(id) {
            return self.interfaces.get_mut(id).map(InterfaceMut::Own);
        }
        let mut living = self.instances.values_mut().filter(|instance| instance.is_alive());
        living.find(|instance| instance.interface_id == id).map(InterfaceMut::First)
    }
}

impl InterfaceMut<'_> {
    pub fn security_groups(&mut self) -> &mut Vec<String> {
        match self {
            Self::First(instance) => &mut instance.security_groups,
            Self::Own(one) => &mut one.security_groups,
        }
    }

    pub fn description(&mut self) -> &mut String {
        match self {
            Self::First(instance) => &mut instance.interface_description,
            Self::Own(one) => &mut one.description,
        }
    }

    pub fn source_dest_check(&mut self) -> &mut bool {
        match self {
            Self::First(instance) => &mut instance.source_dest_check,
            Self::Own(one) => &mut one.source_dest_check,
        }
    }

    pub fn secondary_addresses(&mut self) -> &mut Vec<Ipv4Addr> {
        match self {
            Self::First(instance) => &mut instance.first.secondary_addresses,
            Self::Own(one) => &mut one.secondary_addresses,
        }
    }

    /// Says whether it goes with the instance that it is attached to.
    pub fn set_delete_on_termination(&mut self, delete: bool) {
        match self {
            Self::First(instance) => instance.first.kept = !delete,
            Self::Own(one) => {
                if let Some(attachment) = &mut one.attachment {
                    attachment.delete_on_termination = delete;
                }
            }
        }
    }
}
