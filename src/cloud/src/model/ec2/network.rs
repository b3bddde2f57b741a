//! VPCs, subnets, internet gateways, route tables and security groups.

use serde::{Deserialize, Serialize};

use super::{Network6, Tags, network_text, network6_text};
use crate::node::Network;

/// A virtual private cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub id: String,
    pub cidr: Network,
    /// The id that ties the block to the VPC (`vpc-cidr-assoc-…`).
    pub cidr_association_id: String,
    pub is_default: bool,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    /// Whether network address usage metrics are kept. This cloud has no metrics; it keeps the switch.
    #[serde(default)]
    pub usage_metrics: bool,
    pub network_acl_id: String,
    /// Whether the driver holds a network for it: made with the first instance, kept until the VPC goes.
    pub has_network: bool,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub vpc_id: String,
    pub cidr: Network,
    pub zone: String,
    pub default_for_zone: bool,
    pub map_public_address: bool,
    pub network_acl_association_id: String,
    /// Its network ACL, if that is not the VPC's default one.
    #[serde(default)]
    pub network_acl_id: Option<String>,
    /// The association before the present one: to replace it again in the same way is no error (ec2.md 2.5).
    #[serde(default)]
    pub former_acl_association: Option<String>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    pub id: String,
    /// The one VPC it is attached to.
    pub vpc_id: Option<String>,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    pub id: String,
    pub vpc_id: String,
    /// The association that makes it the VPC's main table, if it is.
    pub main_association_id: Option<String>,
    /// Association id and subnet id.
    pub associations: Vec<(String, String)>,
    /// Routes beyond the local one, which every table has.
    pub routes: Vec<Route>,
    pub tags: Tags,
}

/// A route beyond the local one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub destination: Destination,
    /// Id of an internet gateway, a NAT gateway or a network interface; the prefix tells which.
    #[serde(alias = "gateway_id")]
    pub target: String,
}

/// Where a route leads, or a rule admits from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Destination {
    V4(Network),
    V6(Network6),
    PrefixList { prefix_list_id: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
    pub rules: Vec<SecurityGroupRule>,
    pub tags: Tags,
}

/// One allowed flow with one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    pub id: String,
    pub egress: bool,
    pub protocol: Protocol,
    /// For TCP and UDP ports, for ICMP type and code; None with all protocols.
    pub ports: Option<(i32, i32)>,
    pub target: RuleTarget,
    pub description: Option<String>,
    pub tags: Tags,
}

impl SecurityGroupRule {
    /// Whether both allow the same flow; ids, descriptions and tags do not count.
    pub fn same_flow(&self, other: &Self) -> bool {
        self.egress == other.egress && self.protocol == other.protocol && self.ports == other.ports && self.target == other.target
    }
}

/// An IP protocol by number, or all (`-1` on the wire).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol(pub Option<u8>);

impl std::fmt::Display for Protocol {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => out.write_str("-1"),
            Some(1) => out.write_str("icmp"),
            Some(6) => out.write_str("tcp"),
            Some(17) => out.write_str("udp"),
            Some(58) => out.write_str("icmpv6"),
            Some(number) => write!(out, "{number}"),
        }
    }
}

/// Whom a rule admits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleTarget {
    Cidr(Network),
    Cidr6(Network6),
    /// An AWS-managed prefix list, by id.
    PrefixList(String),
    /// Members of a group, by id.
    Group(String),
}

impl RuleTarget {
    /// The id of the group it admits members of.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Group(id) => Some(id),
            Self::Cidr(_) | Self::Cidr6(_) | Self::PrefixList(_) => None,
        }
    }

    /// Whether both are of one kind, whatever they name.
    pub fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl std::fmt::Display for RuleTarget {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cidr(network) => out.write_str(&network_text(*network)),
            Self::Cidr6(network) => out.write_str(&network6_text(*network)),
            Self::PrefixList(id) | Self::Group(id) => out.write_str(id),
        }
    }
}
