//! What EC2 offers: instance types, zones, regions, prices, account attributes.

use jiff::Timestamp;

use super::catalog_type::{put_type, usage_classes};
use super::filter::{Filters, Page, put_next_token};
use super::launch_options::find_type;
use super::turn::{Operation, Turn, wire_time};
use super::vpc::zone_id;
use crate::model::ec2::instance_types::{self, InstanceType};
use crate::model::ec2::{Ec2, Tags};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeInstanceTypes", describe_types, &["InstanceType", "Filter", "MaxResults", "NextToken"])
        .ignoring(&[("IncludeUnsupportedInRegion", "every type that is known is offered")]),
    Operation::read("DescribeInstanceTypeOfferings", describe_offerings, &["LocationType", "Filter", "MaxResults", "NextToken"]),
    Operation::read("DescribeAvailabilityZones", describe_zones, &["ZoneName", "ZoneId", "Filter"])
        .ignoring(&[("AllAvailabilityZones", "every zone is opted in")]),
    Operation::read("DescribeRegions", describe_regions, &["RegionName", "Filter"])
        .ignoring(&[("AllRegions", "there is one region")]),
    Operation::read("DescribeAccountAttributes", describe_account, &["AttributeName"]),
    Operation::read(
        "DescribeSpotPriceHistory",
        describe_prices,
        &["AvailabilityZone", "AvailabilityZoneId", "InstanceType", "ProductDescription", "Filter", "MaxResults", "NextToken"],
    )
    .ignoring(&[
        ("StartTime", "prices never change, so each is the one of any time"),
        ("EndTime", "prices never change, so each is the one of any time"),
    ]),
];

fn describe_types(_turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 33] = [
        "auto-recovery-supported",
        "bare-metal",
        "burstable-performance-supported",
        "current-generation",
        "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps",
        "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps",
        "free-tier-eligible",
        "hypervisor",
        "instance-storage-info.nvme-support",
        "instance-storage-info.total-size-in-gb",
        "instance-storage-supported",
        "instance-type",
        "memory-info.size-in-mib",
        "network-info.efa-info.maximum-efa-interfaces",
        "network-info.efa-supported",
        "network-info.ipv4-addresses-per-interface",
        "network-info.ipv6-addresses-per-interface",
        "network-info.maximum-network-cards",
        "network-info.maximum-network-interfaces",
        "network-info.network-performance",
        "placement-group-info.supported-strategies",
        "processor-info.manufacturer",
        "processor-info.supported-architecture",
        "processor-info.sustained-clock-speed-in-ghz",
        "supported-boot-mode",
        "supported-root-device-type",
        "supported-usage-class",
        "supported-virtualization-type",
        "vcpu-info.default-cores",
        "vcpu-info.default-threads-per-core",
        "vcpu-info.default-vcpus",
        "vcpu-info.valid-cores",
        "vcpu-info.valid-threads-per-core",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    // 100 at most, and 100 when nothing is asked.
    let page = Page::within(query, 5..=100, 100)?;
    let names = query.list("InstanceType");
    if let Some(unknown) = names.iter().find(|name| instance_types::find(name).is_none()) {
        return Err(ApiError::new(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{unknown}]"),
        ));
    }
    let found = instance_types::all()
        .filter(|kind| names.is_empty() || names.contains(&kind.name))
        .filter(|kind| filters.admit(&Tags::new(), |name| type_values(kind, name)));
    let (found, token) = page.cut(found, |kind| kind.name.to_owned());
    let mut xml = Xml::new();
    xml.list("instanceTypeSet", found, put_type);
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn type_values(kind: &InstanceType, name: &str) -> Vec<String> {
    let many = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let numbers = |values: &[u32]| values.iter().map(u32::to_string).collect();
    let stored = |value: String| if kind.instance_store_gb > 0 { vec![value] } else { Vec::new() };
    vec![match name {
        "auto-recovery-supported" => "true".to_owned(),
        "bare-metal" => "false".to_owned(),
        "burstable-performance-supported" => kind.burstable().to_string(),
        "current-generation" => kind.can("current").to_string(),
        "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps" => kind.ebs_baseline_mbps.to_string(),
        "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps" => kind.ebs_maximum_mbps.to_string(),
        "free-tier-eligible" => kind.can("free-tier").to_string(),
        "hypervisor" => "nitro".to_owned(),
        "instance-storage-info.nvme-support" => return stored("required".to_owned()),
        "instance-storage-info.total-size-in-gb" => return stored(kind.instance_store_gb.to_string()),
        "instance-storage-supported" => (kind.instance_store_gb > 0).to_string(),
        "instance-type" => kind.name.to_owned(),
        "memory-info.size-in-mib" => kind.memory_mib.to_string(),
        "network-info.efa-info.maximum-efa-interfaces" if kind.efa_interfaces == 0 => return Vec::new(),
        "network-info.efa-info.maximum-efa-interfaces" => kind.efa_interfaces.to_string(),
        "network-info.efa-supported" => (kind.efa_interfaces > 0).to_string(),
        "network-info.ipv4-addresses-per-interface" | "network-info.ipv6-addresses-per-interface" => {
            kind.addresses_per_interface.to_string()
        }
        "network-info.maximum-network-interfaces" => kind.interfaces.to_string(),
        "network-info.maximum-network-cards" => kind.network_cards.to_string(),
        "network-info.network-performance" => kind.network_performance.to_owned(),
        "placement-group-info.supported-strategies" => return many(&kind.strategies),
        "processor-info.manufacturer" => kind.manufacturer.to_owned(),
        "processor-info.supported-architecture" => "x86_64".to_owned(),
        "processor-info.sustained-clock-speed-in-ghz" => kind.clock_ghz.to_string(),
        "supported-boot-mode" => return many(&["legacy-bios", "uefi"]),
        "supported-root-device-type" => "ebs".to_owned(),
        "supported-usage-class" => return many(usage_classes(kind)),
        "supported-virtualization-type" => "hvm".to_owned(),
        "vcpu-info.default-cores" => kind.cores.to_string(),
        "vcpu-info.default-threads-per-core" => kind.threads_per_core.to_string(),
        "vcpu-info.valid-cores" => return numbers(&kind.valid_cores),
        "vcpu-info.valid-threads-per-core" => return numbers(&kind.valid_threads_per_core),
        _ => kind.vcpus.to_string(),
    }]
}

