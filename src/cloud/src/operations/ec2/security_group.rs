//! Security groups and their rules.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::permission::{self, group_by_name};
use super::turn::{self, Operation, Turn, done, put_tags, tags_for};
use crate::model::ec2::{Ec2, RuleTarget, SecurityGroup, SecurityGroupRule};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// What names rules in Authorize and Revoke calls; each of the four has more of its own.
macro_rules! rules {
    ($($own:literal),*) => {
        &[
            "GroupId",
            "IpPermissions",
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIp",
            "SourceSecurityGroupName",
            "SourceSecurityGroupOwnerId",
            $($own),*
        ]
    };
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateSecurityGroup", create, &["GroupName", "GroupDescription", "VpcId", "TagSpecification"]),
    Operation::read("DescribeSecurityGroups", describe, &["GroupId", "GroupName", "Filter", "MaxResults", "NextToken"]),
    Operation::write(
        "AuthorizeSecurityGroupIngress",
        |turn, query| authorize(turn, query, false),
        rules!["GroupName", "TagSpecification"],
    ),
    Operation::write("AuthorizeSecurityGroupEgress", |turn, query| authorize(turn, query, true), rules!["TagSpecification"]),
    Operation::write(
        "RevokeSecurityGroupIngress",
        |turn, query| revoke(turn, query, false),
        rules!["GroupName", "SecurityGroupRuleId"],
    ),
    Operation::write("RevokeSecurityGroupEgress", |turn, query| revoke(turn, query, true), rules!["SecurityGroupRuleId"]),
    Operation::write("DeleteSecurityGroup", delete, &["GroupId", "GroupName"]),
];

fn arn(ec2: &Ec2, id: &str) -> String {
    format!("arn:aws:ec2:{}:{}:security-group/{id}", ec2.region, ec2.account)
}

