//! Filters that EC2 documents and that tell no resource of this cloud from another, all in one place.
//!
//! A name that is neither here nor among an action's own filters is no filter of EC2.

/// What the resources of a listing have under a filter's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uniform {
    /// All the same.
    All(&'static str),
    /// None of them has anything.
    Nothing,
    /// What this cloud does not say of them, so that whoever asks must be told.
    Unsaid,
}

use Uniform::{All, Nothing, Unsaid};

/// Action, and each filter. Names are those of EC2's service model.
const UNIFORM: &[(&str, &[(&str, Uniform)])] = &[
    ("DescribeAvailabilityZones", &[("group-long-name", Unsaid), ("parent-zone-id", Nothing), ("parent-zone-name", Nothing)]),
    (
        "DescribeImages",
        &[
            ("free-tier-eligible", Unsaid),
            ("image-allowed", Unsaid),
            ("image-watermark.source-image-creation-time", Nothing),
            ("image-watermark.source-image-id", Nothing),
            ("image-watermark.source-image-region", Nothing),
            ("image-watermark.watermark-creation-time", Nothing),
            ("image-watermark.watermark-key", Nothing),
            ("instance-type-specification.supported-instance-type", Nothing),
            ("instance-type-specification.unsupported-instance-type", Nothing),
            ("kernel-id", Nothing),
            ("manifest-location", Unsaid),
            ("platform", Nothing),
            ("product-code", Nothing),
            ("product-code.type", Nothing),
            ("public-ssm-parameter-name", Unsaid),
            ("ramdisk-id", Nothing),
            ("scan-result.critical-fix-available-since", Nothing),
            ("scan-result.finding-scan-date", Nothing),
            ("scan-result.high-fix-available-since", Nothing),
            ("scan-result.highest-finding-severity-label", Nothing),
            ("scan-result.informational-fix-available-since", Nothing),
            ("scan-result.low-fix-available-since", Nothing),
            ("scan-result.medium-fix-available-since", Nothing),
            ("state-reason-code", Nothing),
            ("state-reason-message", Nothing),
        ],
    ),
    (
        "DescribeInstanceTypes",
        &[
            ("dedicated-hosts-supported", Unsaid),
            ("ebs-info.attachment-limit-type", Unsaid),
            ("ebs-info.ebs-optimized-info.baseline-iops", Unsaid),
            ("ebs-info.ebs-optimized-info.baseline-throughput-in-mbps", Unsaid),
            ("ebs-info.ebs-optimized-info.maximum-iops", Unsaid),
            ("ebs-info.ebs-optimized-info.maximum-throughput-in-mbps", Unsaid),
            ("ebs-info.ebs-optimized-support", All("default")),
            ("ebs-info.encryption-support", All("supported")),
            ("ebs-info.maximum-ebs-attachments", Unsaid),
            ("ebs-info.nvme-support", All("required")),
            ("hibernation-supported", Unsaid),
            ("instance-storage-info.disk.count", Unsaid),
            ("instance-storage-info.disk.size-in-gb", Unsaid),
            ("instance-storage-info.disk.type", Unsaid),
            ("instance-storage-info.encryption-support", Unsaid),
            ("network-info.bandwidth-weightings", Unsaid),
            ("network-info.ena-support", All("required")),
            ("network-info.encryption-in-transit-supported", Unsaid),
            ("network-info.flexible-ena-queues-support", Unsaid),
            ("network-info.ipv6-supported", All("true")),
            ("nitro-enclaves-support", Unsaid),
            ("nitro-tpm-info.supported-versions", Unsaid),
            ("nitro-tpm-support", Unsaid),
            ("processor-info.supported-features", Unsaid),
            ("reboot-migration-support", Unsaid),
        ],
    ),
    (
        "DescribeNetworkInterfaces",
        &[("ipv6-addresses.ipv6-address", Nothing), ("operator.managed", All("false")), ("operator.principal", Nothing)],
    ),
    ("DescribeRouteTables", &[("association.gateway-id", Nothing), ("route.egress-only-internet-gateway-id", Nothing)]),
    ("DescribeSnapshots", &[("owner-alias", Nothing), ("transfer-type", Unsaid)]),
    (
        "DescribeSpotInstanceRequests",
        &[
            ("launch-group", Nothing),
            ("launch.block-device-mapping.delete-on-termination", Unsaid),
            ("launch.block-device-mapping.device-name", Unsaid),
            ("launch.block-device-mapping.snapshot-id", Unsaid),
            ("launch.block-device-mapping.volume-size", Unsaid),
            ("launch.block-device-mapping.volume-type", Unsaid),
            ("launch.kernel-id", Nothing),
            ("launch.ramdisk-id", Nothing),
            ("network-interface.addresses.primary", All("true")),
            ("network-interface.delete-on-termination", Unsaid),
            ("network-interface.device-index", All("0")),
        ],
    ),
    (
        "DescribeSubnets",
        &[
            ("customer-owned-ipv4-pool", Nothing),
            ("enable-dns64", All("false")),
            ("enable-lni-at-device-index", Nothing),
            ("ipv6-cidr-block-association.association-id", Nothing),
            ("ipv6-cidr-block-association.ipv6-cidr-block", Nothing),
            ("ipv6-cidr-block-association.state", Nothing),
            ("ipv6-native", All("false")),
            ("map-customer-owned-ip-on-launch", All("false")),
            ("outpost-arn", Nothing),
            ("private-dns-name-options-on-launch.enable-resource-name-dns-a-record", All("false")),
            ("private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record", All("false")),
            ("private-dns-name-options-on-launch.hostname-type", All("ip-name")),
        ],
    ),
    ("DescribeVolumes", &[("operator.managed", All("false")), ("operator.principal", Nothing)]),
    ("DescribeVolumesModifications", &[("originalMultiAttachEnabled", All("false")), ("targetMultiAttachEnabled", All("false"))]),
    ("DescribeVolumeStatus", &[("attachment-status.instance-id", Unsaid), ("attachment-status.io-performance", Unsaid)]),
    ("DescribeVpcEndpointServices", &[("supported-ip-address-types", All("ipv4"))]),
    ("DescribeVpcEndpoints", &[("service-region", Unsaid)]),
    (
        "DescribeVpcs",
        &[
            ("ipv6-cidr-block-association.association-id", Nothing),
            ("ipv6-cidr-block-association.ipv6-cidr-block", Nothing),
            ("ipv6-cidr-block-association.ipv6-pool", Nothing),
            ("ipv6-cidr-block-association.state", Nothing),
        ],
    ),
];

/// What a filter of this action means, if it is one of these.
pub(super) fn meaning(action: &str, filter: &str) -> Option<Uniform> {
    let (_, filters) = UNIFORM.iter().find(|(known, _)| *known == action)?;
    filters.iter().find(|(known, _)| *known == filter).map(|(_, meaning)| *meaning)
}
