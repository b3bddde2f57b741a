//! What befalls a call, whatever it asks for.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Bench;

const MAKE: &str = "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.9.0.0/16";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_refused_changes_nothing() {
    let bench = Bench::start().await;
    for (fault, status, code) in [
        (json!("internal-error"), 500, "InternalError"),
        (json!("unavailable"), 503, "Unavailable"),
        (json!("throttled"), 503, "RequestLimitExceeded"),
        (json!("deny"), 403, "UnauthorizedOperation"),
        (json!({ "error": { "code": "PendingVerification" } }), 400, "PendingVerification"),
        (json!({ "error": { "code": "ServerInternal", "status": 500 } }), 500, "ServerInternal"),
    ] {
        bench.rules(json!([{ "service": "ec2", "action": "CreateVpc", "fault": fault }])).await;
        let answer = bench.ec2(MAKE).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{fault}");
        assert_eq!(bench.count("DescribeVpcs", "vpcId").await, 1, "{fault}: only the default VPC is there");
    }
    for (fault, status, code) in [
        (json!("throttled"), 400, "ThrottlingException"),
        (json!("deny"), 400, "AccessDeniedException"),
        (json!("internal-error"), 500, "InternalServerError"),
        (json!("unavailable"), 503, "ServiceUnavailable"),
    ] {
        bench.rules(json!([{ "service": "ssm", "fault": fault }])).await;
        let answer = bench.ssm("PutParameter", json!({ "Name": "/a", "Value": "b", "Type": "String" })).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{fault}");
        assert_eq!(bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await.status, 200, "the rule is about SSM");
    }
    bench.rules(json!([])).await;
    assert_eq!(bench.ssm("GetParameter", json!({ "Name": "/a" })).await.code(), "ParameterNotFound");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_or_lies_comes_after_the_effect_and_a_reset_before_it() {
    let bench = Bench::start().await;
    for (fault, status, vpcs) in [("reset", 0, 1), ("lost", 0, 2), ("error-after", 500, 3)] {
        bench.rules(json!([{ "action": "CreateVpc", "count": 1, "fault": fault }])).await;
        let answer = bench.ec2(MAKE).await;
        assert_eq!(answer.status, status, "{fault}: {answer:?}");
        assert_eq!(bench.count("DescribeVpcs", "vpcId").await, vpcs, "{fault}");
        assert_eq!(bench.local("ListFaults", json!({})).await.json()["rules"][0]["struck"], 1, "{fault}");
    }
    // A call that failed by itself has no effect to lie about.
    bench.rules(json!([{ "action": "CreateVpc", "fault": "lost" }])).await;
    assert_eq!(bench.ec2("Action=CreateVpc&Version=2016-11-15&CidrBlock=nonsense").await.status, 400);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_of_a_number_is_struck_and_the_journal_tells_which_it_was() {
    let bench = Bench::start().await;
    let script = [MAKE, "Action=DescribeVpcs&Version=2016-11-15", MAKE, MAKE];
    bench.rules(json!([{ "id": "third", "when": { "nth_mutating": 3 }, "fault": "unavailable" }])).await;
    let dry = bench.ec2(&format!("{MAKE}&DryRun=true")).await;
    assert_eq!(dry.code(), "DryRunOperation");
    let mut statuses = Vec::new();
    for form in script {
        statuses.push(bench.ec2(form).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 503], "a dry run and a listing do not count");
    let journal = bench.local("GetJournal", json!({})).await.json();
    let calls: Vec<_> = journal["calls"].as_array().unwrap().iter().collect();
    assert_eq!((calls.len(), journal["changing_calls"].as_u64()), (3, Some(3)), "{journal}");
    assert_eq!((&calls[1]["ordinal"], &calls[1]["code"], &calls[1]["rules"]), (&json!(2), &json!("OK"), &json!([])));
    assert_eq!((&calls[2]["ordinal"], &calls[2]["code"]), (&json!(3), &json!(null)), "it never began");
    assert_eq!((&calls[2]["rules"], &calls[2]["faults"]), (&json!(["third"]), &json!(["unavailable"])));
    let cleared = bench.local("ClearFaults", json!({})).await.json();
    assert_eq!(cleared["rules"], json!([]));
    assert_eq!(bench.local("GetJournal", json!({})).await.json()["changing_calls"], 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_ends_with_the_server() {
    for (fault, vpcs) in [("hang", 1), ("hang-after", 2)] {
        let bench = Bench::start().await;
        bench.rules(json!([{ "action": "CreateVpc", "fault": fault }])).await;
        let api = (*bench).clone();
        let hung = tokio::spawn(async move { api.ec2(MAKE).await });
        let started = Instant::now();
        while bench.local("ListFaults", json!({})).await.json()["rules"][0]["struck"] != 1 {
            assert!(started.elapsed() < crate::client::PATIENCE);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!hung.is_finished(), "{fault}");
        assert_eq!(bench.count("DescribeVpcs", "vpcId").await, vpcs, "{fault}: others are served meanwhile");
        let stopping = Instant::now();
        bench.stop().await;
        assert_eq!(hung.await.unwrap().status, 0, "{fault}");
        assert!(stopping.elapsed() < Duration::from_secs(20), "{fault}: the server does not wait for it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_can_be_slow() {
    let bench = Bench::start().await;
    bench.rules(json!([{ "action": "Describe*", "fault": { "delay": { "seconds": 0.3 } } }])).await;
    let started = Instant::now();
    assert_eq!(bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(300));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_limits_are_ec2s_own() {
    let bench = Bench::start().await;
    bench.rules(json!([{ "fault": "throttle" }])).await;
    let mut launches = Vec::new();
    for _ in 0..12 {
        launches.push(bench.run_instances(1, 1, "").await.code_or_ok());
    }
    // Five at once, and two a second after that.
    assert!(launches[..5].iter().all(|code| code == "OK"), "{launches:?}");
    assert!(launches[5..].iter().any(|code| code == "RequestLimitExceeded"), "{launches:?}");
    assert_eq!(bench.run_instances(1, 1, "&DryRun=true").await.code_or_ok(), "RequestLimitExceeded", "a dry run is a request");
    let mut listings = Vec::new();
    for _ in 0..40 {
        listings.push(bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await.status);
    }
    assert!(listings.iter().all(|status| *status == 200), "another action has another bucket");
    let mut puts = Vec::new();
    for _ in 0..8 {
        let call = json!({ "Name": "/p", "Value": "v", "Type": "String", "Overwrite": true });
        puts.push(bench.ssm("PutParameter", call).await.status);
    }
    assert!(puts[..3].iter().all(|status| *status == 200) && puts.contains(&400), "{puts:?}");
    bench.stop().await;
}
