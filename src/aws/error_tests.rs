//! The table of classes, row by row.

use super::error::{CallError, Class, classify, quota};

#[test]
fn every_code_of_the_reference_falls_into_one_class() {
    let rows: [(Class, &[&str]); 10] = [
        (
            Class::Throttled,
            &[
                "RequestLimitExceeded",
                "ThrottlingException",
                "BandwidthLimitExceeded",
                "LimitExceededException",
                "PriorRequestNotComplete",
                "TooManyUpdates",
                "SnapshotCreationPerVolumeRateExceeded",
                "ConcurrentCreateImageNoRebootLimitExceeded",
            ],
        ),
        (
            Class::Capacity,
            &[
                "InsufficientInstanceCapacity",
                "InsufficientVolumeCapacity",
                "InsufficientAddressCapacity",
                "InsufficientFreeAddressesInSubnet",
                "UnfulfillableCapacity",
                "SpotMaxPriceTooLow",
                "Server.InsufficientInstanceCapacity",
                "Server.SpotInstanceTermination",
            ],
        ),
        (
            Class::Quota,
            &[
                "VcpuLimitExceeded",
                "MaxSpotInstanceCountExceeded",
                "RulesPerSecurityGroupLimitExceeded",
                "SecurityGroupsPerInterfaceLimitExceeded",
                "RouteTableLimitExceeded",
                "RouteLimitExceeded",
                "AddressLimitExceeded",
                "SnapshotLimitExceeded",
                "TagLimitExceeded",
                "VolumeSizeLimitExceeded",
                "Client.VolumeLimitExceeded",
                "ServiceQuotaExceededException",
            ],
        ),
        (
            Class::Permission,
            &[
                "UnauthorizedOperation",
                "AuthFailure",
                "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
                "PendingVerification",
                "OptInRequired",
                "Blocked",
                "Client.InternalError",
            ],
        ),
        (Class::NotFound, &["InvalidInstanceID.NotFound", "InvalidPlacementGroup.Unknown", "Client.InvalidSnapshot.NotFound"]),
        (Class::Gone, &["Client.UserInitiatedShutdown", "Client.InstanceInitiatedShutdown"]),
        (Class::Conflict, &["DependencyViolation", "IncorrectInstanceState", "VolumeInUse"]),
        (Class::Exists, &["InvalidGroup.Duplicate", "ParameterAlreadyExists"]),
        (Class::Ambiguous, &["InternalError", "Server.InternalError", "ServiceUnavailable"]),
        (Class::Invalid, &["InvalidParameterValue", "MissingParameter", "SomethingNew"]),
    ];
    for (class, codes) in rows {
        for code in codes {
            assert_eq!(classify(code), class, "{code}");
        }
    }
}

#[test]
fn what_is_not_found_is_not_there_yet_if_it_was_just_made_and_gone_otherwise() {
    let error = |class| CallError { class, ..CallError::unexpected("DescribeInstances", "i-1", "no such instance") };
    assert_eq!(error(Class::NotFound).settled(true).class, Class::NotYet);
    assert_eq!(error(Class::NotFound).settled(false).class, Class::Gone);
    assert_eq!(error(Class::Conflict).settled(true).class, Class::Conflict);
}

#[test]
fn a_quota_on_instances_goes_by_family_and_market() {
    let name = |instance_type, spot| quota("VcpuLimitExceeded", Some(instance_type), spot);
    let on_demand = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (vCPUs)";
    assert_eq!(name("c7i.8xlarge", false).as_deref(), Some(on_demand));
    assert_eq!(
        name("m5.large", true).as_deref(),
        Some("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests (vCPUs)")
    );
    assert_eq!(name("hpc7a.96xlarge", false).as_deref(), Some("Running On-Demand HPC instances (vCPUs)"));
    assert_eq!(name("p5.48xlarge", true).as_deref(), Some("All P Spot Instance Requests (vCPUs)"));
    assert_eq!(name("warp9.large", false), None);
    assert_eq!(quota("VpcLimitExceeded", None, false).as_deref(), Some("VPCs per Region"));
    assert_eq!(quota("SomethingLimitExceeded", None, false), None);
}
