//! Instances, their interfaces and their status, as Describe actions show them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::filter::{Filters, Page, put_next_token};
use super::instance_filters;
use super::network_interface::{put_attachment, put_facts, put_groups};
use super::turn::{self, Operation, Reasoned, Turn, put_tags, wire_time};
use super::vpc::zone_id;
use crate::model::ec2::{Ec2, Instance, InstanceState, InterfaceView, MetadataOptions, Onset};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeInstances", describe, &["InstanceId", "Filter", "MaxResults", "NextToken"]).ignoring(UNMANAGED),
    Operation::read(
        "DescribeInstanceStatus",
        describe_status,
        &["InstanceId", "Filter", "MaxResults", "NextToken", "IncludeAllInstances"],
    )
    .ignoring(UNMANAGED),
];

/// What actions that list resources ignore.
pub(super) const UNMANAGED: &[Reasoned] = &[("IncludeManagedResources", "no resource is managed by a service")];

const FILTERS: [&str; 48] = [
    "tag",
    "architecture",
    "availability-zone",
    "availability-zone-id",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "dns-name",
    "group-id",
    "group-name",
    "hypervisor",
    "iam-instance-profile.arn",
    "iam-instance-profile.id",
    "iam-instance-profile.name",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "instance.group-name",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "monitoring-state",
    "network-interface.addresses.association.public-ip",
    "network-interface.addresses.private-ip-address",
    "network-interface.attachment.attachment-id",
    "network-interface.network-interface-id",
    "owner-id",
    "placement-group-name",
    "private-dns-name",
    "private-ip-address",
    "reason",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "spot-instance-request-id",
    "state-reason-code",
    "subnet-id",
    "tenancy",
    "virtualization-type",
    "vpc-id",
];

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &[&FILTERS[..], instance_filters::KNOWN, instance_filters::NEVER].concat())?;
    let page = Page::read_without_ids(query, "InstanceId")?;
    let ids = query.list("InstanceId");
    let ec2 = &*turn.ec2;
    turn::INSTANCE.asked(&ec2.instances, &ids)?;
    let found = ec2
        .instances()
        .filter(|instance| ids.is_empty() || ids.contains(&instance.id.as_str()))
        .filter(|instance| filters.admit(&instance.tags, |name| values(ec2, instance, name)));
    let (found, token) = page.cut(found, |instance| instance.id.clone());
    let mut reservations: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for instance in found {
        reservations.entry(&instance.reservation_id).or_default().push(instance);
    }
    let mut xml = Xml::new();
    xml.list("reservationSet", reservations, |xml, (id, mut instances)| {
        instances.sort_by_key(|instance| instance.ami_launch_index);
        put_reservation(xml, ec2, id, &instances);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// What an instance is under a filter's name.
pub(super) fn values(ec2: &Ec2, instance: &Instance, name: &str) -> Vec<String> {
    let devices = || instance.devices.iter();
    let own = |value: &str| vec![value.to_owned()];
    // A terminated instance has neither address nor network.
    let networked = |value: String| if instance.is_alive() { vec![value] } else { Vec::new() };
    let interfaces = || if instance.is_alive() { ec2.interfaces_of(instance) } else { Vec::new() };
    let public = || ec2.public_address_of(instance).filter(|_| instance.is_alive());
    let profile = instance.iam_instance_profile.as_ref();
    match name {
        "architecture" => own("x86_64"),
        "availability-zone" => own(&instance.zone),
        "availability-zone-id" => vec![zone_id(&instance.zone)],
        "block-device-mapping.attach-time" => devices().map(|device| wire_time(device.attach_time)).collect(),
        "block-device-mapping.delete-on-termination" => {
            devices().map(|device| device.delete_on_termination.to_string()).collect()
        }
        "block-device-mapping.device-name" => devices().map(|device| device.device.clone()).collect(),
        "block-device-mapping.status" => devices().map(|device| device.state.wire().to_owned()).collect(),
        "block-device-mapping.volume-id" => devices().map(|device| device.volume_id.clone()).collect(),
        "client-token" => own(&instance.client_token),
        "dns-name" => public().and_then(|public| ec2.public_dns_name(&instance.vpc_id, public.address)).into_iter().collect(),
        "group-id" | "instance.group-id" => instance.security_groups.clone(),
        "group-name" | "instance.group-name" => ec2.group_names(instance).map(str::to_owned).collect(),
        "hypervisor" => own("xen"),
        "iam-instance-profile.arn" => profile.map(|profile| profile.arn.clone()).into_iter().collect(),
        "iam-instance-profile.id" => profile.map(|profile| profile.id.clone()).into_iter().collect(),
        "iam-instance-profile.name" => profile.map(|profile| profile.name().to_owned()).into_iter().collect(),
        "image-id" => own(&instance.image_id),
        "instance-id" => own(&instance.id),
        "instance-lifecycle" => instance.spot_request_id.iter().map(|_| "spot".to_owned()).collect(),
        "instance-state-code" => vec![instance.state.wire().0.to_string()],
        "instance-state-name" => own(instance.state.wire().1),
        "instance-type" => own(&instance.instance_type),
        "ip-address" => public().map(|public| public.address.to_string()).into_iter().collect(),
        "key-name" => instance.key_name.iter().cloned().collect(),
        "launch-index" => vec![instance.ami_launch_index.to_string()],
        "launch-time" => vec![wire_time(instance.launch_time)],
        "monitoring-state" => own(monitoring(instance)),
        "network-interface.addresses.association.public-ip" => {
            let all = interfaces();
            let publics =
                all.iter().flat_map(|one| one.private_addresses().filter_map(|address| ec2.public_address(one, address)));
            publics.map(|public| public.address.to_string()).collect()
        }
        "network-interface.addresses.private-ip-address" => {
            interfaces().iter().flat_map(InterfaceView::private_addresses).map(|address| address.to_string()).collect()
        }
        "network-interface.attachment.attachment-id" => {
            interfaces().iter().filter_map(|one| Some(one.attachment?.id.to_owned())).collect()
        }
        "network-interface.network-interface-id" => interfaces().iter().map(|one| one.id.to_owned()).collect(),
        "owner-id" => own(&ec2.account),
        "placement-group-name" => instance.placement_group.iter().cloned().collect(),
        "private-dns-name" => networked(instance.private_dns_name(&ec2.region)),
        "private-ip-address" => networked(instance.private_address.to_string()),
        "reason" => own(&instance.transition_reason),
        "reservation-id" => own(&instance.reservation_id),
        "root-device-name" => own(&instance.root_device),
        "root-device-type" => own("ebs"),
        "spot-instance-request-id" => instance.spot_request_id.iter().cloned().collect(),
        "state-reason-code" => instance.state_reason.iter().map(|reason| reason.code.clone()).collect(),
        "subnet-id" => networked(instance.subnet_id.clone()),
        "tenancy" => own(&instance.tenancy),
        "virtualization-type" => own("hvm"),
        "vpc-id" => networked(instance.vpc_id.clone()),
        _ => instance_filters::more(ec2, instance, name),
    }
}

fn monitoring(instance: &Instance) -> &'static str {
    if instance.monitoring { "enabled" } else { "disabled" }
}

/// Writes a reservation with these of its instances.
pub(super) fn put_reservation(xml: &mut Xml, ec2: &Ec2, id: &str, instances: &[&Instance]) {
    xml.put("reservationId", id).put("ownerId", &ec2.account).texts("groupSet", [""; 0]).list(
        "instancesSet",
        instances,
        |xml, instance| put_instance(xml, ec2, instance),
    );
}

pub(super) fn put_state(xml: &mut Xml, name: &str, state: InstanceState) {
    let (code, word) = state.wire();
    xml.element(name, |xml| {
        xml.put("code", code).put("name", word);
    });
}

fn put_instance(xml: &mut Xml, ec2: &Ec2, instance: &Instance) {
    let alive = instance.is_alive();
    xml.put("instanceId", &instance.id).put("imageId", &instance.image_id);
    put_state(xml, "instanceState", instance.state);
    let public = ec2.public_address_of(instance).filter(|_| alive);
    let dns_name = if alive { instance.private_dns_name(&ec2.region) } else { String::new() };
    xml.put("privateDnsName", dns_name)
        .put("dnsName", public.and_then(|public| ec2.public_dns_name(&instance.vpc_id, public.address)).unwrap_or_default())
        .put("reason", &instance.transition_reason)
        .maybe("keyName", instance.key_name.as_ref())
        .put("amiLaunchIndex", instance.ami_launch_index)
        .texts("productCodes", [""; 0])
        .put("instanceType", &instance.instance_type)
        .put("launchTime", wire_time(instance.launch_time))
        .element("placement", |xml| {
            let group = instance.placement_group.as_ref();
            let group_id = ec2.placement_groups.values().find(|known| Some(&known.name) == group);
            xml.put("availabilityZone", &instance.zone)
                .put("availabilityZoneId", zone_id(&instance.zone))
                .put("groupName", group.map_or("", String::as_str))
                .maybe("groupId", group_id.map(|group| &group.id))
                .maybe("partitionNumber", instance.partition_number)
                .put("tenancy", &instance.tenancy);
        })
        .element("monitoring", |xml| {
            xml.put("state", monitoring(instance));
        });
    if alive {
        xml.put("subnetId", &instance.subnet_id)
            .put("vpcId", &instance.vpc_id)
            .put("privateIpAddress", instance.private_address)
            .maybe("ipAddress", public.map(|public| public.address))
            .put("sourceDestCheck", instance.source_dest_check);
        put_groups(xml, ec2, &instance.security_groups);
    }
    if let Some(reason) = &instance.state_reason {
        xml.element("stateReason", |xml| {
            xml.put("code", &reason.code).put("message", &reason.message);
        });
    }
    xml.put("architecture", "x86_64").put("rootDeviceType", "ebs").put("rootDeviceName", &instance.root_device);
    put_devices(xml, instance);
    xml.put("virtualizationType", "hvm")
        .maybe("instanceLifecycle", instance.spot_request_id.as_ref().map(|_| "spot"))
        .maybe("spotInstanceRequestId", instance.spot_request_id.as_ref())
        .put("clientToken", &instance.client_token);
    put_tags(xml, &instance.tags);
    let interfaces = if alive { ec2.interfaces_of(instance) } else { Vec::new() };
    xml.put("hypervisor", "xen").list("networkInterfaceSet", interfaces, |xml, one| {
        put_facts(xml, ec2, &one, "in-use", false);
        xml.element("attachment", |xml| put_attachment(xml, &one));
    });
    put_options(xml, instance);
}

/// Writes the block device mapping.
pub(super) fn put_devices(xml: &mut Xml, instance: &Instance) {
    xml.list("blockDeviceMapping", &instance.devices, |xml, device| {
        xml.put("deviceName", &device.device).element("ebs", |xml| {
            xml.put("volumeId", &device.volume_id)
                .put("status", device.state.wire())
                .put("attachTime", wire_time(device.attach_time))
                .put("deleteOnTermination", device.delete_on_termination);
        });
    });
}

fn put_options(xml: &mut Xml, instance: &Instance) {
    if let Some(profile) = &instance.iam_instance_profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.put("arn", &profile.arn).put("id", &profile.id);
        });
    }
    xml.put("ebsOptimized", instance.ebs_optimized)
        .put("enaSupport", true)
        .element("cpuOptions", |xml| {
            xml.put("coreCount", instance.cpu_options.cores).put("threadsPerCore", instance.cpu_options.threads_per_core);
        })
        .element("capacityReservationSpecification", |xml| {
            xml.put("capacityReservationPreference", "open");
        })
        .element("hibernationOptions", |xml| {
            xml.put("configured", false);
        })
        .element("enclaveOptions", |xml| {
            xml.put("enabled", false);
        })
        .element("metadataOptions", |xml| {
            put_metadata_options(xml, &instance.metadata_options, Timestamp::now());
        })
        .element("maintenanceOptions", |xml| {
            xml.put("autoRecovery", "default");
        })
        .element("privateDnsNameOptions", |xml| {
            xml.put("hostnameType", "ip-name")
                .put("enableResourceNameDnsARecord", false)
                .put("enableResourceNameDnsAAAARecord", false);
        })
        .put("platformDetails", "Linux/UNIX")
        .put("usageOperation", "RunInstances")
        .put("usageOperationUpdateTime", wire_time(instance.created))
        .put("bootMode", "uefi-preferred")
        .put("currentInstanceBootMode", "uefi");
}

