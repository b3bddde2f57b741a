//! What VPC endpoints lead to: services, and their prefix lists.

use super::filter::{Filters, Page, put_next_token};
use super::route::find_prefix_list;
use super::turn::{Operation, Turn};
use super::vpc::zone_id;
use crate::model::ec2::{Ec2, PREFIX_LISTS, PrefixList, Tags, network_text};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeVpcEndpointServices", describe_services, &["ServiceName", "Filter", "MaxResults", "NextToken"]),
    Operation::read("DescribePrefixLists", describe_prefix_lists, &["PrefixListId", "Filter", "MaxResults", "NextToken"]),
];

/// Services with an interface endpoint that clusters have use for: SSM without a way to the internet (ec2.md 7.1),
/// and what user data and images fetch.
const INTERFACES: [&str; 10] =
    ["ec2", "ec2messages", "ecr.api", "ecr.dkr", "elasticfilesystem", "kms", "logs", "ssm", "ssmmessages", "sts"];

/// The whole names of the services, and whether each has a gateway endpoint.
pub(super) fn services(ec2: &Ec2) -> Vec<(String, bool)> {
    let whole = |name: &str| format!("com.amazonaws.{}.{name}", ec2.region);
    let gateways = PREFIX_LISTS.iter().map(|list| (whole(list.service), true));
    let mut all: Vec<(String, bool)> = gateways.chain(INTERFACES.iter().map(|name| (whole(name), false))).collect();
    all.sort();
    all
}

fn describe_services(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "owner", "service-name", "service-region", "service-type"])?;
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let names = query.list("ServiceName");
    let ec2 = &*turn.ec2;
    let all = services(ec2);
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(service, _)| service == *name)) {
        return Err(ApiError::new("InvalidServiceName", format!("The Vpc Endpoint Service '{unknown}' does not exist")));
    }
    let kind = |gateway: bool| if gateway { "Gateway" } else { "Interface" };
    let found = all.into_iter().filter(|(service, _)| names.is_empty() || names.contains(&service.as_str())).filter(
        |(service, gateway)| {
            filters.admit(&Tags::new(), |name| {
                vec![match name {
                    "owner" => "amazon".to_owned(),
                    "service-name" => service.clone(),
                    "service-region" => ec2.region.clone(),
                    _ => kind(*gateway).to_owned(),
                }]
            })
        },
    );
    let (found, token) = page.cut(found, |(service, _)| service.clone());
    let mut xml = Xml::new();
    xml.texts("serviceNameSet", found.iter().map(|(service, _)| service));
    xml.list("serviceDetailSet", &found, |xml, (service, gateway)| {
        let short = service.rsplit_once(&format!("{}.", ec2.region)).map_or("", |(_, short)| short);
        // Ids are stable: the same service has the same one everywhere.
        let number: u64 = service
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let zones: Vec<String> = ec2.zones().collect();
        xml.put("serviceName", service)
            .put("serviceId", format!("vpce-svc-0{number:016x}"))
            .list("serviceType", [kind(*gateway)], |xml, kind| {
                xml.put("serviceType", kind);
            })
            .put("serviceRegion", &ec2.region)
            .texts("availabilityZoneIdSet", zones.iter().map(|zone| zone_id(zone)))
            .texts("availabilityZoneSet", &zones)
            .put("owner", "amazon")
            .texts("baseEndpointDnsNameSet", [format!("{short}.{}.vpce.amazonaws.com", ec2.region)])
            .put("vpcEndpointPolicySupported", true)
            .put("acceptanceRequired", false)
            .put("managesVpcEndpoints", false);
        if !gateway {
            xml.put("privateDnsName", format!("{short}.{}.amazonaws.com", ec2.region));
        }
        xml.texts("supportedIpAddressTypeSet", ["ipv4"]).texts("tagSet", [""; 0]);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn describe_prefix_lists(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["prefix-list-id", "prefix-list-name"])?;
    let page = Page::within(query, 1..=1000, usize::MAX)?;
    let ids = query.list("PrefixListId");
    ids.iter().try_for_each(|id| find_prefix_list(id))?;
    let name_of = |list: &PrefixList| format!("com.amazonaws.{}.{}", turn.ec2.region, list.service);
    let mut all: Vec<&PrefixList> = PREFIX_LISTS.iter().filter(|list| ids.is_empty() || ids.contains(&list.id)).collect();
    all.sort_by_key(|list| list.id);
    let found = all.into_iter().filter(|list| {
        filters.admit(&Tags::new(), |name| {
            vec![match name {
                "prefix-list-id" => list.id.to_owned(),
                _ => name_of(list),
            }]
        })
    });
    let (found, token) = page.cut(found, |list| list.id.to_owned());
    let mut xml = Xml::new();
    xml.list("prefixListSet", found, |xml, list| {
        xml.put("prefixListId", list.id)
            .put("prefixListName", name_of(list))
            .texts("cidrSet", list.cidrs.iter().map(|network| network_text(*network)));
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}
