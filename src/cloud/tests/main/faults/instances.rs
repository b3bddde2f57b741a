//! What becomes of instances.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{eventually, ids};
use crate::client::Bench;

impl Bench {
    async fn status_of(&self, id: &str) -> String {
        self.ec2(&format!("Action=DescribeInstanceStatus&Version=2016-11-15&InstanceId.1={id}")).await.body
    }

    async fn registered(&self, id: &str) -> bool {
        let known =
            self.ssm("DescribeInstanceInformation", json!({ "Filters": [{ "Key": "InstanceIds", "Values": [id] }] })).await;
        known.json()["InstanceInformationList"].as_array().is_some_and(|list| !list.is_empty())
    }

    async fn launch_one(&self, parameters: &str) -> String {
        let answer = self.run_instances(1, 1, parameters).await;
        ids(&answer).pop().unwrap_or_else(|| panic!("{answer:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_launch_may_end_in_terminated_with_its_reason() {
    let bench = Bench::start().await;
    let reason = json!({ "code": "Client.VolumeLimitExceeded", "message": "Volume limit exceeded" });
    bench.rules(json!([{ "count": 1, "fault": { "launch-failure": reason } }])).await;
    let answer = bench.run_instances(2, 2, "").await;
    let ids = ids(&answer);
    assert_eq!(answer.body.matches("<name>pending</name>").count(), 2, "the answer does not know");
    let failed = bench.wait_state(&ids[0], "terminated").await;
    assert!(failed.contains("<code>Client.VolumeLimitExceeded</code>"), "{failed}");
    bench.wait_state(&ids[1], "running").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_may_be_slow() {
    let bench = Bench::start().await;
    bench.rules(json!([{ "fault": { "slow-launch": { "seconds": 1 } } }])).await;
    let (slow, doomed) = (bench.launch_one("").await, bench.launch_one("").await);
    let started = Instant::now();
    assert!(bench.describe(&slow).await.contains("<name>pending</name>"));
    bench.made(&format!("Action=TerminateInstances&InstanceId.1={doomed}"), "name").await;
    bench.wait_state(&doomed, "terminated").await;
    assert!(started.elapsed() < Duration::from_secs(1), "a launch that is called off does not take its time");
    bench.wait_state(&slow, "running").await;
    assert!(started.elapsed() > Duration::from_millis(800));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_may_be_slow_or_fail_and_a_registration_may_be_late() {
    let bench = Bench::start().await;
    bench
        .rules(json!([
            { "when": { "resource": "failed" }, "fault": "failed-boot" },
            { "when": { "resource": "slow" }, "fault": { "slow-boot": { "seconds": 1 } } },
            { "when": { "resource": "late" }, "fault": { "late-registration": { "seconds": 1 } } },
            { "when": { "resource": "impaired" }, "fault": "impaired" },
        ]))
        .await;
    let named = |name: &str| {
        format!(
            "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value={name}"
        )
    };
    let mut launched = Vec::new();
    for name in ["failed", "slow", "late", "impaired", "fine"] {
        launched.push(bench.launch_one(&named(name)).await);
    }
    for id in &launched {
        bench.wait_state(id, "running").await;
    }
    let [failed, slow, late, impaired, fine] = launched.as_slice() else { panic!() };
    eventually(async || bench.registered(fine).await.then_some(())).await;
    assert!(!bench.registered(failed).await && !bench.registered(slow).await && !bench.registered(late).await);
    eventually(async || bench.registered(impaired).await.then_some(())).await;
    assert!(bench.status_of(failed).await.contains("<status>impaired</status>"));
    assert!(bench.status_of(impaired).await.contains("<status>impaired</status>"));
    assert!(bench.status_of(slow).await.contains("<status>initializing</status>"));
    eventually(async || (bench.registered(slow).await && bench.registered(late).await).then_some(())).await;
    assert!(!bench.registered(failed).await, "it never comes");
    // A start draws anew: a rule that is gone means a boot like any other.
    bench.rules(json!([])).await;
    bench.made(&format!("Action=StopInstances&InstanceId.1={failed}"), "name").await;
    bench.wait_state(failed, "stopped").await;
    bench.made(&format!("Action=StartInstances&InstanceId.1={failed}"), "name").await;
    eventually(async || bench.registered(failed).await.then_some(())).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_instance_is_taken_back_after_its_notice() {
    let bench = Bench::start().await;
    let rule = json!({ "spot-interruption": { "seconds": 0.2, "notice": 0.3 } });
    bench.rules(json!([{ "fault": rule }])).await;
    let steady = bench.launch_one("").await;
    let spot = bench.launch_one("&InstanceMarketOptions.MarketType=spot").await;
    let gone = bench.wait_state(&spot, "terminated").await;
    assert!(gone.contains("<code>Server.SpotInstanceTermination</code>"), "{gone}");
    bench.wait_state(&steady, "running").await;
    bench.rules(json!([])).await;
    let other = bench.launch_one("&InstanceMarketOptions.MarketType=spot").await;
    bench.wait_state(&other, "running").await;
    let interrupt = |node: &str| json!({ "node": node, "trouble": { "interrupt": { "notice": 0.1 } } });
    assert_eq!(bench.local("DisturbNode", interrupt(&other)).await.status, 200);
    bench.wait_state(&other, "terminated").await;
    let refused = bench.local("DisturbNode", interrupt(&steady)).await;
    assert!(refused.status == 400 && refused.body.contains("no spot instance"), "{refused:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_can_end_and_nothing_else_can_be_done_to_it() {
    let bench = Bench::start().await;
    let name = "&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=one";
    let (killed, powered_off) = (bench.launch_one(name).await, bench.launch_one("").await);
    for id in [&killed, &powered_off] {
        bench.wait_state(id, "running").await;
    }
    let disturb =
        async |node: &str, trouble: Value| bench.local("DisturbNode", json!({ "node": node, "trouble": trouble })).await;
    for (trouble, word) in [
        (json!("freeze"), "cannot be frozen"),
        (json!("cut"), "cannot be cut off"),
        (json!({ "lossy": { "percent": 20 } }), "cannot be given a lossy network"),
        (json!({ "fill": { "path": "/shared", "leave_mib": 1 } }), "cannot be given a full disk"),
    ] {
        let refused = disturb("one", trouble).await;
        assert!(refused.status == 400 && refused.body.contains(&killed) && refused.body.contains(word), "{refused:?}");
    }
    assert_eq!(disturb("one", json!("kill")).await.status, 200);
    assert_eq!(disturb(&powered_off, json!("power-off")).await.status, 200);
    let killed = bench.wait_state(&killed, "stopped").await;
    assert!(killed.contains("<code>Server.InternalError</code>"), "{killed}");
    let off = bench.wait_state(&powered_off, "stopped").await;
    assert!(off.contains("<code>Client.InstanceInitiatedShutdown</code>"), "{off}");
    let gone = disturb("one", json!("kill")).await;
    assert!(gone.status == 400 && gone.body.contains("does not run"), "{gone:?}");
    bench.stop().await;
}
