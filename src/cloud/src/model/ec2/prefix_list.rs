//! Prefix lists that AWS keeps for its services' gateway endpoints.

use std::net::Ipv4Addr;

use crate::node::Network;

/// A list that AWS manages.
#[derive(Debug, Clone, Copy)]
pub struct PrefixList {
    /// The service's last name: `s3`.
    pub service: &'static str,
    pub id: &'static str,
    pub cidrs: &'static [Network],
}

/// The lists of the two services that have gateway endpoints. The ids are those of us-east-1; of the services' many
/// blocks, which change often, each list has some that have long been theirs.
pub const PREFIX_LISTS: [PrefixList; 2] = [
    PrefixList {
        service: "s3",
        id: "pl-63a5400a",
        cidrs: &[
            Network { address: Ipv4Addr::new(52, 216, 0, 0), prefix: 15 },
            Network { address: Ipv4Addr::new(54, 231, 0, 0), prefix: 16 },
        ],
    },
    PrefixList { service: "dynamodb", id: "pl-02cd2c6b", cidrs: &[Network { address: Ipv4Addr::new(52, 94, 0, 0), prefix: 22 }] },
];

/// The list of a service such as `com.amazonaws.us-east-1.s3`.
pub fn prefix_list_id(service: &str) -> Option<&'static str> {
    let name = service.rsplit('.').next()?;
    PREFIX_LISTS.iter().find(|list| list.service == name).map(|list| list.id)
}