/// How long changed metadata options are pending; EC2 takes some seconds, which would only be waited for.
const OPTIONS_PENDING: SignedDuration = SignedDuration::from_millis(500);

/// Whether the options are in force.
pub(super) fn metadata_state(options: &MetadataOptions, now: Timestamp) -> &'static str {
    let is_pending = options.changed.is_some_and(|changed| now.duration_since(changed) < OPTIONS_PENDING);
    if is_pending { "pending" } else { "applied" }
}

pub(super) fn put_metadata_options(xml: &mut Xml, options: &MetadataOptions, now: Timestamp) {
    let on = |on: bool| if on { "enabled" } else { "disabled" };
    xml.put("state", metadata_state(options, now))
        .put("httpTokens", if options.tokens_required { "required" } else { "optional" })
        .put("httpPutResponseHopLimit", options.hop_limit)
        .put("httpEndpoint", on(options.http_endpoint))
        .put("httpProtocolIpv6", "disabled")
        .put("instanceMetadataTags", on(options.instance_tags));
}

/// How long status checks take before they pass; EC2 takes a minute or more, which would only be waited for.
const CHECKS: SignedDuration = SignedDuration::from_secs(2);

fn describe_status(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    // Events, operators and applications are nothing that an instance here has: such filters admit none.
    const FILTERS: [&str; 18] = [
        "application-status.status",
        "attached-ebs-status.status",
        "availability-zone",
        "availability-zone-id",
        "event.code",
        "event.description",
        "event.instance-event-id",
        "event.not-after",
        "event.not-before",
        "event.not-before-deadline",
        "operator.managed",
        "operator.principal",
        "instance-state-code",
        "instance-state-name",
        "instance-status.reachability",
        "instance-status.status",
        "system-status.reachability",
        "system-status.status",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read_without_ids(query, "InstanceId")?;
    let ids = query.list("InstanceId");
    if ids.len() > 100 {
        return Err(ApiError::invalid_value("At most 100 instance ids may be named"));
    }
    let all = query.boolean("IncludeAllInstances")?.unwrap_or(false);
    let (ec2, now) = (&*turn.ec2, turn.now);
    turn::INSTANCE.asked(&ec2.instances, &ids)?;
    let found = ec2
        .instances()
        .filter(|instance| ids.is_empty() || ids.contains(&instance.id.as_str()))
        .filter(|instance| all || instance.state == InstanceState::Running)
        .filter(|instance| {
            let (status, reachability) = checks(instance, now);
            filters.admit(&instance.tags, |name| match name {
                "instance-status.status" | "system-status.status" | "attached-ebs-status.status" => vec![status.to_owned()],
                "instance-status.reachability" | "system-status.reachability" => vec![reachability.to_owned()],
                _ => values(ec2, instance, name),
            })
        });
    let (found, token) = page.cut(found, |instance| instance.id.clone());
    let mut xml = Xml::new();
    xml.list("instanceStatusSet", found, |xml, instance| {
        xml.put("instanceId", &instance.id)
            .put("availabilityZone", &instance.zone)
            .put("availabilityZoneId", zone_id(&instance.zone));
        put_state(xml, "instanceState", instance.state);
        let (status, reachability) = checks(instance, now);
        for name in ["instanceStatus", "systemStatus", "attachedEbsStatus"] {
            xml.element(name, |xml| {
                // Where no check applies, there is nothing to detail.
                let detailed = (status != NOT_APPLICABLE).then_some(reachability);
                xml.put("status", status).list("details", detailed, |xml, reachability| {
                    xml.put("name", "reachability").put("status", reachability);
                });
            });
        }
        xml.texts("eventsSet", [""; 0]);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// The status of what is not running.
const NOT_APPLICABLE: &str = "not-applicable";

/// Status and reachability of an instance.
fn checks(instance: &Instance, now: Timestamp) -> (&'static str, &'static str) {
    match instance.state {
        InstanceState::Running if instance.fate.checks == Onset::Never => ("impaired", "failed"),
        InstanceState::Running if !instance.fate.checks.has_come(instance.launch_time, now) => ("initializing", "initializing"),
        InstanceState::Running if now.duration_since(instance.launch_time) > CHECKS => ("ok", "passed"),
        InstanceState::Running => ("initializing", "initializing"),
        _ => (NOT_APPLICABLE, "insufficient-data"),
    }
}
