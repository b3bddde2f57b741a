//! Network ACLs.

use serde::{Deserialize, Serialize};

use super::{Ec2, Network6, Protocol, Subnet, Tags};
use crate::node::Network;

/// A network ACL. This cloud keeps what it says; the nodes' firewall follows security groups alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// `acl-…`
    pub id: String,
    pub vpc_id: String,
    pub is_default: bool,
    /// Beyond the last ones, which refuse whatever no other entry speaks of.
    pub entries: Vec<AclEntry>,
    pub tags: Tags,
}

/// What an ACL says of one kind of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    pub number: u32,
    pub egress: bool,
    pub protocol: Protocol,
    pub allow: bool,
    pub peer: AclPeer,
    /// For TCP and UDP.
    pub ports: Option<(i32, i32)>,
    /// Type and code, for ICMP.
    pub icmp: Option<(i32, i32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AclPeer {
    V4(Network),
    V6(Network6),
}

impl NetworkAcl {
    /// The ACL that every VPC has from the start: everything is allowed.
    pub fn default_of(id: &str, vpc_id: &str) -> Self {
        let entry = |egress| AclEntry {
            number: 100,
            egress,
            protocol: Protocol(None),
            allow: true,
            peer: AclPeer::V4(super::seed::ANYWHERE),
            ports: None,
            icmp: None,
        };
        Self {
            id: id.to_owned(),
            vpc_id: vpc_id.to_owned(),
            is_default: true,
            entries: vec![entry(true), entry(false)],
            tags: Tags::new(),
        }
    }
}

impl Ec2 {
    /// The id of a subnet's ACL.
    pub fn acl_of<'a>(&'a self, subnet: &'a Subnet) -> Option<&'a str> {
        match &subnet.network_acl_id {
            Some(id) => Some(id),
            None => self.vpcs.get(&subnet.vpc_id).map(|vpc| vpc.network_acl_id.as_str()),
        }
    }
}