/// The default VPC's id, which calls without a VPC mean.
pub(super) fn default_vpc(ec2: &Ec2) -> Result<&str, ApiError> {
    ec2.vpcs
        .values()
        .find(|vpc| vpc.is_default)
        .map(|vpc| vpc.id.as_str())
        .ok_or_else(|| ApiError::new("VPCIdNotSpecified", "No default VPC for this user"))
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("GroupName")?;
    let description = query.required("GroupDescription")?;
    let vpc_id = match query.text("VpcId") {
        Some(id) => turn::VPC.find(&turn.ec2.vpcs, id)?.id.clone(),
        None => default_vpc(turn.ec2)?.to_owned(),
    };
    for (what, text) in [("groupName", name), ("groupDescription", description)] {
        let admitted = |character: char| character.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(character);
        if text.len() > 255 || !text.chars().all(admitted) {
            return Err(ApiError::invalid_value(format!(
                "Value ({text}) for parameter {what} is invalid. At most 255 of the characters a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{{}}!$*"
            )));
        }
    }
    if name.starts_with("sg-") {
        return Err(ApiError::invalid_value(format!(
            "Value ({name}) for parameter groupName is invalid. Group names may not be in the format sg-*."
        )));
    }
    if name == "default" {
        return Err(ApiError::invalid_value("Cannot use reserved security group name: default"));
    }
    if group_by_name(turn.ec2, &vpc_id, name).is_ok() {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc_id}'"),
        ));
    }
    let tags = tags_for(query, "security-group")?;
    let mut xml = Xml::new();
    put_tags(&mut xml, &tags);
    let id = turn.ec2.add_security_group(&vpc_id, name, description, tags);
    xml.put("groupId", &id).put("securityGroupArn", arn(turn.ec2, &id));
    Ok(xml)
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 24] = [
        "tag",
        "group-id",
        "group-name",
        "vpc-id",
        "description",
        "owner-id",
        "ip-permission.cidr",
        "ip-permission.ipv6-cidr",
        "ip-permission.prefix-list-id",
        "ip-permission.from-port",
        "ip-permission.to-port",
        "ip-permission.protocol",
        "ip-permission.group-id",
        "ip-permission.group-name",
        "ip-permission.user-id",
        "egress.ip-permission.cidr",
        "egress.ip-permission.ipv6-cidr",
        "egress.ip-permission.prefix-list-id",
        "egress.ip-permission.from-port",
        "egress.ip-permission.to-port",
        "egress.ip-permission.protocol",
        "egress.ip-permission.group-id",
        "egress.ip-permission.group-name",
        "egress.ip-permission.user-id",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let page = Page::read(query)?;
    let ids = query.list("GroupId");
    let names = query.list("GroupName");
    let ec2 = &*turn.ec2;
    turn::SECURITY_GROUP.asked(&ec2.security_groups, &ids)?;
    let by_name: Vec<&str> =
        names.iter().map(|name| Ok(group_by_name(ec2, default_vpc(ec2)?, name)?.id.as_str())).collect::<Result<_, ApiError>>()?;
    let asked = |id: &str| (ids.is_empty() && names.is_empty()) || ids.contains(&id) || by_name.contains(&id);
    let found = ec2
        .security_groups
        .values()
        .filter(|group| asked(&group.id))
        .filter(|group| filters.admit(&group.tags, |name| group_values(ec2, group, name)));
    let (found, token) = page.cut(found, |group| group.id.clone());
    let mut xml = Xml::new();
    xml.list("securityGroupInfo", found, |xml, group| {
        xml.put("groupId", &group.id)
            .put("securityGroupArn", arn(ec2, &group.id))
            .put("ownerId", &ec2.account)
            .put("groupName", &group.name)
            .put("groupDescription", &group.description)
            .put("vpcId", &group.vpc_id);
        permission::put_permissions(xml, ec2, "ipPermissions", group.rules.iter().filter(|rule| !rule.egress));
        permission::put_permissions(xml, ec2, "ipPermissionsEgress", group.rules.iter().filter(|rule| rule.egress));
        put_tags(xml, &group.tags);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn group_values(ec2: &Ec2, group: &SecurityGroup, name: &str) -> Vec<String> {
    let (egress, field) = match name.strip_prefix("egress.") {
        Some(field) => (true, field),
        None => (false, name),
    };
    let rules = group.rules.iter().filter(|rule| rule.egress == egress);
    let of_rules = |value: fn(&Ec2, &SecurityGroupRule) -> Option<String>| rules.filter_map(|rule| value(ec2, rule)).collect();
    match field {
        "group-id" => vec![group.id.clone()],
        "group-name" => vec![group.name.clone()],
        "vpc-id" => vec![group.vpc_id.clone()],
        "description" => vec![group.description.clone()],
        "owner-id" => vec![ec2.account.clone()],
        "ip-permission.cidr" => of_rules(|_, rule| match &rule.target {
            target @ RuleTarget::Cidr(_) => Some(target.to_string()),
            _ => None,
        }),
        "ip-permission.ipv6-cidr" => of_rules(|_, rule| match &rule.target {
            target @ RuleTarget::Cidr6(_) => Some(target.to_string()),
            _ => None,
        }),
        "ip-permission.prefix-list-id" => of_rules(|_, rule| match &rule.target {
            target @ RuleTarget::PrefixList(_) => Some(target.to_string()),
            _ => None,
        }),
        "ip-permission.from-port" => of_rules(|_, rule| rule.ports.map(|(from, _)| from.to_string())),
        "ip-permission.to-port" => of_rules(|_, rule| rule.ports.map(|(_, to)| to.to_string())),
        "ip-permission.protocol" => of_rules(|_, rule| Some(rule.protocol.to_string())),
        "ip-permission.user-id" => of_rules(|ec2, rule| rule.target.group().map(|_| ec2.account.clone())),
        "ip-permission.group-id" => of_rules(|_, rule| rule.target.group().map(str::to_owned)),
        _ => of_rules(|ec2, rule| Some(ec2.security_groups.get(rule.target.group()?)?.name.clone())),
    }
}

/// The group a call names, by id or, in the default VPC, by name.
pub(super) fn named_group<'a>(ec2: &'a Ec2, query: &Query) -> Result<&'a SecurityGroup, ApiError> {
    match (query.text("GroupId"), query.text("GroupName")) {
        (Some(id), _) => turn::SECURITY_GROUP.find(&ec2.security_groups, id),
        (None, Some(name)) => group_by_name(ec2, default_vpc(ec2)?, name),
        (None, None) => Err(ApiError::missing_parameter("groupId")),
    }
}

pub(super) fn duplicate(rule: &SecurityGroupRule) -> ApiError {
    ApiError::new(
        "InvalidPermission.Duplicate",
        format!("the specified rule \"peer: {}, {}, ALLOW\" already exists", rule.target, rule.protocol),
    )
}

fn authorize(turn: &mut Turn<'_>, query: &Query, egress: bool) -> Result<Xml, ApiError> {
    let group = named_group(turn.ec2, query)?;
    let mut rules = permission::read(turn.ec2, group, query, egress)?;
    let tags = tags_for(query, "security-group-rule")?;
    for rule in &mut rules {
        rule.tags.clone_from(&tags);
        if group.rules.iter().any(|other| other.same_flow(rule)) {
            return Err(duplicate(rule));
        }
    }
    // EC2's default quota, in each direction.
    if group.rules.iter().filter(|rule| rule.egress == egress).count() + rules.len() > 60 {
        return Err(ApiError::new(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    let (id, vpc_id) = (group.id.clone(), group.vpc_id.clone());
    let mut xml = done();
    xml.list("securityGroupRuleSet", &rules, |xml, rule| permission::put_rule(xml, turn.ec2, group, rule));
    if let Some(group) = turn.ec2.security_groups.get_mut(&id) {
        group.rules.extend(rules);
    }
    turn.deeds.push(Deed::Firewall(vpc_id));
    Ok(xml)
}

fn revoke(turn: &mut Turn<'_>, query: &Query, egress: bool) -> Result<Xml, ApiError> {
    let group = named_group(turn.ec2, query)?;
    let (id, vpc_id) = (group.id.clone(), group.vpc_id.clone());
    let mut revoked: Vec<SecurityGroupRule> = Vec::new();
    let rule_ids = query.list("SecurityGroupRuleId");
    for rule_id in &rule_ids {
        turn::RULE.check(rule_id)?;
        let rule = group.rules.iter().find(|rule| rule.id == *rule_id && rule.egress == egress);
        revoked.push(rule.ok_or_else(|| turn::RULE.missing(rule_id))?.clone());
    }
    let mut unknown: Vec<SecurityGroupRule> = Vec::new();
    if rule_ids.is_empty() {
        for wanted in permission::read(turn.ec2, group, query, egress)? {
            match group.rules.iter().find(|rule| rule.same_flow(&wanted)) {
                Some(rule) => revoked.push(rule.clone()),
                None => unknown.push(wanted),
            }
        }
    }
    // In the default VPC rules that do not exist are listed; elsewhere they fail the call.
    let in_default_vpc = turn.ec2.vpcs.get(&vpc_id).is_some_and(|vpc| vpc.is_default);
    if !unknown.is_empty() && !in_default_vpc {
        return Err(ApiError::new("InvalidPermission.NotFound", "The specified rule does not exist in this security group."));
    }
    let mut xml = done();
    xml.list("revokedSecurityGroupRuleSet", &revoked, |xml, rule| permission::put_revoked(xml, group, rule));
    permission::put_permissions(&mut xml, turn.ec2, "unknownIpPermissionSet", unknown.iter());
    if let Some(group) = turn.ec2.security_groups.get_mut(&id) {
        group.rules.retain(|rule| !revoked.iter().any(|other| other.id == rule.id));
    }
    turn.deeds.push(Deed::Firewall(vpc_id));
    Ok(xml)
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let group = named_group(turn.ec2, query)?;
    let id = group.id.clone();
    if group.name == "default" {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let used = turn.ec2.all_interfaces().any(|one| one.security_groups.contains(&id));
    let referenced = turn
        .ec2
        .security_groups
        .values()
        .any(|other| other.id != id && other.rules.iter().any(|rule| rule.target == RuleTarget::Group(id.clone())));
    if used || referenced {
        return Err(ApiError::dependency(format!("resource {id} has a dependent object")));
    }
    turn.ec2.security_groups.remove(&id);
    let mut xml = done();
    xml.put("groupId", &id);
    Ok(xml)
}
