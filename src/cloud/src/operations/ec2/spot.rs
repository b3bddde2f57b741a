//! Spot requests, as RunInstances makes them.

use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, put_tags, wire_time};
use super::vpc::zone_id;
use crate::model::ec2::{Ec2, Instance, SpotRequest, instance_types};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeSpotInstanceRequests", describe, &["SpotInstanceRequestId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("CancelSpotInstanceRequests", cancel, &["SpotInstanceRequestId"]),
];

const PRODUCT: &str = "Linux/UNIX";

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 28] = [
        "tag",
        "create-time",
        "fault-code",
        "fault-message",
        "instance-id",
        "launch.group-id",
        "launch.group-name",
        "launch.image-id",
        "launch.instance-type",
        "launch.key-name",
        "launch.monitoring-enabled",
        "launched-availability-zone",
        "launched-availability-zone-id",
        "network-interface.description",
        "network-interface.group-id",
        "network-interface.network-interface-id",
        "network-interface.private-ip-address",
        "network-interface.subnet-id",
        "product-description",
        "spot-instance-request-id",
        "spot-price",
        "state",
        "status-code",
        "status-message",
        "type",
        "valid-from",
        "valid-until",
        "availability-zone-group",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read_without_ids(query, "SpotInstanceRequestId")?;
    let ids = query.list("SpotInstanceRequestId");
    let ec2 = &*turn.ec2;
    turn::SPOT_REQUEST.asked(&ec2.spot_requests, &ids)?;
    let found = ec2
        .spot_requests
        .values()
        .filter(|request| ids.is_empty() || ids.contains(&request.id.as_str()))
        .filter(|request| filters.admit(&request.tags, |name| values(ec2, request, name)));
    let (found, token) = page.cut(found, |request| request.id.clone());
    let mut xml = Xml::new();
    xml.list("spotInstanceRequestSet", found, |xml, request| put_request(xml, ec2, request));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// What a request is under a filter's name.
fn values(ec2: &Ec2, request: &SpotRequest, name: &str) -> Vec<String> {
    let instance = ec2.instance(&request.instance_id);
    let of_instance = |value: fn(&Instance) -> String| instance.map(value).into_iter().collect();
    let standing = request.standing(instance);
    vec![match name {
        "create-time" => wire_time(request.created),
        "instance-id" => request.instance_id.clone(),
        "launch.group-id" | "network-interface.group-id" => {
            return instance.map(|instance| instance.security_groups.clone()).unwrap_or_default();
        }
        "launch.group-name" => {
            return instance.map(|it| ec2.group_names(it).map(str::to_owned).collect()).unwrap_or_default();
        }
        "launch.image-id" => return of_instance(|instance| instance.image_id.clone()),
        "launch.instance-type" => return of_instance(|instance| instance.instance_type.clone()),
        "launch.key-name" => return instance.and_then(|instance| instance.key_name.clone()).into_iter().collect(),
        "launch.monitoring-enabled" => return of_instance(|instance| instance.monitoring.to_string()),
        "launched-availability-zone" => return of_instance(|instance| instance.zone.clone()),
        "launched-availability-zone-id" => return of_instance(|instance| zone_id(&instance.zone)),
        "network-interface.description" => return of_instance(|instance| instance.interface_description.clone()),
        "network-interface.network-interface-id" => return of_instance(|instance| instance.interface_id.clone()),
        "network-interface.private-ip-address" => return of_instance(|instance| instance.private_address.to_string()),
        "network-interface.subnet-id" => return of_instance(|instance| instance.subnet_id.clone()),
        "product-description" => PRODUCT.to_owned(),
        "spot-instance-request-id" => request.id.clone(),
        "spot-price" => price(request, instance),
        "state" => standing.state.to_owned(),
        "status-code" => standing.code.to_owned(),
        "status-message" => standing.message.to_owned(),
        "type" => "one-time".to_owned(),
        // Faults, validity and groups are nothing that a launch by RunInstances has.
        _ => return Vec::new(),
    }]
}

/// The highest price of a request: what was asked, or the on-demand price, which is taken to be three spot prices.
fn price(request: &SpotRequest, instance: Option<&Instance>) -> String {
    if let Some(price) = &request.max_price {
        return price.clone();
    }
    let kind = instance.and_then(|instance| instance_types::find(&instance.instance_type));
    // Spot costs about a third of on-demand (an average over AWS's own price history).
    let on_demand = kind.zip(instance).map_or(0.0, |(kind, instance)| 3.0 * super::catalog::spot_price(kind, &instance.zone));
    format!("{on_demand:.6}")
}

fn put_request(xml: &mut Xml, ec2: &Ec2, request: &SpotRequest) {
    let instance = ec2.instance(&request.instance_id);
    let standing = request.standing(instance);
    xml.put("spotInstanceRequestId", &request.id)
        .put("spotPrice", price(request, instance))
        .put("type", "one-time")
        .put("state", standing.state)
        .element("status", |xml| {
            xml.put("code", standing.code)
                .put("updateTime", wire_time(request.cancelled.unwrap_or(request.created)))
                .put("message", standing.message);
        });
    if let Some(instance) = instance {
        xml.element("launchSpecification", |xml| put_specification(xml, ec2, instance));
        xml.put("launchedAvailabilityZone", &instance.zone).put("launchedAvailabilityZoneId", zone_id(&instance.zone));
    }
    xml.put("instanceId", &request.instance_id)
        .put("createTime", wire_time(request.created))
        .put("productDescription", PRODUCT)
        .put("instanceInterruptionBehavior", "terminate");
    put_tags(xml, &request.tags);
}

fn put_specification(xml: &mut Xml, ec2: &Ec2, instance: &Instance) {
    xml.put("imageId", &instance.image_id)
        .maybe("keyName", instance.key_name.as_ref())
        .put("instanceType", &instance.instance_type)
        .list("groupSet", &instance.security_groups, |xml, id| {
            xml.put("groupId", id).maybe("groupName", ec2.security_groups.get(id).map(|group| &group.name));
        })
        .put("subnetId", &instance.subnet_id)
        .put("ebsOptimized", instance.ebs_optimized)
        .element("placement", |xml| {
            xml.put("availabilityZone", &instance.zone).maybe("groupName", instance.placement_group.as_ref());
        })
        .element("monitoring", |xml| {
            xml.put("enabled", instance.monitoring);
        });
    if let Some(profile) = &instance.iam_instance_profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.put("arn", &profile.arn).put("name", profile.name());
        });
    }
}

/// Cancels requests; their instances run on (ec2.md 5.7).
fn cancel(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let ids = query.list("SpotInstanceRequestId");
    if ids.is_empty() {
        return Err(ApiError::missing_parameter("SpotInstanceRequestId"));
    }
    turn::SPOT_REQUEST.asked(&turn.ec2.spot_requests, &ids)?;
    let mut xml = Xml::new();
    let (ec2, now) = (&mut *turn.ec2, turn.now);
    xml.list("spotInstanceRequestSet", ids, |xml, id| {
        let instances = &ec2.instances;
        let Some(request) = ec2.spot_requests.get_mut(id) else { return };
        // A request that is closed stays so.
        if request.standing(instances.get(&request.instance_id)).state == "active" {
            request.cancelled = Some(now);
        }
        let standing = request.standing(instances.get(&request.instance_id));
        xml.put("spotInstanceRequestId", &request.id).put("state", standing.state);
    });
    Ok(xml)
}
