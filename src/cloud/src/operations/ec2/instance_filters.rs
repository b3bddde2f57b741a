//! Filters of DescribeInstances beyond what an instance is at first sight: its interface, its options, its placement.

use super::describe_instances::{metadata_state, values};
use super::turn::wire_time;
use crate::model::ec2::{Ec2, Instance};

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
    "network-interface.addresses.primary",
    "network-interface.addresses.private-dns-name",
    "network-interface.addresses.private-ip-address",
    "network-interface.attachment.attach-time",
    "network-interface.attachment.attachment-id",
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
    "ip-address",
    "ipv6-address",
    "kernel-id",
    "network-interface.addresses.association.allocation-id",
    "network-interface.addresses.association.association-id",
    "network-interface.addresses.association.carrier-ip",
    "network-interface.addresses.association.customer-owned-ip",
    "network-interface.addresses.association.ip-owner-id",
    "network-interface.addresses.association.public-dns-name",
    "network-interface.addresses.association.public-ip",
    "network-interface.association.allocation-id",
    "network-interface.association.association-id",
    "network-interface.association.carrier-ip",
    "network-interface.association.customer-owned-ip",
    "network-interface.association.ip-owner-id",
    "network-interface.association.public-dns-name",
    "network-interface.association.public-ip",
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
    if let Some(rest) = name.strip_prefix("network-interface.") {
        // A terminated instance has no interface.
        return if instance.is_alive() { of_interface(ec2, instance, rest) } else { Vec::new() };
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

fn of_interface(ec2: &Ec2, instance: &Instance, name: &str) -> Vec<String> {
    vec![match name {
        "addresses.primary" | "attachment.delete-on-termination" => "true".to_owned(),
        "addresses.private-dns-name" => instance.private_dns_name(&ec2.region),
        "addresses.private-ip-address" => instance.private_address.to_string(),
        "attachment.attach-time" => wire_time(instance.created),
        "attachment.attachment-id" => instance.interface_attachment_id.clone(),
        "attachment.device-index" | "attachment.network-card-index" => "0".to_owned(),
        "attachment.instance-id" => instance.id.clone(),
        "attachment.instance-owner-id" => ec2.account.clone(),
        "attachment.status" => "attached".to_owned(),
        "description" => instance.interface_description.clone(),
        "mac-address" => instance.mac.clone(),
        "operator.managed" | "requester-managed" => "false".to_owned(),
        "source-dest-check" => instance.source_dest_check.to_string(),
        "status" => "in-use".to_owned(),
        "tag-key" => return instance.interface_tags.keys().cloned().collect(),
        "tag-value" => return instance.interface_tags.values().cloned().collect(),
        // Zone, groups, owner, address, subnet and VPC are the instance's own.
        "availability-zone" | "group-id" | "group-name" | "owner-id" | "private-dns-name" | "private-ip-address"
        | "subnet-id" | "vpc-id" => return values(ec2, instance, name),
        _ => return Vec::new(),
    }]
}
