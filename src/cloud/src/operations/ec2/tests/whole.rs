//! An action is done as a whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bench::Bench;
use crate::model::ec2::Ec2;
use crate::operations::ec2::on_copy;
use crate::wire::error::ApiError;

fn seeded() -> Ec2 {
    let mut ec2 = Ec2::default();
    ec2.seed("us-east-1", "000000000000");
    ec2
}

#[test]
fn what_fails_half_way_leaves_no_trace() {
    let mut ec2 = seeded();
    let before = serde_json::to_value(&ec2).unwrap();
    let refused: Result<(), ApiError> = on_copy(&mut ec2, false, |copy| {
        copy.vpcs.clear();
        Err(ApiError::invalid_value("half-way"))
    });
    assert!(refused.is_err());
    assert_eq!(serde_json::to_value(&ec2).unwrap(), before);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        on_copy(&mut ec2, false, |copy| -> Result<(), ApiError> {
            copy.vpcs.clear();
            panic!("half-way, on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(serde_json::to_value(&ec2).unwrap(), before);
    on_copy(&mut ec2, true, |copy| {
        copy.vpcs.clear();
        Ok(())
    })
    .unwrap();
    assert_eq!(serde_json::to_value(&ec2).unwrap(), before);
    on_copy(&mut ec2, false, |copy| {
        copy.vpcs.clear();
        Ok(())
    })
    .unwrap();
    assert!(ec2.vpcs.is_empty() && before["vpcs"] != serde_json::json!({}));
}

#[tokio::test]
async fn a_copy_of_a_thousand_instances_is_affordable() {
    let bench = Bench::new();
    let vpc = bench.first("CreateVpc", "CidrBlock=10.0.0.0/16", "vpcId").await;
    let form = format!("VpcId={vpc}&CidrBlock=10.0.0.0/20&AvailabilityZone=us-east-1a");
    let subnet = bench.first("CreateSubnet", &form, "subnetId").await;
    bench.launch(1000, &format!("SubnetId={subnet}")).await;
    let mut ec2 = bench.cloud.state().ec2.clone();
    let started = std::time::Instant::now();
    for _ in 0..10 {
        on_copy(&mut ec2, false, |_| Ok(())).unwrap();
    }
    let each = started.elapsed() / 10;
    eprintln!("a copy of 1,000 instances takes {each:?}");
    // A call takes 10 ms and more by itself; a machine that is busy with other tests may be ten times as slow.
    assert!(each < std::time::Duration::from_millis(200), "{each:?}");
}
