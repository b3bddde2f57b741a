//! NAT gateways and VPC endpoints: records that no packet passes through.

use std::net::Ipv4Addr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Ec2, Tags};

/// How long a new one is pending, and one that is deleted is on its way. EC2 takes minutes, which would only be waited
/// for.
const MOVING: SignedDuration = SignedDuration::from_secs(1);

/// How long a deleted one is shown; EC2 shows it for about an hour, and ten minutes serve as well.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// `nat-…`
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    /// Public ones have an elastic address.
    pub public: bool,
    pub allocation_id: Option<String>,
    pub association_id: Option<String>,
    pub public_address: Option<Ipv4Addr>,
    pub interface_id: String,
    pub private_address: Ipv4Addr,
    pub created: Timestamp,
    pub deleted: Option<Timestamp>,
    /// Code and message, if it could not be made.
    pub failure: Option<(String, String)>,
    pub tags: Tags,
}

impl NatGateway {
    /// The word for its state.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.deleted.is_none() && self.failure.is_some() && now.duration_since(self.created) >= MOVING {
            return "failed";
        }
        stage(self.created, self.deleted, now)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcEndpoint {
    /// `vpce-…`
    pub id: String,
    pub vpc_id: String,
    /// `com.amazonaws.us-east-1.s3`
    pub service: String,
    /// Whether it stands in route tables; else in subnets.
    pub gateway: bool,
    pub route_tables: Vec<String>,
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    /// One for each subnet.
    pub interfaces: Vec<String>,
    pub private_dns: bool,
    pub policy: String,
    pub created: Timestamp,
    pub deleted: Option<Timestamp>,
    pub tags: Tags,
}

impl VpcEndpoint {
    /// The word for its state. A gateway endpoint is there at once.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match (self.gateway, self.deleted) {
            (true, None) => "available",
            _ => stage(self.created, self.deleted, now),
        }
    }
}

fn stage(created: Timestamp, deleted: Option<Timestamp>, now: Timestamp) -> &'static str {
    match deleted {
        None if now.duration_since(created) < MOVING => "pending",
        None => "available",
        Some(at) if now.duration_since(at) < MOVING => "deleting",
        Some(_) => "deleted",
    }
}

impl Ec2 {
    /// Ends what is deleted once its time has come, and forgets what is long gone; answers whether it did any.
    pub fn pass_time(&mut self, now: Timestamp) -> bool {
        let over = |deleted: Option<Timestamp>, span| deleted.is_some_and(|at| now.duration_since(at) >= span);
        let mut gone: Vec<String> = Vec::new();
        for gateway in self.nat_gateways.values().filter(|gateway| over(gateway.deleted, MOVING)) {
            gone.push(gateway.interface_id.clone());
        }
        for endpoint in self.vpc_endpoints.values().filter(|endpoint| over(endpoint.deleted, MOVING)) {
            gone.extend(endpoint.interfaces.iter().cloned());
        }
        let before = (self.interfaces.len(), self.nat_gateways.len(), self.vpc_endpoints.len());
        gone.retain(|id| self.interfaces.contains_key(id));
        self.interfaces.retain(|id, _| !gone.contains(id));
        self.unmap(&gone);
        // One that could not be made goes by itself.
        let ended = |gateway: &NatGateway| gateway.deleted.or(gateway.failure.as_ref().map(|_| gateway.created));
        self.nat_gateways.retain(|_, gateway| !over(ended(gateway), REMEMBERED));
        self.vpc_endpoints.retain(|_, endpoint| !over(endpoint.deleted, REMEMBERED));
        before != (self.interfaces.len(), self.nat_gateways.len(), self.vpc_endpoints.len())
    }
}
