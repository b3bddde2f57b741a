//! Failures that pass by themselves, though EC2 tells them from lasting ones by their message alone.

use std::time::Duration;

use super::CallError;

/// How long instance profiles may be unknown after they were made (ec2.md 1.7, 1.10).
const PROFILE_LAG: Duration = Duration::from_secs(120);
/// How long a quota may still count what has just ended; a quota that is really used up is told after that (ec2.md 1.4).
const QUOTA_LAG: Duration = Duration::from_secs(30);
/// How long the address of an instance that ended may stay taken by its network interface (ec2.md 5.2).
const ADDRESS_LAG: Duration = Duration::from_secs(120);
/// How long a change may stay invisible to other calls (ec2.md 1.1).
const SETTLE: Duration = Duration::from_secs(300);
/// How long a stopped instance may be in no state to be taken as an image (ec2.md 8.1).
const IMAGE_LAG: Duration = Duration::from_secs(900);

/// For how long a call that failed so may be repeated; None for a failure that lasts, or that its class tells enough of.
pub fn passes_within(error: &CallError) -> Option<Duration> {
    let says = |texts: &[&str]| texts.iter().any(|text| error.message.contains(text));
    match (error.call, error.code.as_deref()?) {
        ("RunInstances" | "AssociateIamInstanceProfile" | "ReplaceIamInstanceProfileAssociation", "InvalidParameterValue")
            if says(&["Invalid IAM Instance Profile", "has no associated IAM Roles", "iamInstanceProfile"]) =>
        {
            Some(PROFILE_LAG)
        }
        ("RunInstances" | "StartInstances", "InstanceLimitExceeded") => Some(QUOTA_LAG),
        ("RunInstances", "InvalidIPAddress.InUse") => Some(ADDRESS_LAG),
        // Straight after a change of type (ec2.md 1.12).
        ("StartInstances", "InvalidParameterValue") if says(&["LaunchPlan"]) => Some(SETTLE),
        // The gateway's attachment is not visible to the route table yet.
        ("CreateRoute", "InvalidParameterValue") if says(&["belong to different networks", "not attached"]) => Some(SETTLE),
        ("CreateImage", "InvalidParameterValue") if says(&["not in state"]) => Some(IMAGE_LAG),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Class;

    fn error(call: &'static str, code: &str, message: &str) -> CallError {
        CallError { call, object: "it".into(), code: Some(code.into()), message: message.into(), class: Class::Invalid }
    }

    #[test]
    fn a_profile_that_is_not_known_yet_is_waited_for_and_other_wrong_values_are_not() {
        let unknown = "Value (nodes) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name";
        assert_eq!(passes_within(&error("RunInstances", "InvalidParameterValue", unknown)), Some(PROFILE_LAG));
        let replacing = error("ReplaceIamInstanceProfileAssociation", "InvalidParameterValue", unknown);
        assert_eq!(passes_within(&replacing), Some(PROFILE_LAG));
        let roleless = "IAM Instance Profile \"arn:aws:iam::1:instance-profile/n\" has no associated IAM Roles";
        assert_eq!(passes_within(&error("RunInstances", "InvalidParameterValue", roleless)), Some(PROFILE_LAG));
        let lasting = "Value (c9.large) for parameter instanceType is invalid.";
        assert_eq!(passes_within(&error("RunInstances", "InvalidParameterValue", lasting)), None);
        assert_eq!(passes_within(&error("CreateVolume", "InvalidParameterValue", unknown)), None);
    }

    #[test]
    fn what_a_change_moments_ago_explains_is_waited_for() {
        for (call, code, message) in [
            ("StartInstances", "InvalidParameterValue", "The LaunchPlan instance type does not match attribute value: c7i.large"),
            ("CreateRoute", "InvalidParameterValue", "route table rtb-1 and network gateway igw-1 belong to different networks"),
            ("CreateImage", "InvalidParameterValue", "Instance is not in state 'running' or 'stopped'"),
            ("RunInstances", "InstanceLimitExceeded", "Your quota allows for 0 more running instance(s)."),
            ("RunInstances", "InvalidIPAddress.InUse", "Address 10.0.0.4 is in use."),
        ] {
            assert!(passes_within(&error(call, code, message)).is_some(), "{call} {code}");
            assert_eq!(passes_within(&error("CreateTags", code, message)), None, "CreateTags {code}");
        }
    }
}
