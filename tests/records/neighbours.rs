//! Clusters beside each other, and beside what is not ewulf's.

use std::io::{BufRead, Read};

use jiff::{Timestamp, ToSpan};

use super::{Account, tag_specification, told};

/// Nodes that only run, and a volume that goes with its cluster.
const PLAIN: &str = "shared: {path: /shared, volume: 8GiB, keep: false}\nready: running";

#[tokio::test(flavor = "multi_thread")]
async fn clusters_with_the_same_network_never_see_each_other() {
    let account = Account::open().await;
    let specs = ["one", "two"].map(|name| account.spec(name, "{cidr: 10.42.0.0/24}", PLAIN).display().to_string());
    // Both at once, so that their calls alternate.
    let applies = specs.each_ref().map(|spec| {
        let mut command = account.command(&["apply", spec, "--yes"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("the binary starts")
    });
    for apply in applies {
        let (code, out, err) = told(tokio::task::block_in_place(|| apply.wait_with_output()).expect("it ends"));
        assert_eq!(code, 0, "{out}{err}");
    }
    for spec in &specs {
        let (code, out, err) = account.ewulf(&["plan", spec, "--detailed-exitcode"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    let of = |parts: &[serde_json::Value], name: &str| parts.iter().filter(|part| part["cluster"] == name).count();
    let both = account.everything();
    assert!(of(&both, "one") > 10 && of(&both, "one") == of(&both, "two"), "{both:#?}");

    account.succeed(&["destroy", &specs[0], "--yes"]);
    let left = account.everything();
    assert_eq!((of(&left, "one"), of(&left, "two")), (0, of(&both, "two")), "{left:#?}");
    let (code, out, err) = account.ewulf(&["plan", &specs[1], "--detailed-exitcode"]);
    assert_eq!(code, 0, "{out}{err}");
    account.succeed(&["destroy", &specs[1], "--yes"]);
    assert_eq!(account.everything(), [] as [serde_json::Value; 0]);
}

/// The lock of somebody on another machine.
async fn hold(account: &Account, cluster: &str, until: Timestamp) {
    let holder = serde_json::json!({
        "who": "eve", "host": "elsewhere", "process": 7, "started": 1, "doing": "apply",
        "since": Timestamp::now() - 5.hours(), "until": until,
    });
    let request =
        account.cloud.ssm.put_parameter().name(format!("/ewulf/{cluster}/lock")).value(holder.to_string()).overwrite(true);
    request.r#type(aws_sdk_ssm::types::ParameterType::String).send().await.expect("the parameter is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_lock_is_respected_while_it_lasts_and_taken_over_when_it_expired() {
    let account = Account::open().await;
    let spec = account.spec("held", "{cidr: 10.42.0.0/24}", PLAIN).display().to_string();
    hold(&account, "held", Timestamp::now() + 3.minutes()).await;
    let (code, _, err) = account.ewulf(&["apply", &spec, "--yes"]);
    assert!(code == 1 && err.contains("is being changed by eve on elsewhere (process 7, apply)"), "{err}");
    assert!(err.contains("hint: wait for it"), "{err}");
    assert_eq!(account.vpcs().await, [] as [&str; 0], "nothing was made under another's lock");
    let (code, _, err) = account.ewulf(&["destroy", &spec, "--yes"]);
    assert!(code == 1 && err.contains("eve on elsewhere"), "{err}");

    hold(&account, "held", Timestamp::now() - 1.second()).await;
    account.succeed(&["apply", &spec, "--yes"]);
    let lock = account.cloud.ssm.get_parameter().name("/ewulf/held/lock").send().await;
    assert!(lock.is_err_and(|error| error.into_service_error().is_parameter_not_found()), "the lock was given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_has_the_cluster_once_it_is_free_and_is_refused_when_it_is_not() {
    let account = Account::open().await;
    let spec = account.spec("queue", "{cidr: 10.42.0.0/24}", PLAIN).display().to_string();
    hold(&account, "queue", Timestamp::now() + 3.minutes()).await;
    let (code, _, err) = account.ewulf(&["destroy", &spec, "--yes", "--wait", "3s"]);
    assert!(code == 1 && err.contains("eve on elsewhere"), "{err}");
    assert!(err.contains("waiting for up to"), "{err}");

    let mut waiting = account.command(&["apply", &spec, "--yes", "--wait", "2m"]);
    let waiting = waiting.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let mut waiting = waiting.spawn().expect("the binary starts");
    let mut said = std::io::BufReader::new(waiting.stderr.take().expect("it is piped"));
    let mut met = String::new();
    while !met.contains("waiting for up to") {
        let read = tokio::task::block_in_place(|| said.read_line(&mut met)).expect("it is text");
        assert!(read > 0, "it ended without waiting: {met}");
    }
    account.cloud.ssm.delete_parameter().name("/ewulf/queue/lock").send().await.expect("eve is done");
    let status = tokio::task::block_in_place(|| {
        said.read_to_string(&mut met).expect("it is text");
        waiting.wait().expect("it ends")
    });
    assert!(status.success() && met.contains("eve on elsewhere"), "{met}");
    account.succeed(&["destroy", &spec, "--yes"]);
}

/// What a plan for a cluster in this network warns of.
fn warnings(account: &Account, network: &str) -> String {
    let spec = account.spec("guest", network, "shared: {volume: 8GiB, keep: false}").display().to_string();
    let (code, out, err) = account.ewulf(&["plan", &spec]);
    assert_eq!(code, 0, "{out}{err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_in_which_nodes_could_not_be_reached_is_told_before_they_are_paid_for() {
    let account = Account::open().await;
    let ec2 = &account.cloud.ec2;
    let vpc = account.vpc("10.9.0.0/16", &[]).await;
    let subnet = ec2.create_subnet().vpc_id(&vpc).cidr_block("10.9.1.0/24").send().await.expect("a subnet is made");
    let subnet = subnet.subnet.and_then(|subnet| subnet.subnet_id).expect("it has an id");
    let network = format!("{{vpc: {vpc}, subnet: {subnet}}}");
    let told = warnings(&account, &network);
    assert!(told.contains(&format!("subnet {subnet}: its routes lead nowhere outside")), "{told}");

    let endpoint = async || {
        let request = ec2.create_vpc_endpoint().vpc_id(&vpc).service_name("com.amazonaws.us-east-1.ssm");
        let request = request.vpc_endpoint_type(aws_sdk_ec2::types::VpcEndpointType::Interface).subnet_ids(&subnet);
        let answer = request.send().await.expect("an endpoint is made");
        answer.vpc_endpoint.and_then(|endpoint| endpoint.vpc_endpoint_id).expect("it has an id")
    };
    let first = endpoint().await;
    let told = warnings(&account, &network);
    assert!(!told.contains("lead nowhere"), "{told}");
    ec2.delete_vpc_endpoints().vpc_endpoint_ids(&first).send().await.expect("the endpoint goes");
    let told = warnings(&account, &network);
    assert!(told.contains("lead nowhere"), "one that is deleted leads nowhere: {told}");

    let gateway = ec2.create_internet_gateway().send().await.expect("a gateway is made").internet_gateway;
    let gateway = gateway.and_then(|gateway| gateway.internet_gateway_id).expect("it has an id");
    ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(&vpc).send().await.expect("it is attached");
    let by_vpc = aws_sdk_ec2::types::Filter::builder().name("vpc-id").values(&vpc).build();
    let tables = ec2.describe_route_tables().filters(by_vpc).send().await.expect("tables are listed");
    let main = tables.route_tables().first().and_then(|table| table.route_table_id()).expect("there is the main one");
    let route = ec2.create_route().route_table_id(main).destination_cidr_block("0.0.0.0/0").gateway_id(&gateway);
    route.send().await.expect("a route is made");
    let told = warnings(&account, &network);
    assert!(told.contains("it gives nodes no public address") && told.contains("NAT gateway"), "{told}");
    let second = endpoint().await;
    let told = warnings(&account, &network);
    assert!(!told.contains("public address"), "endpoints need none: {told}");

    ec2.delete_vpc_endpoints().vpc_endpoint_ids(&second).send().await.expect("the endpoint goes");
    let yes = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
    let request = ec2.modify_subnet_attribute().subnet_id(&subnet).map_public_ip_on_launch(yes);
    request.send().await.expect("the subnet is changed");
    let told = warnings(&account, &network);
    assert!(!told.contains("public address") && !told.contains("lead nowhere"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_exists_is_as_before_when_its_cluster_is_destroyed() {
    let account = Account::open().await;
    let ec2 = &account.cloud.ec2;
    let vpc = account.vpc("10.9.0.0/16", &[("owner", "netops")]).await;
    let tags = tag_specification(aws_sdk_ec2::types::ResourceType::Subnet, &[("owner", "netops")]);
    let subnet = ec2.create_subnet().vpc_id(&vpc).cidr_block("10.9.1.0/24").tag_specifications(tags).send().await;
    let subnet = subnet.expect("a subnet is made").subnet.and_then(|subnet| subnet.subnet_id).expect("it has an id");
    let state = async || {
        let vpcs = ec2.describe_vpcs().vpc_ids(&vpc).send().await.expect("the VPC is there").vpcs;
        let subnets = ec2.describe_subnets().subnet_ids(&subnet).send().await.expect("the subnet is there").subnets;
        let by_vpc = aws_sdk_ec2::types::Filter::builder().name("vpc-id").values(&vpc).build();
        let tables = ec2.describe_route_tables().filters(by_vpc.clone()).send().await.expect("tables are listed").route_tables;
        let groups = ec2.describe_security_groups().filters(by_vpc).send().await.expect("groups are listed").security_groups;
        format!("{vpcs:?} {subnets:?} {tables:?} {groups:?}")
    };
    let before = state().await;
    let network = format!("{{vpc: {vpc}, subnet: {subnet}}}");
    let spec = account.spec("guest", &network, PLAIN).display().to_string();
    account.succeed(&["apply", &spec, "--yes"]);
    assert_ne!(state().await, before, "the cluster's own group is in it");
    let (code, out, err) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{out}{err}");
    account.succeed(&["destroy", &spec, "--yes"]);
    assert_eq!(state().await, before);
}
