use ewulf_core::spec::Market;

use super::*;
use crate::apply::Aftermath;
use crate::aws::Handling;

fn call_error(call: &'static str, code: &str, class: Class) -> CallError {
    CallError { call, object: "vpc".to_owned(), code: Some(code.to_owned()), message: "No.".to_owned(), class }
}

fn launch(instance_type: &str, market: Market) -> Tried {
    Tried {
        nodes: 4,
        instance_type: Some(instance_type.to_owned()),
        zone: Some("us-east-1a".to_owned()),
        market: Some(market),
        instance_profile: Some("ewulf-node".to_owned()),
    }
}

/// What a user reads when a step of an apply failed so.
fn of_step(source: StepError, tried: Option<Tried>) -> Failure {
    let after = Box::new(Aftermath { tried, ..Aftermath::default() });
    Failure::from(ApplyError::Step { address: ewulf_core::address::Address::Master, done: 3, all: 9, source, after })
}

#[test]
fn every_class_has_its_handling_its_words_and_its_exit_code() {
    let rows = [
        (Class::Throttled, "RequestLimitExceeded", Handling::Repeat, "too many calls", 1),
        (Class::Capacity, "InsufficientInstanceCapacity", Handling::TryElsewhere, "no room for", 4),
        (Class::Quota, "VpcLimitExceeded", Handling::Stop, "quota `VPCs per Region`", 4),
        (Class::Permission, "UnauthorizedOperation", Handling::Stop, "allow ec2:CreateVpc;", 4),
        (Class::NotFound, "InvalidVpcID.NotFound", Handling::Settle, "run the same command again", 1),
        (Class::NotYet, "InvalidVpcID.NotFound", Handling::Repeat, "not visible everywhere yet", 1),
        (Class::Gone, "InvalidVpcID.NotFound", Handling::Accept, "removed it outside", 1),
        (Class::Conflict, "DependencyViolation", Handling::Wait, "still uses it", 1),
        (Class::Exists, "InvalidGroup.Duplicate", Handling::Adopt, "run the same command again", 1),
        (Class::Ambiguous, "InternalError", Handling::LookFirst, "nobody knows", 1),
        (Class::Invalid, "InvalidParameterValue", Handling::Stop, "run the same command again", 1),
        (Class::Unreachable, "", Handling::LookFirst, "ewulf doctor", 1),
        (Class::Credentials, "", Handling::Stop, "aws configure", 1),
    ];
    for (class, code, handling, words, exit) in rows {
        assert_eq!(class.handling(), handling, "{class:?}");
        let failure = of_step(StepError::Call(call_error("CreateVpc", code, class)), None);
        assert!(failure.hints.iter().any(|hint| hint.contains(words)), "{class:?}: {:?}", failure.hints);
        assert_eq!(failure.kind.code(), exit, "{class:?}");
        // Some classes are known by something else than a code.
        let by_code = classify(code);
        assert!(code.is_empty() || class == by_code || by_code == Class::NotFound, "{class:?}: {code} is {by_code:?}");
    }
}

#[test]
fn a_refusal_names_the_permission_that_is_missing() {
    let failure = Failure::from(call_error("SendCommand", "AccessDeniedException", Class::Permission));
    assert_eq!(failure.kind.code(), 4);
    assert!(failure.hints[0].starts_with("allow ssm:SendCommand;"), "{:?}", failure.hints);
    let failure = Failure::from(call_error("GetParametersByPath", "AccessDeniedException", Class::Permission));
    assert!(failure.hints[0].starts_with("allow ssm:GetParametersByPath;"), "{:?}", failure.hints);
}

#[test]
fn a_launch_that_may_not_pass_its_role_names_the_instance_profile() {
    let refused = StepError::Call(call_error("RunInstances", "UnauthorizedOperation", Class::Permission));
    let failure = of_step(refused, Some(launch("c7i.large", Market::OnDemand)));
    assert!(failure.hints[0].contains("iam:PassRole on the role of instance profile `ewulf-node`"), "{:?}", failure.hints);
}

#[test]
fn a_quota_is_named_by_family_and_market_and_capacity_by_what_was_tried() {
    let quota = |market| {
        let error = StepError::Call(call_error("RunInstances", "VcpuLimitExceeded", Class::Quota));
        of_step(error, Some(launch("c7i.large", market))).hints.remove(0)
    };
    let on_demand = quota(Market::OnDemand);
    assert!(on_demand.contains("`Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (vCPUs)`"), "{on_demand}");
    assert!(quota(Market::Spot).contains("Spot Instance Requests"), "{}", quota(Market::Spot));
    let full = StepError::Call(call_error("RunInstances", "InsufficientInstanceCapacity", Class::Capacity));
    let hint = of_step(full, Some(launch("c7i.large", Market::Spot))).hints.remove(0);
    assert!(hint.contains("no room for 4 × c7i.large, spot, in us-east-1a now"), "{hint}");
}

#[test]
fn an_instance_that_dies_while_pending_is_a_refusal_when_its_state_reason_is_one() {
    for (code, exit, words) in [
        ("Server.InsufficientInstanceCapacity", 4, "no room"),
        ("Client.VolumeLimitExceeded", 4, "Storage for General Purpose SSD"),
        ("Client.InternalError", 4, "kms:CreateGrant"),
        ("Client.UserInitiatedShutdown", 1, "outside ewulf"),
        ("Server.InternalError", 1, "repeat the command"),
    ] {
        let ended = StepError::Ended {
            object: "node/master i-0123456789abcdef0".to_owned(),
            code: Some(code.to_owned()),
            reason: code.to_owned(),
        };
        let failure = of_step(ended, None);
        assert_eq!(failure.kind.code(), exit, "{code}");
        assert!(failure.hints[0].contains(words), "{code}: {:?}", failure.hints);
    }
}

#[test]
fn findings_stand_below_the_first_error_and_the_folder_is_told() {
    let after = Aftermath {
        facts: vec!["its boot stands at stage mount".to_owned()],
        folder: Some("results/failures/x".into()),
        terminated: vec!["i-0123456789abcdef0".to_owned()],
        ..Aftermath::default()
    };
    let source = StepError::Boot { node: "node/master i-0123456789abcdef0".to_owned(), cause: "no volume".to_owned() };
    let address = ewulf_core::address::Address::Mesh;
    let failure = Failure::from(ApplyError::Step { address, done: 1, all: 2, source, after: Box::new(after) });
    let text = failure.render(Style::new(false));
    let order = ["error: mesh", "did not boot: no volume", "stage mount", "results/failures/x", "--on-error keep"];
    let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn causes_are_told_once_each_below_the_message() {
    let io = std::io::Error::other("disk is full");
    let error = OutputError::Write(io);
    let failure = Failure::from(error).hint("make room");
    assert_eq!(
        failure.render(Style::new(false)),
        "error: standard output: cannot be written\n  caused by: disk is full\nhint: make room\n"
    );
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let error = OutputError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert_eq!(Failure::from(error).kind.code(), 0);
}
