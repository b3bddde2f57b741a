use super::bench::{BASE, Bench, texts};

const SPOT: &str = "InstanceMarketOptions.MarketType=spot";

#[tokio::test]
async fn a_spot_launch_makes_a_request_with_its_own_tags() {
    let bench = Bench::new();
    let tags =
        "TagSpecification.1.ResourceType=spot-instances-request&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=1";
    let ids = bench.launch(2, &format!("{SPOT}&{tags}&InstanceMarketOptions.SpotOptions.MaxPrice=1.5")).await;
    let answer = bench.ok("DescribeSpotInstanceRequests", "Filter.1.Name=tag:a&Filter.1.Value.1=1").await;
    let mut named = texts(&answer, "instanceId");
    named.sort();
    let mut expected = ids.clone();
    expected.sort();
    assert_eq!(named, expected);
    assert_eq!(texts(&answer, "spotPrice"), ["1.5", "1.5"]);
    assert_eq!(texts(&answer, "state"), ["active", "active"]);
    assert!(answer.contains("<code>fulfilled</code>"));
    assert_eq!(
        bench.all("DescribeTags", "Filter.1.Name=resource-type&Filter.1.Value.1=spot-instances-request", "key").await.len(),
        2
    );
    // An instance's own tags are not its request's.
    assert!(bench.all("DescribeInstances", "Filter.1.Name=tag:a&Filter.1.Value.1=1", "instanceId").await.is_empty());
    let unknown = "SpotInstanceRequestId.1=sir-01234567";
    assert_eq!(bench.code("DescribeSpotInstanceRequests", unknown).await, "InvalidSpotInstanceRequestID.NotFound");
}

#[tokio::test]
async fn cancelling_a_request_leaves_the_instance_and_terminating_it_closes_the_request() {
    let bench = Bench::new();
    let ids = bench.launch(2, SPOT).await;
    let request = |place: usize| {
        let state = bench.cloud.state();
        state.ec2.instance(&ids[place]).unwrap().spot_request_id.clone().unwrap()
    };
    let (one, other) = (request(0), request(1));
    let form = |id: &str| format!("SpotInstanceRequestId.1={id}");
    assert_eq!(bench.first("CancelSpotInstanceRequests", &form(&one), "state").await, "cancelled");
    let answer = bench.ok("DescribeSpotInstanceRequests", &form(&one)).await;
    assert_eq!(texts(&answer, "code"), ["request-canceled-and-instance-running"]);
    bench.until_state(&ids[0], "running").await;
    bench.ok("TerminateInstances", &format!("InstanceId.1={}&InstanceId.2={}", ids[0], ids[1])).await;
    let answer = bench.ok("DescribeSpotInstanceRequests", &form(&other)).await;
    assert_eq!(
        (texts(&answer, "state"), texts(&answer, "code")),
        (vec!["closed".to_owned()], vec!["instance-terminated-by-user".to_owned()])
    );
    assert_eq!(bench.first("CancelSpotInstanceRequests", &form(&other), "state").await, "closed");
    assert_eq!(bench.code("CancelSpotInstanceRequests", "").await, "MissingParameter");
}

#[tokio::test]
async fn a_price_below_the_market_and_what_spot_cannot_are_refused() {
    let bench = Bench::new();
    let form = |more: &str| format!("ImageId={BASE}&InstanceType=c7i.large&MinCount=1&MaxCount=1&{SPOT}&{more}");
    for (more, code) in [
        ("InstanceMarketOptions.SpotOptions.MaxPrice=0.001", "SpotMaxPriceTooLow"),
        ("InstanceMarketOptions.SpotOptions.MaxPrice=cheap", "InvalidParameterValue"),
        ("InstanceMarketOptions.SpotOptions.ValidUntil=2030-01-01T00:00:00Z", "UnsupportedOperation"),
        ("InstanceMarketOptions.SpotOptions.SpotInstanceType=persistent", "UnsupportedOperation"),
        ("DisableApiTermination=true", "UnsupportedOperation"),
    ] {
        assert_eq!(bench.code("RunInstances", &form(more)).await, code, "{more}");
    }
    assert!(bench.all("DescribeSpotInstanceRequests", "", "spotInstanceRequestId").await.is_empty());
}

#[tokio::test]
async fn requests_are_forgotten_with_their_instances() {
    let bench = Bench::new();
    let id = bench.launch(1, SPOT).await.remove(0);
    bench.cloud.state().ec2.instances.remove(&id);
    assert!(bench.all("DescribeSpotInstanceRequests", "", "spotInstanceRequestId").await.is_empty());
}