/// Every type is offered in every zone: none of them stands on hardware of its own here.
fn describe_offerings(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["instance-type", "location"])?;
    let page = Page::read(query)?;
    let kind_of_location = query.text("LocationType").unwrap_or("region");
    let locations: Vec<String> = match kind_of_location {
        "region" => vec![turn.ec2.region.clone()],
        "availability-zone" => turn.ec2.zones().collect(),
        "availability-zone-id" => turn.ec2.zones().map(|zone| zone_id(&zone)).collect(),
        other => {
            return Err(ApiError::invalid_value(format!("Value ({other}) for parameter locationType is invalid.")));
        }
    };
    let pairs = instance_types::all().flat_map(|kind| locations.iter().map(move |location| (kind.name, location.as_str())));
    let found = pairs.filter(|(kind, location)| {
        filters.admit(&Tags::new(), |name| vec![if name == "location" { *location } else { *kind }.to_owned()])
    });
    let (found, token) = page.cut(found, |(kind, location)| format!("{kind} {location}"));
    let mut xml = Xml::new();
    xml.list("instanceTypeOfferingSet", found, |xml, (kind, location)| {
        xml.put("instanceType", kind).put("locationType", kind_of_location).put("location", location);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn describe_zones(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 9] = [
        "group-name",
        "message",
        "opt-in-status",
        "region-name",
        "state",
        "zone-id",
        "zone-name",
        "zone-type",
        "network-border-group",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let (names, ids) = (query.list("ZoneName"), query.list("ZoneId"));
    let ec2 = &*turn.ec2;
    let zones: Vec<(String, String)> = ec2.zones().map(|zone| (zone_id(&zone), zone)).collect();
    if let Some(unknown) = names.iter().find(|name| !zones.iter().any(|(_, zone)| zone == *name)) {
        return Err(ApiError::invalid_value(format!("Invalid availability zone: [{unknown}]")));
    }
    if let Some(unknown) = ids.iter().find(|id| !zones.iter().any(|(known, _)| known == *id)) {
        return Err(ApiError::invalid_value(format!("Invalid availability zone-id: [{unknown}]")));
    }
    let group = format!("{}-zg-1", ec2.region);
    let found = zones
        .iter()
        .filter(|(id, zone)| {
            (names.is_empty() || names.contains(&zone.as_str())) && (ids.is_empty() || ids.contains(&id.as_str()))
        })
        .filter(|(id, zone)| {
            filters.admit(&Tags::new(), |name| {
                let value = match name {
                    "group-name" => &group,
                    "message" => return Vec::new(),
                    "opt-in-status" => "opt-in-not-required",
                    "region-name" | "network-border-group" => &ec2.region,
                    "state" => "available",
                    "zone-id" => id,
                    "zone-name" => zone,
                    _ => "availability-zone",
                };
                vec![value.to_owned()]
            })
        });
    let mut xml = Xml::new();
    xml.list("availabilityZoneInfo", found, |xml, (id, zone)| {
        xml.put("optInStatus", "opt-in-not-required")
            .texts("messageSet", [""; 0])
            .put("regionName", &ec2.region)
            .put("zoneName", zone)
            .put("zoneId", id)
            .put("groupName", &group)
            .put("networkBorderGroup", &ec2.region)
            .put("zoneType", "availability-zone")
            .put("zoneState", "available");
    });
    Ok(xml)
}

fn describe_regions(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["endpoint", "opt-in-status", "region-name"])?;
    let region = turn.ec2.region.clone();
    let endpoint = format!("ec2.{region}.amazonaws.com");
    let names = query.list("RegionName");
    if let Some(unknown) = names.iter().find(|name| **name != region) {
        return Err(ApiError::invalid_value(format!("Invalid region provided: {unknown}")));
    }
    let admitted = filters.admit(&Tags::new(), |name| {
        let value = match name {
            "endpoint" => &endpoint,
            "opt-in-status" => "opt-in-not-required",
            _ => &region,
        };
        vec![value.to_owned()]
    });
    let mut xml = Xml::new();
    xml.list("regionInfo", admitted.then_some(&region), |xml, region| {
        xml.put("regionName", region).put("regionEndpoint", &endpoint).put("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

fn describe_account(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let default_vpc = turn.ec2.vpcs.values().find(|vpc| vpc.is_default).map_or("none", |vpc| vpc.id.as_str());
    // Quotas are EC2's defaults; this cloud does not enforce them.
    let attributes = [
        ("supported-platforms", "VPC"),
        ("default-vpc", default_vpc),
        ("max-instances", "1000"),
        ("vpc-max-security-groups-per-interface", "5"),
        ("max-elastic-ips", "5"),
        ("vpc-max-elastic-ips", "5"),
    ];
    let names = query.list("AttributeName");
    if let Some(unknown) = names.iter().find(|name| !attributes.iter().any(|(known, _)| known == *name)) {
        return Err(ApiError::invalid_value(format!("Value ({unknown}) for parameter attributeName is invalid.")));
    }
    let found = attributes.iter().filter(|(name, _)| names.is_empty() || names.contains(name));
    let mut xml = Xml::new();
    xml.list("accountAttributeSet", found, |xml, (name, value)| {
        xml.put("attributeName", name).list("attributeValueSet", [value], |xml, value| {
            xml.put("attributeValue", value);
        });
    });
    Ok(xml)
}

/// A spot price in dollars an hour: plausible, and in proportion to processors and memory.
pub(super) fn spot_price(kind: &InstanceType, zone: &str) -> f64 {
    // About 1.5 cents a core-hour and 0.15 cents a GiB-hour, a little dearer from zone to zone.
    let step = zone.bytes().last().map_or(0.0, |letter| f64::from(letter % 16) / 100.0);
    let memory_gib = f64::from(u32::try_from(kind.memory_mib / 256).unwrap_or(u32::MAX)) / 4.0;
    (f64::from(kind.vcpus) * 0.0150 + memory_gib * 0.0015) * (1.0 + step)
}

fn describe_prices(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const PRODUCTS: [&str; 2] = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"];
    let filters = Filters::read(
        query,
        &["availability-zone", "availability-zone-id", "instance-type", "product-description", "spot-price", "timestamp"],
    )?;
    let page = Page::within(query, 1..=1000, 1000)?;
    let (types, products) = (query.list("InstanceType"), query.list("ProductDescription"));
    for name in &types {
        find_type(name)?;
    }
    let (zone, id) = (query.text("AvailabilityZone"), query.text("AvailabilityZoneId"));
    let zones: Vec<String> = zones_asked(turn.ec2, zone, id)?;
    let at = price_time(turn.now);
    let mut all = Vec::new();
    for kind in instance_types::all().filter(|kind| kind.spot && (types.is_empty() || types.contains(&kind.name))) {
        for zone in &zones {
            for product in PRODUCTS.iter().filter(|product| products.is_empty() || products.contains(product)) {
                all.push((kind, zone, *product, format!("{:.6}", spot_price(kind, zone))));
            }
        }
    }
    let found = all.into_iter().filter(|(kind, zone, product, price)| {
        filters.admit(&Tags::new(), |name| {
            vec![match name {
                "availability-zone" => (*zone).clone(),
                "availability-zone-id" => zone_id(zone),
                "instance-type" => kind.name.to_owned(),
                "product-description" => (*product).to_owned(),
                "spot-price" => price.clone(),
                _ => wire_time(at),
            }]
        })
    });
    let (found, token) = page.cut(found, |(kind, zone, product, _)| format!("{} {zone} {product}", kind.name));
    let mut xml = Xml::new();
    xml.list("spotPriceHistorySet", found, |xml, (kind, zone, product, price)| {
        xml.put("instanceType", kind.name)
            .put("productDescription", product)
            .put("spotPrice", price)
            .put("timestamp", wire_time(at))
            .put("availabilityZone", zone)
            .put("availabilityZoneId", zone_id(zone));
    });
    // EC2 answers with an empty token at the end.
    xml.put("nextToken", token.unwrap_or_default());
    Ok(xml)
}

fn zones_asked(ec2: &Ec2, zone: Option<&str>, id: Option<&str>) -> Result<Vec<String>, ApiError> {
    let zones: Vec<String> =
        ec2.zones().filter(|known| zone.is_none_or(|zone| zone == known) && id.is_none_or(|id| id == zone_id(known))).collect();
    if zones.is_empty() {
        return Err(ApiError::invalid_value(format!("Invalid availability zone: [{}]", zone.or(id).unwrap_or_default())));
    }
    Ok(zones)
}

/// When prices last changed: at the start of the hour.
fn price_time(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(3600)).unwrap_or(now)
}
