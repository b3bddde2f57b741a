//! Filters of DescribeInstances beyond what an instance is at first sight: its interface, its options, its placement.

use super::describe_instances::metadata_state;
use super::network_interface;
use super::turn::wire_time;
use crate::model::ec2::{Ec2, Instance, InterfaceView};

/// Filters that have values here.
pub(super) const KNOWN: &[&str] = &[
    "boot-mode",
    "capacity-reservation-specification.capacity-reservation-preference",
    "current-instance-boot-mode",
    "ebs-optimized",
    "ena-support",
    "enclave-options.enabled",
    "hibernation-options.configured",
    "maintenance-options.auto-recovery",
    "metadata-options.http-endpoint",
    "metadata-options.http-protocol-ipv4",
    "metadata-options.http-protocol-ipv6",
    "metadata-options.http-put-response-hop-limit",
    "metadata-options.http-tokens",
    "metadata-options.instance-metadata-tags",
    "metadata-options.state",
    "network-interface.addresses.association.allocation-id",
    "network-interface.addresses.association.association-id",
    "network-interface.addresses.association.ip-owner-id",
    "network-interface.addresses.association.public-dns-name",
    "network-interface.addresses.primary",
    "network-interface.addresses.private-dns-name",
    "network-interface.association.allocation-id",
    "network-interface.association.association-id",
    "network-interface.association.ip-owner-id",
    "network-interface.association.public-dns-name",
    "network-interface.association.public-ip",
    "network-interface.attachment.attach-time",
    "network-interface.attachment.delete-on-termination",
    "network-interface.attachment.device-index",
    "network-interface.attachment.instance-id",
    "network-interface.attachment.instance-owner-id",
    "network-interface.attachment.network-card-index",
    "network-interface.attachment.status",
    "network-interface.availability-zone",
    "network-interface.description",
    "network-interface.group-id",
    "network-interface.group-name",
    "network-interface.mac-address",
    "network-interface.operator.managed",
    "network-interface.owner-id",
    "network-interface.private-dns-name",
    "network-interface.private-ip-address",
    "network-interface.requester-managed",
    "network-interface.source-dest-check",
    "network-interface.status",
    "network-interface.subnet-id",
    "network-interface.tag-key",
    "network-interface.tag-value",
    "network-interface.vpc-id",
    "operator.managed",
    "placement-partition-number",
    "platform-details",
    "private-dns-name-options.enable-resource-name-dns-a-record",
    "private-dns-name-options.enable-resource-name-dns-aaaa-record",
    "private-dns-name-options.hostname-type",
    "source-dest-check",
    "state-reason-message",
    "usage-operation",
    "usage-operation-update-time",
];

/// Filters about what no instance here has: they admit none.
pub(super) const NEVER: &[&str] = &[
    "affinity",
    "capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
    "host-id",
    "ipv6-address",
    "kernel-id",
    "network-interface.addresses.association.carrier-ip",
    "network-interface.addresses.association.customer-owned-ip",
    "network-interface.association.carrier-ip",
    "network-interface.association.customer-owned-ip",
    "network-interface.deny-all-igw-traffic",
    "network-interface.ipv4-prefixes.ipv4-prefix",
    "network-interface.ipv6-address",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.ipv6-addresses.is-primary-ipv6",
    "network-interface.ipv6-native",
    "network-interface.ipv6-prefixes.ipv6-prefix",
    "network-interface.operator.principal",
    "network-interface.outpost-arn",
    "network-interface.public-dns-name",
    "network-interface.requester-id",
    "network-performance-options.bandwidth-weighting",
    "operator.principal",
    "outpost-arn",
    "platform",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "requester-id",
    "tpm-support",
];

/// What an instance is under one of these names.
pub(super) fn more(ec2: &Ec2, instance: &Instance, name: &str) -> Vec<String> {
    if NEVER.contains(&name) {
        return Vec::new();
    }
    if let Some(rest) = name.strip_prefix("network-interface.") {
        // A terminated instance has no interface.
        let interfaces = if instance.is_alive() { ec2.interfaces_of(instance) } else { Vec::new() };
        return interfaces.iter().flat_map(|one| of_interface(ec2, instance, one, rest)).collect();
    }
    let enabled = |on: bool| if on { "enabled" } else { "disabled" }.to_owned();
    let metadata = &instance.metadata_options;
    vec![match name {
        "boot-mode" => "uefi-preferred".to_owned(),
        "current-instance-boot-mode" => "uefi".to_owned(),
        "capacity-reservation-specification.capacity-reservation-preference" => "open".to_owned(),
        "ebs-optimized" => instance.ebs_optimized.to_string(),
        "ena-support" => "true".to_owned(),
        "enclave-options.enabled" | "hibernation-options.configured" | "operator.managed" => "false".to_owned(),
        "maintenance-options.auto-recovery" => "default".to_owned(),
        "metadata-options.http-endpoint" => enabled(metadata.http_endpoint),
        "metadata-options.http-protocol-ipv4" => "enabled".to_owned(),
        "metadata-options.http-protocol-ipv6" => "disabled".to_owned(),
        "metadata-options.http-put-response-hop-limit" => metadata.hop_limit.to_string(),
        "metadata-options.http-tokens" => if metadata.tokens_required { "required" } else { "optional" }.to_owned(),
        "metadata-options.instance-metadata-tags" => enabled(metadata.instance_tags),
        "metadata-options.state" => metadata_state(metadata, jiff::Timestamp::now()).to_owned(),
        "placement-partition-number" => return instance.partition_number.iter().map(u32::to_string).collect(),
        "platform-details" => "Linux/UNIX".to_owned(),
        "private-dns-name-options.enable-resource-name-dns-a-record"
        | "private-dns-name-options.enable-resource-name-dns-aaaa-record" => "false".to_owned(),
        "private-dns-name-options.hostname-type" => "ip-name".to_owned(),
        "source-dest-check" => instance.source_dest_check.to_string(),
        "state-reason-message" => {
            return instance.state_reason.iter().map(|reason| reason.message.clone()).collect();
        }
        "usage-operation" => "RunInstances".to_owned(),
        "usage-operation-update-time" => wire_time(instance.created),
        _ => return Vec::new(),
    }]
}

fn of_interface(ec2: &Ec2, instance: &Instance, one: &InterfaceView<'_>, name: &str) -> Vec<String> {
    let attachment = one.attachment.as_ref();
    let publics = || one.private_addresses().filter_map(|address| ec2.public_address(one, address));
    match name {
        "addresses.association.allocation-id" => publics().filter_map(|public| Some(public.elastic?.id.clone())).collect(),
        "addresses.association.association-id" => {
            publics().filter_map(|public| Some(public.elastic?.association.as_ref()?.id.clone())).collect()
        }
        "addresses.association.ip-owner-id" => network_interface::values(ec2, one, "addresses.association.owner-id"),
        "addresses.association.public-dns-name" => {
            publics().filter_map(|public| ec2.public_dns_name(one.vpc_id, public.address)).collect()
        }
        "addresses.private-dns-name" => vec![instance.private_dns_name(&ec2.region)],
        "attachment.attach-time" => attachment.map(|attachment| wire_time(attachment.at)).into_iter().collect(),
        "attachment.network-card-index" => attachment.map(|attachment| attachment.network_card.to_string()).into_iter().collect(),
        "operator.managed" => vec!["false".to_owned()],
        "tag-key" => one.tags.keys().cloned().collect(),
        "tag-value" => one.tags.values().cloned().collect(),
        // The rest are the filters of interfaces themselves.
        _ => network_interface::values(ec2, one, name),
    }
}
