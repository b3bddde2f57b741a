//! Public IPv4 addresses: elastic ones, and those that instances get by themselves.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Ec2, Instance, InstanceState, InterfaceView, Tags};
use crate::node::Network;

/// Where public addresses come from: RFC 2544's range for tests, which no one on the internet has. Nothing is routed
/// to them; they are what a client sees.
const POOL: Network = Network { address: Ipv4Addr::new(198, 18, 0, 0), prefix: 15 };

/// An elastic address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `eipalloc-…`
    pub id: String,
    pub public_address: Ipv4Addr,
    pub association: Option<AddressAssociation>,
    /// Id of the association that was taken off last: to do so again is no error (ec2.md 2.5).
    #[serde(default)]
    pub former_association: Option<String>,
    pub tags: Tags,
}

impl Address {
    /// Takes the address off whatever it stands for; answers with the interface.
    pub fn disassociate(&mut self) -> Option<String> {
        let association = self.association.take()?;
        self.former_association = Some(association.id);
        Some(association.interface_id)
    }
}

/// Which private address an elastic one stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociation {
    /// `eipassoc-…`
    pub id: String,
    pub interface_id: String,
    pub private_address: Ipv4Addr,
}

/// A public address as an interface shows it.
#[derive(Debug, Clone, Copy)]
pub struct PublicAddress<'a> {
    pub address: Ipv4Addr,
    /// None for one that EC2 gave by itself.
    pub elastic: Option<&'a Address>,
}

impl Ec2 {
    /// The public address that stands for this private one of the interface.
    pub fn public_address<'a>(&'a self, interface: &InterfaceView<'a>, private: Ipv4Addr) -> Option<PublicAddress<'a>> {
        let elastic = self.addresses.values().find(|address| {
            address
                .association
                .as_ref()
                .is_some_and(|association| association.interface_id == interface.id && association.private_address == private)
        });
        match elastic {
            Some(elastic) => Some(PublicAddress { address: elastic.public_address, elastic: Some(elastic) }),
            None => interface
                .public_address
                .filter(|_| private == interface.private_address)
                .map(|address| PublicAddress { address, elastic: None }),
        }
    }

    /// The public address of an instance: that of its first interface's primary address.
    pub fn public_address_of<'a>(&'a self, instance: &'a Instance) -> Option<PublicAddress<'a>> {
        self.public_address(&instance.first_interface(), instance.private_address)
    }

    /// Whether any address of the VPC is mapped to a public one.
    pub fn has_mapped_addresses(&self, vpc_id: &str) -> bool {
        self.all_interfaces()
            .filter(|one| one.vpc_id == vpc_id)
            .any(|one| one.private_addresses().any(|private| self.public_address(&one, private).is_some()))
    }

    /// The public DNS name of an address, which only VPCs with DNS host names have.
    pub fn public_dns_name(&self, vpc_id: &str, address: Ipv4Addr) -> Option<String> {
        self.vpcs.get(vpc_id).filter(|vpc| vpc.dns_support && vpc.dns_hostnames)?;
        let [a, b, c, d] = address.octets();
        // us-east-1 has a name of its own, older than the others'.
        Some(match self.region.as_str() {
            "us-east-1" => format!("ec2-{a}-{b}-{c}-{d}.compute-1.amazonaws.com"),
            region => format!("ec2-{a}-{b}-{c}-{d}.{region}.compute.amazonaws.com"),
        })
    }

    /// Takes this many public addresses from the pool, never the one that was given back last.
    pub fn take_public_addresses(&mut self, count: usize) -> Vec<Ipv4Addr> {
        let mut used: BTreeSet<Ipv4Addr> = self.addresses.values().map(|address| address.public_address).collect();
        used.extend(self.living().filter_map(|instance| instance.first.public_address));
        let size = 1u32 << (32 - POOL.prefix);
        let mut taken = Vec::with_capacity(count);
        for _ in 0..size {
            if taken.len() == count {
                break;
            }
            self.last_public = (self.last_public + 1) % size;
            let address = Ipv4Addr::from_bits(POOL.address.to_bits() + self.last_public);
            if ![0, 255].contains(&address.octets()[3]) && !used.contains(&address) {
                taken.push(address);
            }
        }
        taken
    }

    /// Gives an instance that has none the public address that its launch asked for.
    ///
    /// One with several interfaces gets none, and one with an elastic address needs none.
    pub fn give_public_address(&mut self, instance_id: &str) {
        let wanted = self.instances.get(instance_id).is_some_and(|instance| {
            let runs = [InstanceState::Pending, InstanceState::Running].contains(&instance.state);
            runs && instance.wants_public_address
                && self.interfaces_of(instance).len() == 1
                && self.public_address_of(instance).is_none()
        });
        if !wanted {
            return;
        }
        let address = self.take_public_addresses(1).pop();
        if let Some(instance) = self.instances.get_mut(instance_id) {
            instance.first.public_address = address;
        }
    }
}
