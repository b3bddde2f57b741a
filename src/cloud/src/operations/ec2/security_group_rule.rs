//! Rules of security groups that exist: listed, changed in their place, described.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::permission::{self, read_description};
use super::security_group::{duplicate, named_group};
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::{SecurityGroup, SecurityGroupRule};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// What the calls take that change descriptions alone.
const DESCRIPTIONS: [&str; 4] = ["GroupId", "GroupName", "IpPermissions", "SecurityGroupRuleDescription"];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeSecurityGroupRules", describe_rules, &["SecurityGroupRuleId", "Filter", "MaxResults", "NextToken"]),
    Operation::write("ModifySecurityGroupRules", modify, &["GroupId", "SecurityGroupRule"]),
    Operation::write(
        "UpdateSecurityGroupRuleDescriptionsIngress",
        |turn, query| describe_anew(turn, query, false),
        &DESCRIPTIONS,
    ),
    Operation::write("UpdateSecurityGroupRuleDescriptionsEgress", |turn, query| describe_anew(turn, query, true), &DESCRIPTIONS),
];

fn describe_rules(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "group-id", "security-group-rule-id"])?;
    let page = Page::read(query)?;
    let ids = query.list("SecurityGroupRuleId");
    let ec2 = &*turn.ec2;
    let mut all: Vec<(&SecurityGroup, &SecurityGroupRule)> =
        ec2.security_groups.values().flat_map(|group| group.rules.iter().map(move |rule| (group, rule))).collect();
    all.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
    for id in &ids {
        turn::RULE.check(id)?;
        if !all.iter().any(|(_, rule)| rule.id == *id) {
            return Err(turn::RULE.missing(id));
        }
    }
    let found = all.into_iter().filter(|(group, rule)| {
        (ids.is_empty() || ids.contains(&rule.id.as_str()))
            && filters.admit(&rule.tags, |name| match name {
                "group-id" => vec![group.id.clone()],
                _ => vec![rule.id.clone()],
            })
    });
    let (found, token) = page.cut(found, |(_, rule)| rule.id.clone());
    let mut xml = Xml::new();
    xml.list("securityGroupRuleSet", found, |xml, (group, rule)| permission::put_rule(xml, ec2, group, rule));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// Puts other flows in the place of rules, which keep their ids, directions and tags.
fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let group = turn::SECURITY_GROUP.find(&turn.ec2.security_groups, query.required("GroupId")?)?;
    let updates = query.structures("SecurityGroupRule");
    if updates.is_empty() {
        return Err(ApiError::missing_parameter("SecurityGroupRule"));
    }
    let mut rules = group.rules.clone();
    for update in updates {
        let rule_id = update.required("SecurityGroupRuleId")?;
        turn::RULE.check(rule_id)?;
        let rule = rules.iter_mut().find(|rule| rule.id == rule_id).ok_or_else(|| turn::RULE.missing(rule_id))?;
        let given = update
            .structure("SecurityGroupRule")
            .ok_or_else(|| ApiError::missing_parameter("SecurityGroupRule.SecurityGroupRule"))?;
        given.only(&[
            "IpProtocol",
            "FromPort",
            "ToPort",
            "CidrIpv4",
            "CidrIpv6",
            "PrefixListId",
            "ReferencedGroupId",
            "Description",
        ])?;
        *rule = permission::read_replacement(turn.ec2, group, rule, given)?;
    }
    for (place, rule) in rules.iter().enumerate() {
        if rules[..place].iter().any(|other| other.same_flow(rule)) {
            return Err(duplicate(rule));
        }
    }
    let (id, vpc_id) = (group.id.clone(), group.vpc_id.clone());
    turn::SECURITY_GROUP.find_mut(&mut turn.ec2.security_groups, &id)?.rules = rules;
    turn.deeds.push(Deed::Firewall(vpc_id));
    Ok(done())
}

/// Gives rules other descriptions; one that is left out is taken away.
fn describe_anew(turn: &mut Turn<'_>, query: &Query, egress: bool) -> Result<Xml, ApiError> {
    let group = named_group(turn.ec2, query)?;
    let by_id = query.structures("SecurityGroupRuleDescription");
    let by_flow = query.structures("IpPermissions");
    if by_id.is_empty() == by_flow.is_empty() {
        return Err(match by_id.is_empty() {
            true => ApiError::missing_parameter("IpPermissions or SecurityGroupRuleDescription"),
            false => ApiError::invalid_combination("You may specify IP permissions or rule descriptions, but not both"),
        });
    }
    let mut descriptions: Vec<(String, Option<String>)> = Vec::new();
    for item in by_id {
        let rule_id = item.required("SecurityGroupRuleId")?;
        turn::RULE.check(rule_id)?;
        if !group.rules.iter().any(|rule| rule.id == rule_id && rule.egress == egress) {
            return Err(turn::RULE.missing(rule_id));
        }
        descriptions.push((rule_id.to_owned(), read_description(item.text("Description"))?));
    }
    if !by_flow.is_empty() {
        for wanted in permission::read(turn.ec2, group, query, egress)? {
            let rule = group.rules.iter().find(|rule| rule.same_flow(&wanted)).ok_or_else(|| {
                ApiError::new("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
            })?;
            descriptions.push((rule.id.clone(), wanted.description));
        }
    }
    let id = group.id.clone();
    let group = turn::SECURITY_GROUP.find_mut(&mut turn.ec2.security_groups, &id)?;
    for (rule_id, description) in descriptions {
        if let Some(rule) = group.rules.iter_mut().find(|rule| rule.id == rule_id) {
            rule.description = description;
        }
    }
    Ok(done())
}
