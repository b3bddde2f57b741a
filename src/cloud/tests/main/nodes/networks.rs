//! Firewalls, subnets, and VPCs beside each other.

use std::net::Ipv4Addr;

use ewulf_cloud::node::{Driver, FlowRule, NodeBoot, NodeFirewall, Peer};

use super::ground::{Ground, anything, network, node, open, vpc, wanted};

const TCP: u8 = 6;

fn tcp(port: i32, peer: Peer) -> FlowRule {
    FlowRule { protocol: Some(TCP), ports: Some((port, port)), peer }
}

async fn reaches(ground: &Ground, from: &NodeBoot, to: Ipv4Addr, port: u16) -> bool {
    ground.succeeds(from, &format!("timeout 1 bash -c '< /dev/tcp/{to}/{port}'")).await
}

async fn pings(ground: &Ground, from: &NodeBoot, to: Ipv4Addr) -> bool {
    ground.succeeds(from, &format!("ping -c 1 -W 1 {to}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_firewall_filters_between_neighbours_and_between_subnets() {
    if !wanted("the firewall") {
        return;
    }
    let ground = Ground::new().await;
    let mut vpc = vpc("fire", "10.4.0.0/16", &["10.4.0.0/24", "10.4.1.0/24"]);
    let [near, far] = [node("near", &vpc, 0, [10, 4, 0, 5]), node("far", &vpc, 1, [10, 4, 1, 5])];
    let server = node("server", &vpc, 0, [10, 4, 0, 4]);
    let all = [server.address, near.address, far.address];
    ground.open_network(&vpc, &all).await;
    tokio::join!(ground.boot(&server), ground.boot(&near), ground.boot(&far));
    for node in [&server, &near, &far] {
        ground.wait_up(node).await;
        assert!(pings(&ground, node, server.address).await && pings(&ground, node, far.address).await);
    }
    ground.wait_shell(&server, "systemctl is-active ssh && systemd-run --quiet python3 -m http.server 8080 || true; timeout 1 bash -c '< /dev/tcp/127.0.0.1/8080'").await;
    for from in [&near, &far] {
        assert!(reaches(&ground, from, server.address, 8080).await && reaches(&ground, from, server.address, 22).await);
    }
    // Ports by network: the neighbour is in it, the other subnet is not.
    let rules = |server_rules: Vec<FlowRule>| {
        vec![
            NodeFirewall { address: server.address, ingress: server_rules, egress: vec![anything()] },
            open(near.address),
            open(far.address),
        ]
    };
    let only = rules(vec![tcp(8080, Peer::Cidr(network("10.4.0.0/24")))]);
    ground.driver.set_firewall(&vpc.vpc_id, &only).await.unwrap();
    assert!(reaches(&ground, &near, server.address, 8080).await);
    assert!(!reaches(&ground, &near, server.address, 22).await && !pings(&ground, &near, server.address).await);
    assert!(!reaches(&ground, &far, server.address, 8080).await);
    assert!(reaches(&ground, &server, near.address, 22).await, "answers to what the server began come back");
    // By group members.
    let members = rules(vec![tcp(22, Peer::Addresses(vec![far.address]))]);
    ground.driver.set_firewall(&vpc.vpc_id, &members).await.unwrap();
    assert!(reaches(&ground, &far, server.address, 22).await && !reaches(&ground, &near, server.address, 22).await);
    // What may leave.
    let mut closed = rules(vec![anything()]);
    closed[1].egress = vec![tcp(22, Peer::Cidr(network("0.0.0.0/0")))];
    ground.driver.set_firewall(&vpc.vpc_id, &closed).await.unwrap();
    assert!(reaches(&ground, &near, server.address, 22).await && !reaches(&ground, &near, server.address, 8080).await);
    // A node that is not named; metadata is reached all the same.
    ground.driver.set_firewall(&vpc.vpc_id, &[open(near.address), open(far.address)]).await.unwrap();
    assert!(!pings(&ground, &near, server.address).await && !pings(&ground, &server, near.address).await);
    assert!(reaches(&ground, &server, Ipv4Addr::new(169, 254, 169, 254), 80).await);
    // The world, with a gateway and without.
    ground.driver.set_firewall(&vpc.vpc_id, &all.map(open)).await.unwrap();
    let resolves = "getent ahostsv4 $(sed -n 's,.*//\\([^/ ]*\\)/.*,\\1,p' /etc/apt/sources.list | head -1)";
    assert!(ground.succeeds(&near, resolves).await);
    vpc.internet = false;
    ground.driver.set_network(&vpc).await.unwrap();
    assert!(!ground.succeeds(&near, resolves).await);
    assert!(pings(&ground, &near, far.address).await && reaches(&ground, &near, Ipv4Addr::new(169, 254, 169, 254), 80).await);
    vpc.internet = true;
    ground.driver.set_network(&vpc).await.unwrap();
    assert!(ground.succeeds(&near, resolves).await);
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_of_the_same_addresses_and_other_clouds_do_not_meet() {
    if !wanted("two clouds") {
        return;
    }
    let (one, other) = (Ground::new().await, Ground::new().await);
    let (first, second) = (vpc("one", "10.5.0.0/24", &["10.5.0.0/24"]), vpc("two", "10.5.0.0/24", &["10.5.0.0/24"]));
    let [listener, asker] = [node("listener", &first, 0, [10, 5, 0, 4]), node("asker", &second, 0, [10, 5, 0, 5])];
    one.open_network(&first, &[listener.address, asker.address]).await;
    one.open_network(&second, &[listener.address, asker.address]).await;
    other.open_network(&first, &[listener.address]).await;
    tokio::join!(one.boot(&listener), one.boot(&asker), other.boot(&listener));
    one.wait_up(&listener).await;
    one.wait_up(&asker).await;
    assert!(!pings(&one, &asker, listener.address).await, "two VPCs have one network address but no way to each other");
    other.wait_up(&listener).await;
    // The end of one cloud leaves the other connected.
    one.finish().await;
    assert!(
        other
            .succeeds(&listener, "getent ahostsv4 $(sed -n 's,.*//\\([^/ ]*\\)/.*,\\1,p' /etc/apt/sources.list | head -1)")
            .await
    );
    other.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_change_in_place_and_go_without_a_trace() {
    if !wanted("networks") {
        return;
    }
    let ground = Ground::new().await;
    let mut vpc = vpc("change", "10.6.0.0/16", &["10.6.0.0/24"]);
    let started = std::time::Instant::now();
    ground.driver.set_network(&vpc).await.unwrap();
    eprintln!("first network in {:?}", started.elapsed());
    let started = std::time::Instant::now();
    for _ in 0..100 {
        ground.driver.set_network(&vpc).await.unwrap();
    }
    eprintln!("unchanged network in {:?}", started.elapsed() / 100);
    let second = super::ground::vpc("change", "10.6.0.0/16", &["10.6.0.0/24", "10.6.9.0/24"]);
    ground.driver.set_network(&second).await.unwrap();
    let addresses = |name: String| {
        let shown = std::process::Command::new("ip").args(["-n", &name, "-br", "-4", "addr"]).output().unwrap();
        String::from_utf8(shown.stdout).unwrap()
    };
    let namespace = format!("ewulf-{}.vpc-change", ground.name);
    let shown = addresses(namespace.clone());
    for address in ["10.6.0.1/24", "10.6.9.1/24", "169.254.169.254/32"] {
        assert!(shown.contains(address), "{address}: {shown}");
    }
    // A link that someone removed is made again.
    let cloud = format!("ewulf-{}", ground.name);
    let removed = std::process::Command::new("ip").args(["-n", &namespace, "link", "del", "wan"]).status().unwrap();
    assert!(removed.success() && !addresses(cloud.clone()).contains("v-"));
    ground.driver.set_network(&second).await.unwrap();
    assert!(addresses(cloud).contains("v-vpcchange"));
    vpc.subnets = second.subnets[1..].to_vec();
    ground.driver.set_network(&vpc).await.unwrap();
    let shown = addresses(namespace.clone());
    assert!(shown.contains("10.6.9.1/24") && !shown.contains("10.6.0.1/24"), "{shown}");
    ground.driver.remove_network("vpc-change").await.unwrap();
    ground.driver.remove_network("vpc-change").await.unwrap();
    assert!(!std::path::Path::new("/run/netns").join(namespace).exists());
    ground.finish().await;
}
