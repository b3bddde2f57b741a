use crate::node::{FlowRule, Peer};

use super::bench::{Bench, texts};

#[tokio::test]
async fn a_group_lets_everything_out_and_nothing_in_until_told() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let answer = bench.ok("DescribeSecurityGroups", &format!("GroupId.1={group}")).await;
    assert_eq!(texts(&answer, "ipPermissions"), [""]);
    assert_eq!(texts(&answer, "cidrIp"), ["0.0.0.0/0"]);
    assert_eq!(texts(&answer, "ipProtocol"), ["-1"]);
}

#[tokio::test]
async fn group_names_are_unique_in_a_vpc_and_not_like_ids() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let form = |name: &str| format!("GroupName={name}&GroupDescription=d&VpcId={vpc}");
    bench.ok("CreateSecurityGroup", &form("g")).await;
    assert_eq!(bench.code("CreateSecurityGroup", &form("g")).await, "InvalidGroup.Duplicate");
    assert_eq!(bench.code("CreateSecurityGroup", &form("sg-1")).await, "InvalidParameterValue");
    assert_eq!(bench.code("CreateSecurityGroup", &form("default")).await, "InvalidParameterValue");
}

#[tokio::test]
async fn cidr_blocks_of_rules_are_canonical_and_doubles_are_refused() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let rule = |cidr: &str| {
        format!(
            "GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22&IpPermissions.1.IpRanges.1.CidrIp={cidr}"
        )
    };
    let made = bench.first("AuthorizeSecurityGroupIngress", &rule("10.1.2.3/24"), "cidrIpv4").await;
    assert_eq!(made, "10.1.2.0/24");
    assert_eq!(bench.code("AuthorizeSecurityGroupIngress", &rule("10.1.2.0/24")).await, "InvalidPermission.Duplicate");
    assert_eq!(bench.code("RevokeSecurityGroupIngress", &rule("10.9.9.0/24")).await, "InvalidPermission.NotFound");
    bench.ok("RevokeSecurityGroupIngress", &rule("10.1.2.9/24")).await;
    let left =
        bench.all("DescribeSecurityGroupRules", &format!("Filter.1.Name=group-id&Filter.1.Value.1={group}"), "isEgress").await;
    assert_eq!(left, ["true"]);
}

#[tokio::test]
async fn rules_are_revoked_by_id() {
    let bench = Bench::new();
    let (vpc, _) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let filter = format!("Filter.1.Name=group-id&Filter.1.Value.1={group}");
    let rule = bench.first("DescribeSecurityGroupRules", &filter, "securityGroupRuleId").await;
    bench.ok("RevokeSecurityGroupEgress", &format!("GroupId={group}&SecurityGroupRuleId.1={rule}")).await;
    assert!(bench.all("DescribeSecurityGroupRules", &filter, "securityGroupRuleId").await.is_empty());
}

#[tokio::test]
async fn rules_reach_the_nodes_and_groups_stand_for_their_members() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let group = bench.first("CreateSecurityGroup", &format!("GroupName=g&GroupDescription=d&VpcId={vpc}"), "groupId").await;
    let launch = format!("SubnetId={subnet}&SecurityGroupId.1={group}");
    let first = bench.launch(1, &launch).await.remove(0);
    assert!(bench.firewall(&first).ingress.is_empty());
    bench
        .ok(
            "AuthorizeSecurityGroupIngress",
            &format!("GroupId={group}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId={group}"),
        )
        .await;
    let second = bench.launch(1, &launch).await.remove(0);
    let addresses: Vec<_> = {
        let state = bench.cloud.state();
        state.ec2.living().map(|instance| instance.private_address).collect()
    };
    let expected = FlowRule { protocol: None, ports: None, peer: Peer::Addresses(addresses) };
    let expected = [expected];
    assert_eq!(bench.firewall(&first).ingress, expected);
    assert_eq!(bench.firewall(&second).ingress, expected);
    // One leaves: the other no longer admits it.
    bench.ok("TerminateInstances", &format!("InstanceId.1={second}")).await;
    bench.until_state(&second, "terminated").await;
    let alone = bench.cloud.state().ec2.instance(&first).unwrap().private_address;
    bench.until(|bench| bench.firewall(&first).ingress.iter().all(|rule| rule.peer == Peer::Addresses(vec![alone]))).await;
}

#[tokio::test]
async fn groups_in_use_or_referenced_stay() {
    let bench = Bench::new();
    let (vpc, subnet) = bench.network().await;
    let group = |name: &str| format!("GroupName={name}&GroupDescription=d&VpcId={vpc}");
    let one = bench.first("CreateSecurityGroup", &group("one"), "groupId").await;
    let other = bench.first("CreateSecurityGroup", &group("other"), "groupId").await;
    let rule = format!("GroupId={one}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupId={other}");
    bench.ok("AuthorizeSecurityGroupIngress", &rule).await;
    assert_eq!(bench.code("DeleteSecurityGroup", &format!("GroupId={other}")).await, "DependencyViolation");
    let id = bench.launch(1, &format!("SubnetId={subnet}&SecurityGroupId.1={one}")).await.remove(0);
    bench.ok("RevokeSecurityGroupIngress", &rule).await;
    bench.ok("DeleteSecurityGroup", &format!("GroupId={other}")).await;
    assert_eq!(bench.code("DeleteSecurityGroup", &format!("GroupId={one}")).await, "DependencyViolation");
    bench.ok("TerminateInstances", &format!("InstanceId.1={id}")).await;
    bench.until_state(&id, "terminated").await;
    bench.ok("DeleteSecurityGroup", &format!("GroupId={one}")).await;
}

#[tokio::test]
async fn what_is_not_built_is_refused_by_name() {
    let bench = Bench::new();
    let group = bench.first("DescribeSecurityGroups", "", "groupId").await;
    let form = format!("GroupId={group}&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Ipv6Ranges.1.CidrIpv6=::/0");
    assert_eq!(bench.code("AuthorizeSecurityGroupIngress", &form).await, "UnsupportedOperation");
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/16&Nonsense=1").await, "UnknownParameter");
    assert_eq!(bench.code("CreateNatGateway", "").await, "InvalidAction");
}
