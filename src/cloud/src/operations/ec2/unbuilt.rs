//! Parameters of EC2 that are not built here, all in one place.
//!
//! One whose value asks for what happens anyway is ignored; any other value is refused by the parameter's name. What is
//! in no list is no parameter of EC2.

use crate::wire::error::ApiError;
use crate::wire::query::is_below;

/// A value that is as good as none.
const NONE: &str = "";

/// Action, and each parameter with the value that changes nothing.
const UNBUILT: &[(&str, &[(&str, &str)])] = &[
    ("AllocateAddress", &[("Address", NONE), ("CustomerOwnedIpv4Pool", NONE), ("IpamPoolId", NONE)]),
    ("AssignPrivateIpAddresses", &[("Ipv4Prefix", NONE), ("Ipv4PrefixCount", "0")]),
    ("AssociateRouteTable", &[("GatewayId", NONE), ("PublicIpv4Pool", NONE)]),
    (
        "AttachNetworkInterface",
        &[
            ("EnaQueueCount", NONE),
            ("EnaSrdSpecification.EnaSrdEnabled", "false"),
            ("EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled", "false"),
        ],
    ),
    ("AttachVolume", &[("EbsCardIndex", "0")]),
    (
        "CopyImage",
        &[
            ("DestinationAvailabilityZone", NONE),
            ("DestinationAvailabilityZoneId", NONE),
            ("DestinationOutpostArn", NONE),
            ("SnapshotCopyCompletionDurationMinutes", NONE),
        ],
    ),
    ("CopySnapshot", &[("DestinationAvailabilityZone", NONE), ("DestinationOutpostArn", NONE)]),
    ("CreateDefaultSubnet", &[("Ipv6Native", "false")]),
    (
        "CreateImage",
        &[
            ("BlockDeviceMapping.Ebs.AvailabilityZone", NONE),
            ("BlockDeviceMapping.Ebs.AvailabilityZoneId", NONE),
            ("BlockDeviceMapping.Ebs.EbsCardIndex", NONE),
            ("BlockDeviceMapping.Ebs.Encrypted", NONE),
            ("BlockDeviceMapping.Ebs.Iops", NONE),
            ("BlockDeviceMapping.Ebs.KmsKeyId", NONE),
            ("BlockDeviceMapping.Ebs.OutpostArn", NONE),
            ("BlockDeviceMapping.Ebs.SnapshotId", NONE),
            ("BlockDeviceMapping.Ebs.Throughput", NONE),
            ("BlockDeviceMapping.Ebs.VolumeInitializationRate", NONE),
            ("BlockDeviceMapping.Ebs.VolumeSize", NONE),
            ("BlockDeviceMapping.Ebs.VolumeType", NONE),
            ("BlockDeviceMapping.VirtualName", NONE),
            ("BootModeOverride", NONE),
            ("SnapshotLocation", "regional"),
        ],
    ),
    (
        "CreateNatGateway",
        &[
            ("AvailabilityMode", "zonal"),
            ("AvailabilityZoneAddress", NONE),
            ("SecondaryAllocationId", NONE),
            ("SecondaryPrivateIpAddress", NONE),
            ("SecondaryPrivateIpAddressCount", "0"),
            ("VpcId", NONE),
        ],
    ),
    (
        "CreateNetworkInterface",
        &[
            ("ConnectionTrackingSpecification", NONE),
            ("EnablePrimaryIpv6", "false"),
            ("Ipv4Prefix", NONE),
            ("Ipv4PrefixCount", "0"),
            ("Ipv6AddressCount", "0"),
            ("Ipv6Addresses", NONE),
            ("Ipv6Prefix", NONE),
            ("Ipv6PrefixCount", "0"),
            ("Operator", NONE),
        ],
    ),
    ("CreatePlacementGroup", &[("LinkedGroupId", NONE), ("Operator", NONE), ("ParentGroupId", NONE)]),
    ("CreateReplaceRootVolumeTask", &[("VolumeInitializationRate", NONE)]),
    ("CreateRoute", &ROUTE_TARGETS),
    ("CreateSnapshot", &[("Location", "regional"), ("OutpostArn", NONE)]),
    ("CreateSnapshots", &[("Location", "regional"), ("OutpostArn", NONE)]),
    (
        "CreateSubnet",
        &[
            ("Ipv4IpamPoolId", NONE),
            ("Ipv4NetmaskLength", NONE),
            ("Ipv6CidrBlock", NONE),
            ("Ipv6IpamPoolId", NONE),
            ("Ipv6Native", "false"),
            ("Ipv6NetmaskLength", NONE),
            ("OutpostArn", NONE),
        ],
    ),
    ("CreateVolume", &[("KmsKeyId", NONE), ("Operator", NONE), ("OutpostArn", NONE), ("VolumeInitializationRate", NONE)]),
    (
        "CreateVpc",
        &[
            ("AmazonProvidedIpv6CidrBlock", "false"),
            ("Ipv4IpamPoolId", NONE),
            ("Ipv4NetmaskLength", NONE),
            ("Ipv6CidrBlock", NONE),
            ("Ipv6CidrBlockNetworkBorderGroup", NONE),
            ("Ipv6IpamPoolId", NONE),
            ("Ipv6NetmaskLength", NONE),
            ("Ipv6Pool", NONE),
            ("VpcEncryptionControl", NONE),
        ],
    ),
    (
        "CreateVpcEndpoint",
        &[
            ("DnsOptions.DnsRecordIpType", "ipv4"),
            ("DnsOptions", NONE),
            ("ResourceConfigurationArn", NONE),
            ("ServiceNetworkArn", NONE),
            ("ServiceRegion", NONE),
            ("SubnetConfiguration", NONE),
        ],
    ),
    ("DescribeVpcEndpointServices", &[("ServiceRegion", NONE)]),
    (
        "ModifyNetworkInterfaceAttribute",
        &[
            ("AssociatedSubnetId", NONE),
            ("Attachment.DefaultEnaQueueCount", NONE),
            ("Attachment.EnaQueueCount", NONE),
            ("ConnectionTrackingSpecification", NONE),
            ("EnablePrimaryIpv6", "false"),
            ("EnaSrdSpecification.EnaSrdEnabled", "false"),
            ("EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled", "false"),
        ],
    ),
    (
        "ModifySubnetAttribute",
        &[
            ("CustomerOwnedIpv4Pool", NONE),
            ("DisableLniAtDeviceIndex.Value", "true"),
            ("EnableLniAtDeviceIndex", NONE),
            ("MapCustomerOwnedIpOnLaunch.Value", "false"),
        ],
    ),
    (
        "ModifyVpcEndpoint",
        &[("DnsOptions.DnsRecordIpType", "ipv4"), ("DnsOptions", NONE), ("IpAddressType", "ipv4"), ("SubnetConfiguration", NONE)],
    ),
    ("ModifyVolume", &[("MultiAttachEnabled", "false")]),
    (
        "RegisterImage",
        &[
            ("BlockDeviceMapping.Ebs.AvailabilityZone", NONE),
            ("BlockDeviceMapping.Ebs.AvailabilityZoneId", NONE),
            ("BlockDeviceMapping.Ebs.EbsCardIndex", NONE),
            ("BlockDeviceMapping.Ebs.KmsKeyId", NONE),
            ("BlockDeviceMapping.Ebs.OutpostArn", NONE),
            ("BlockDeviceMapping.Ebs.VolumeInitializationRate", NONE),
        ],
    ),
    ("ReplaceRoute", &ROUTE_TARGETS),
    ("UnassignPrivateIpAddresses", &[("Ipv4Prefix", NONE)]),
];

const ROUTE_TARGETS: [(&str, &str); 8] = [
    ("CarrierGatewayId", NONE),
    ("CoreNetworkArn", NONE),
    ("EgressOnlyInternetGatewayId", NONE),
    ("LocalGatewayId", NONE),
    ("LocalTarget", "false"),
    ("OdbNetworkArn", NONE),
    ("TransitGatewayId", NONE),
    ("VpcPeeringConnectionId", NONE),
];

/// What to do with a parameter of this action: nothing where its value asks for what happens anyway, else refuse it;
/// None where it is in no list.
pub(super) fn verdict(action: &str, name: &str, value: &str) -> Option<Result<(), ApiError>> {
    let (_, unbuilt) = UNBUILT.iter().find(|(known, _)| *known == action)?;
    // The longest is the most exact.
    let entry = unbuilt.iter().filter(|(unbuilt, _)| is_below(name, unbuilt)).max_by_key(|(unbuilt, _)| unbuilt.len());
    let (unbuilt, neutral) = entry?;
    Some(if value == *neutral { Ok(()) } else { Err(ApiError::unsupported_parameter(unbuilt)) })
}
