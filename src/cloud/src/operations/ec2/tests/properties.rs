//! Whatever is asked, the answer is one of EC2's: no call ends the server or is the server's fault.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::bench::{BASE, Bench};
use crate::operations::ec2::{self, OPERATIONS};
use crate::wire::query::Query;

/// Members that structures of EC2's parameters have.
const MEMBERS: [&str; 22] = [
    "1",
    "2",
    "0",
    "-1",
    "18446744073709551616",
    "Name",
    "Value",
    "Values",
    "Key",
    "Ebs",
    "VolumeSize",
    "DeviceName",
    "SnapshotId",
    "ResourceType",
    "Tag",
    "IpProtocol",
    "FromPort",
    "IpRanges",
    "CidrIp",
    "Groups",
    "GroupId",
    "Primary",
];

/// One parameter: an accepted name, some way down its structure, with a value.
fn parameter(names: &'static [&'static str], values: Vec<String>) -> impl Strategy<Value = (String, String)> {
    let name = if names.is_empty() { Just("Action").boxed() } else { select(names).boxed() };
    // Names are whole; what goes on below them is refused, and rarely tried.
    let members = prop_oneof![5 => Just(Vec::new()), 1 => vec(select(&MEMBERS[..]), 1..4)];
    let value = prop_oneof![4 => select(values), 1 => any::<String>(), 1 => any::<i64>().prop_map(|number| number.to_string())];
    // After which parts of the name a list's number stands, as bits.
    let numbers = prop_oneof![Just(0), Just(1), Just(!0), any::<u8>()];
    (name, numbers, members, value).prop_map(|(name, numbers, members, value)| {
        let number = |place: usize| if place < 8 && numbers & (1 << place) != 0 { ".1" } else { "" };
        let parts: Vec<String> = name.split('.').enumerate().map(|(place, part)| format!("{part}{}", number(place))).collect();
        let name = parts.join(".");
        let path: Vec<&str> = std::iter::once(name.as_str()).chain(members).collect();
        (path.join("."), value)
    })
}

#[test]
fn no_call_panics_or_is_the_servers_fault() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::new();
    let mut values: Vec<String> = runtime.block_on(async {
        let (vpc, subnet) = bench.network().await;
        let instances = bench.launch(2, &format!("SubnetId={subnet}")).await;
        let volume = bench.first("CreateVolume", "AvailabilityZone=us-east-1a&Size=1", "volumeId").await;
        let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=g&VpcId={vpc}"), "groupId").await;
        let gateway = bench.first("CreateInternetGateway", "", "internetGatewayId").await;
        [vec![vpc, subnet, volume, group, gateway], instances].concat()
    });
    let words = [
        "",
        "-1",
        "0",
        "1",
        "2",
        "1001",
        "9223372036854775807",
        "99999999999999999999",
        "true",
        "false",
        "maybe",
        BASE,
        "t3.micro",
        "c7i.large",
        "us-east-1a",
        "10.0.0.0/16",
        "10.0.0.0/33",
        "0.0.0.0/0",
        "10.0.0.5",
        "::/0",
        "tag:Name",
        "tag:",
        "instance",
        "*",
        "\\",
        "??",
        "i-0",
        "i-0123456789abcdef0",
        "vol-\u{e9}",
        "gp3",
        "/dev/sdf",
        "tcp",
        "icmp",
        "65536",
        "running",
        "IyEvYmluL3No",
        "====",
        "instanceType",
        "stopped",
        "cluster",
        "spot",
        "$Latest",
        "1.5",
        " ",
        "\u{0}",
        "\u{fffe}",
    ];
    values.extend(words.map(str::to_owned));
    for operation in OPERATIONS.iter().copied().flatten() {
        let calls = vec(parameter(operation.parameters, values.clone()), 0..6);
        // Enough to meet every parameter of an action a few times; the whole takes some seconds.
        proptest!(ProptestConfig::with_cases(200), |(parameters in calls)| {
            let mut query = Query::default();
            for (path, value) in &parameters {
                let _ = query.set(path, value.clone());
            }
            let outcome = runtime.block_on(ec2::call(&bench.cloud, operation.name, &query));
            if let Err(error) = outcome {
                prop_assert!(error.status < 500, "{} {:?}: {}", operation.name, parameters, error);
            }
        });
    }
    // What is left can be written and read again.
    let saved = bench.saved();
    assert_eq!(saved.ec2.instances.len(), bench.cloud.state().ec2.instances.len());
}
