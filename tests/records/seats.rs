//! The master's address, which EC2 may give to a worker that is launched beside it.

use std::process::Stdio;
use std::time::Duration;

use aws_sdk_ec2::types as sdk;

use super::{Account, told};

/// The last address that EC2 gives in the spec's network.
const SEAT: &str = "10.42.0.254";

/// Instances of the account in this state, with their addresses and tags.
async fn instances(account: &Account, state: &str) -> Vec<sdk::Instance> {
    let is_in = sdk::Filter::builder().name("instance-state-name").values(state).build();
    let answer = account.cloud.ec2.describe_instances().filters(is_in).send().await.expect("instances are listed");
    answer.reservations.unwrap_or_default().into_iter().flat_map(|one| one.instances.unwrap_or_default()).collect()
}

/// Launches one more of a worker's kind at an address, as EC2 would have launched the worker itself; answers its id.
async fn launch_like(account: &Account, worker: &sdk::Instance, address: &str) -> String {
    let groups = worker.security_groups().iter().filter_map(|group| group.group_id.clone()).collect();
    let interface = sdk::InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .set_subnet_id(worker.subnet_id.clone())
        .set_groups(Some(groups))
        .private_ip_address(address)
        .build();
    let is_given = |tag: &&sdk::Tag| !tag.key().is_some_and(|key| key.starts_with("aws:"));
    let tags = worker.tags().iter().filter(is_given).cloned().collect();
    let tags = sdk::TagSpecification::builder().resource_type(sdk::ResourceType::Instance).set_tags(Some(tags)).build();
    let request = account.cloud.ec2.run_instances().min_count(1).max_count(1).set_instance_type(worker.instance_type.clone());
    let request = request.set_image_id(worker.image_id.clone()).network_interfaces(interface).tag_specifications(tags);
    let answer = request.send().await.expect("it is launched");
    answer.instances().first().and_then(|instance| instance.instance_id.clone()).expect("it has an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_given_the_masters_address_makes_way_within_the_same_apply() {
    let account = Account::open().await;
    let spec = account.spec("seat", "{cidr: 10.42.0.0/24}", "ready: running").display().to_string();
    let late = ["local", "faults", "add", "delay: {seconds: 12}", "--action", "RunInstances", "--resource", "ewulf-seat-master*"];
    account.succeed(&late);
    let mut apply = account.command(&["apply", &spec, "--yes"]);
    let mut apply = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // The workers are there, and the master's launch is on its way.
    let worker = loop {
        if let Some(worker) = instances(&account, "running").await.into_iter().next() {
            break worker;
        }
        if apply.try_wait().expect("it can be waited for").is_some() {
            panic!("it ended without workers: {:?}", apply.wait_with_output());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_ne!(worker.private_ip_address(), Some(SEAT), "the master is launched last here");
    let intruder = launch_like(&account, &worker, SEAT).await;

    let (code, out, err) = told(tokio::task::block_in_place(|| apply.wait_with_output()).expect("it ends"));
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains(&format!("{intruder} has that address; that node makes way")), "{err}");
    let running = instances(&account, "running").await;
    assert_eq!(running.len(), 3, "{running:#?}");
    let holders: Vec<&sdk::Instance> = running.iter().filter(|one| one.private_ip_address() == Some(SEAT)).collect();
    let is_master = |tag: &sdk::Tag| tag.value().is_some_and(|value| value.contains("node/master"));
    assert!(holders.len() == 1 && holders[0].tags().iter().any(is_master), "{holders:#?}");
    assert!(running.iter().any(|one| one.instance_id == worker.instance_id), "the others stay");
    let (code, out, err) = account.ewulf(&["plan", &spec, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{out}{err}");
}
