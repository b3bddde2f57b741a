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
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/16&InstanceTenancy=dedicated").await, "UnsupportedOperation");
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/16&Nonsense=1").await, "UnknownParameter");
    assert_eq!(bench.code("CreateVpc", "CidrBlock=10.0.0.0/16&Ipv6Pool=amazon").await, "UnsupportedOperation");
    // What asks for what happens anyway is no reason to refuse.
    bench.ok("CreateVpc", "CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=false&Ipv6Pool=").await;
    assert_eq!(bench.code("CreateTransitGateway", "").await, "InvalidAction");
    let form = format!("VpcId={}&EnableDnsSupport.Value=true&DryRun=true", bench.network().await.0);
    assert_eq!(bench.code("ModifyVpcAttribute", &form).await, "UnknownParameter");
}

#[tokio::test]
async fn an_instance_has_one_to_five_groups() {
    let bench = Bench::new();
    let id = bench.launch(1, "").await.remove(0);
    let mut form = format!("InstanceId={id}");
    for number in 1..=6 {
        let group = format!("GroupName=g{number}&GroupDescription=g");
        form.push_str(&format!("&GroupId.{number}={}", bench.first("CreateSecurityGroup", &group, "groupId").await));
        match number {
            6 => assert_eq!(bench.code("ModifyInstanceAttribute", &form).await, "SecurityGroupsPerInterfaceLimitExceeded"),
            _ => drop(bench.ok("ModifyInstanceAttribute", &form).await),
        }
    }
    let held = bench.cloud.state().ec2.instance(&id).unwrap().security_groups.len();
    assert_eq!(held, 5);
}

/// A group of the default VPC with TCP 22 open to one network, and that rule's id.
async fn one_rule(bench: &Bench) -> (String, String) {
    let group = bench.first("CreateSecurityGroup", "GroupName=one&GroupDescription=one", "groupId").await;
    let form = format!("GroupId={group}&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=10.1.2.3/8");
    let rule = bench.first("AuthorizeSecurityGroupIngress", &form, "securityGroupRuleId").await;
    (group, rule)
}

#[tokio::test]
async fn ipv6_and_prefix_lists_are_kept_as_they_are_said() {
    let bench = Bench::new();
    let (group, _) = one_rule(&bench).await;
    let form = format!(
        "GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=443&IpPermissions.1.ToPort=443\
         &IpPermissions.1.Ipv6Ranges.1.CidrIpv6=2001:db8::1/32&IpPermissions.1.PrefixListIds.1.PrefixListId=pl-63a5400a"
    );
    bench.ok("AuthorizeSecurityGroupIngress", &form).await;
    assert_eq!(bench.code("AuthorizeSecurityGroupIngress", &form).await, "InvalidPermission.Duplicate");
    let filter = format!("GroupId.1={group}");
    assert_eq!(bench.all("DescribeSecurityGroups", &filter, "cidrIpv6").await, ["2001:db8::/32"]);
    assert_eq!(bench.all("DescribeSecurityGroups", &filter, "prefixListId").await, ["pl-63a5400a"]);
    let unknown = form.replace("pl-63a5400a", "pl-0000000a");
    assert_eq!(bench.code("AuthorizeSecurityGroupIngress", &unknown).await, "InvalidPrefixListID.NotFound");
    bench.ok("RevokeSecurityGroupIngress", &form).await;
    assert!(bench.all("DescribeSecurityGroups", &filter, "cidrIpv6").await.is_empty());
}

#[tokio::test]
async fn a_rule_changes_in_its_place_and_keeps_its_kind_of_target() {
    let bench = Bench::new();
    let (group, rule) = one_rule(&bench).await;
    let form = |rest: &str| {
        format!(
            "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.IpProtocol=tcp\
             &SecurityGroupRule.1.SecurityGroupRule.FromPort=2222&SecurityGroupRule.1.SecurityGroupRule.ToPort=2222{rest}"
        )
    };
    let to = |member: &str| format!("&SecurityGroupRule.1.SecurityGroupRule.{member}");
    assert_eq!(bench.code("ModifySecurityGroupRules", &form("")).await, "MissingParameter");
    assert_eq!(bench.code("ModifySecurityGroupRules", &form(&to("CidrIpv6=::/0"))).await, "InvalidParameterValue");
    bench.ok("ModifySecurityGroupRules", &form(&to("CidrIpv4=10.2.0.0/16"))).await;
    let by_id = format!("SecurityGroupRuleId.1={rule}");
    assert_eq!(bench.first("DescribeSecurityGroupRules", &by_id, "cidrIpv4").await, "10.2.0.0/16");
    assert_eq!(bench.first("DescribeSecurityGroupRules", &by_id, "fromPort").await, "2222");
    let other = bench
        .first(
            "AuthorizeSecurityGroupIngress",
            &format!("GroupId={group}&IpProtocol=tcp&FromPort=22&ToPort=22&CidrIp=10.2.0.0/16"),
            "securityGroupRuleId",
        )
        .await;
    let same = form(&to("CidrIpv4=10.2.0.0/16")).replace(&rule, &other);
    assert_eq!(bench.code("ModifySecurityGroupRules", &same).await, "InvalidPermission.Duplicate");
}

#[tokio::test]
async fn descriptions_of_rules_change_by_id_or_by_flow() {
    let bench = Bench::new();
    let (group, rule) = one_rule(&bench).await;
    let by_id = format!("SecurityGroupRuleId.1={rule}");
    let update = "UpdateSecurityGroupRuleDescriptionsIngress";
    let form = |text: &str| {
        format!(
            "GroupId={group}&SecurityGroupRuleDescription.1.SecurityGroupRuleId={rule}\
             &SecurityGroupRuleDescription.1.Description={text}"
        )
    };
    bench.ok(update, &form("from+home")).await;
    assert_eq!(bench.all("DescribeSecurityGroupRules", &by_id, "description").await, ["from home"]);
    assert_eq!(bench.code(update, &form("%3Ctag%3E")).await, "InvalidParameterValue");
    let flow = |cidr: &str| {
        format!(
            "GroupId={group}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22\
             &IpPermissions.1.IpRanges.1.CidrIp={cidr}"
        )
    };
    assert_eq!(bench.code(update, &flow("10.9.0.0/16")).await, "InvalidPermission.NotFound");
    // A description that is left out is taken away.
    bench.ok(update, &flow("10.0.0.0/8")).await;
    assert!(bench.all("DescribeSecurityGroupRules", &by_id, "description").await.is_empty());
    let wrong_way = "UpdateSecurityGroupRuleDescriptionsEgress";
    assert_eq!(bench.code(wrong_way, &form("x")).await, "InvalidSecurityGroupRuleId.NotFound");
}
