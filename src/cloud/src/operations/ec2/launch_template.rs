//! Launch templates.

use std::collections::BTreeMap;

use super::filter::{Filters, Page, put_next_token};
use super::launch_request::{SHARED, find_template, version_number};
use super::turn::{self, Operation, Turn, put_tags, tag_specifications, tags_for, wire_time};
use crate::model::ec2::{Ec2, LaunchTemplate, LaunchTemplateVersion, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateLaunchTemplate",
        create,
        &["LaunchTemplateName", "VersionDescription", "LaunchTemplateData", "TagSpecification", "ClientToken"],
    ),
    Operation::write(
        "CreateLaunchTemplateVersion",
        create_version,
        &["LaunchTemplateId", "LaunchTemplateName", "SourceVersion", "VersionDescription", "LaunchTemplateData", "ClientToken"],
    ),
    Operation::read(
        "DescribeLaunchTemplates",
        describe,
        &["LaunchTemplateId", "LaunchTemplateName", "Filter", "MaxResults", "NextToken", "IncludeManagedResources"],
    ),
    Operation::read(
        "DescribeLaunchTemplateVersions",
        describe_versions,
        &[
            "LaunchTemplateId",
            "LaunchTemplateName",
            "LaunchTemplateVersion",
            "MinVersion",
            "MaxVersion",
            "Filter",
            "MaxResults",
            "NextToken",
            "ResolveAlias",
            "IncludeManagedResources",
        ],
    ),
    Operation::write(
        "ModifyLaunchTemplate",
        modify,
        &["LaunchTemplateId", "LaunchTemplateName", "SetDefaultVersion", "ClientToken"],
    ),
    Operation::write("DeleteLaunchTemplate", delete, &["LaunchTemplateId", "LaunchTemplateName"]),
];

/// Reads `LaunchTemplateData`: names are checked now, values when something is launched from it (ec2.md 6.2).
fn read_data(query: &Query) -> Result<Query, ApiError> {
    let data = query.structure("LaunchTemplateData").cloned().unwrap_or_default();
    data.only(&SHARED)?;
    tag_specifications(&data, &["instance", "volume", "network-interface", "spot-instances-request"])?;
    if data.leaves().is_empty() {
        return Err(ApiError::missing_parameter("LaunchTemplateData"));
    }
    Ok(data)
}

fn description(query: &Query) -> Result<Option<String>, ApiError> {
    let text = query.text("VersionDescription");
    if text.is_some_and(|text| text.chars().count() > 255) {
        return Err(ApiError::invalid_value("VersionDescription is limited to 255 characters"));
    }
    Ok(text.map(str::to_owned))
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let name = query.required("LaunchTemplateName")?;
    let data = read_data(query)?;
    let description = description(query)?;
    let tags = tags_for(query, "launch-template")?;
    if let Some(id) = turn.replayed("CreateLaunchTemplate", query)? {
        return Ok(answer(turn.ec2, turn::TEMPLATE.find(&turn.ec2.launch_templates, &id)?));
    }
    let admitted = |character: char| character.is_ascii_alphanumeric() || "().-/_".contains(character);
    if !(3..=128).contains(&name.len()) || !name.chars().all(admitted) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.MalformedException",
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the characters '(', ')', '.', '-', '/', '_'",
        ));
    }
    if turn.ec2.launch_templates.values().any(|template| template.name == name) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            format!("Launch template name already in use: {name}"),
        ));
    }
    let version = LaunchTemplateVersion { number: 1, description, created: turn.now, data };
    let template = LaunchTemplate {
        id: new_id("lt"),
        name: name.to_owned(),
        created: turn.now,
        default_version: 1,
        versions: BTreeMap::from([(1, version)]),
        tags,
    };
    turn.remember("CreateLaunchTemplate", query, &template.id);
    let xml = answer(turn.ec2, &template);
    turn.ec2.launch_templates.insert(template.id.clone(), template);
    Ok(xml)
}

fn answer(ec2: &Ec2, template: &LaunchTemplate) -> Xml {
    let mut xml = Xml::new();
    xml.element("launchTemplate", |xml| put_template(xml, ec2, template));
    xml
}

fn creator(ec2: &Ec2) -> String {
    format!("arn:aws:iam::{}:root", ec2.account)
}

fn put_template(xml: &mut Xml, ec2: &Ec2, template: &LaunchTemplate) {
    xml.put("launchTemplateId", &template.id)
        .put("launchTemplateName", &template.name)
        .put("createTime", wire_time(template.created))
        .put("createdBy", creator(ec2))
        .put("defaultVersionNumber", template.default_version)
        .put("latestVersionNumber", template.latest_version());
    put_tags(xml, &template.tags);
}

/// The template that a call names.
fn named<'a>(ec2: &'a Ec2, query: &Query) -> Result<&'a LaunchTemplate, ApiError> {
    find_template(ec2, query.text("LaunchTemplateId"), query.text("LaunchTemplateName"))
}

fn create_version(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let template = named(turn.ec2, query)?;
    let given = read_data(query)?;
    let scope = format!("CreateLaunchTemplateVersion/{}", template.id);
    let id = template.id.clone();
    let number = match turn.replayed(&scope, query)? {
        Some(number) => number.parse().unwrap_or(template.default_version),
        None => {
            // The source fills whatever is not given.
            let mut data = match query.text("SourceVersion") {
                None => Query::default(),
                Some(text) => {
                    let number = version_number(template, text)?;
                    template.versions.get(&number).map(|source| source.data.clone()).unwrap_or_default()
                }
            };
            for name in given.names() {
                if let Some(member) = given.structure(name) {
                    data.insert(name, member.clone());
                }
            }
            let number = template.latest_version() + 1;
            let version = LaunchTemplateVersion { number, description: description(query)?, created: turn.now, data };
            turn.remember(&scope, query, &number.to_string());
            turn::TEMPLATE.find_mut(&mut turn.ec2.launch_templates, &id)?.versions.insert(number, version);
            number
        }
    };
    let template = turn::TEMPLATE.find(&turn.ec2.launch_templates, &id)?;
    let mut xml = Xml::new();
    if let Some(version) = template.versions.get(&number) {
        xml.element("launchTemplateVersion", |xml| put_version(xml, turn.ec2, template, version));
    }
    Ok(xml)
}

fn put_version(xml: &mut Xml, ec2: &Ec2, template: &LaunchTemplate, version: &LaunchTemplateVersion) {
    xml.put("launchTemplateId", &template.id)
        .put("launchTemplateName", &template.name)
        .put("versionNumber", version.number)
        .maybe("versionDescription", version.description.as_ref())
        .put("createTime", wire_time(version.created))
        .put("createdBy", creator(ec2))
        .put("defaultVersion", version.number == template.default_version)
        .element("launchTemplateData", |xml| put_data(xml, &version.data, false));
}

/// Writes parameters back under the names that answers have for them.
fn put_data(xml: &mut Xml, data: &Query, in_interface: bool) {
    for name in data.names() {
        let Some(member) = data.structure(name) else { continue };
        let set = match name {
            "SecurityGroupId" if in_interface => {
                // The one list whose items are not called `item`.
                xml.element("groupSet", |xml| {
                    for id in data.list(name) {
                        xml.put("groupId", id);
                    }
                });
                continue;
            }
            "SecurityGroupId" => Some("securityGroupIdSet"),
            "SecurityGroup" => Some("securityGroupSet"),
            "BlockDeviceMapping" => Some("blockDeviceMappingSet"),
            "NetworkInterface" => Some("networkInterfaceSet"),
            "TagSpecification" => Some("tagSpecificationSet"),
            "Tag" => Some("tagSet"),
            _ => None,
        };
        match (set, member.own_text()) {
            (Some(set), _) => {
                xml.list(set, data.structures(name), |xml, item| match item.own_text() {
                    Some(text) => xml.text(text),
                    None => put_data(xml, item, name == "NetworkInterface"),
                });
            }
            (None, Some(text)) => {
                xml.put(&lower_first(name), text);
            }
            (None, None) => {
                xml.element(&lower_first(name), |xml| put_data(xml, member, false));
            }
        }
    }
}

fn lower_first(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + characters.as_str())
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["tag", "create-time", "launch-template-name"])?;
    let page = Page::within(query, 1..=200, 200)?;
    let (ids, names) = (query.list("LaunchTemplateId"), query.list("LaunchTemplateName"));
    let ec2 = &*turn.ec2;
    turn::TEMPLATE.asked(&ec2.launch_templates, &ids)?;
    for name in &names {
        find_template(ec2, None, Some(name))?;
    }
    let asked = |template: &LaunchTemplate| {
        (ids.is_empty() && names.is_empty()) || ids.contains(&template.id.as_str()) || names.contains(&template.name.as_str())
    };
    let found = ec2.launch_templates.values().filter(|template| asked(template)).filter(|template| {
        filters.admit(&template.tags, |name| {
            vec![match name {
                "create-time" => wire_time(template.created),
                _ => template.name.clone(),
            }]
        })
    });
    let (found, token) = page.cut(found, |template| template.id.clone());
    let mut xml = Xml::new();
    xml.list("launchTemplates", found, |xml, template| put_template(xml, ec2, template));
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn describe_versions(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["create-time", "image-id", "instance-type", "is-default-version"])?;
    let page = Page::within(query, 1..=200, 200)?;
    let ec2 = &*turn.ec2;
    let asked = query.list("LaunchTemplateVersion");
    let every_template = query.text("LaunchTemplateId").or(query.text("LaunchTemplateName")).is_none();
    let mut chosen: Vec<(&LaunchTemplate, &LaunchTemplateVersion)> = Vec::new();
    if every_template {
        // Without a template only `$Latest` and `$Default` may be asked for, of all templates.
        if asked.is_empty() || asked.iter().any(|version| !["$Latest", "$Default"].contains(version)) {
            return Err(ApiError::missing_parameter("LaunchTemplateId or LaunchTemplateName"));
        }
        for template in ec2.launch_templates.values() {
            choose(template, &asked, &mut chosen)?;
        }
    } else {
        choose(named(ec2, query)?, &asked, &mut chosen)?;
    }
    let (least, most) = (query.integer("MinVersion")?, query.integer("MaxVersion")?);
    let within = |number: u64| {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
    };
    let found = chosen.into_iter().filter(|(_, version)| within(version.number)).filter(|(template, version)| {
        filters.admit(&template.tags, |name| match name {
            "create-time" => vec![wire_time(version.created)],
            "image-id" => version.data.text("ImageId").map(str::to_owned).into_iter().collect(),
            "instance-type" => version.data.text("InstanceType").map(str::to_owned).into_iter().collect(),
            _ => vec![(version.number == template.default_version).to_string()],
        })
    });
    // Numbers are padded so that the order of texts is theirs.
    let (found, token) = page.cut(found, |(template, version)| format!("{} {:020}", template.id, version.number));
    let mut xml = Xml::new();
    xml.list("launchTemplateVersionSet", found, |xml, (template, version)| put_version(xml, ec2, template, version));
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// Adds the versions asked for, each once, in order of their numbers; all when none is named.
fn choose<'a>(
    template: &'a LaunchTemplate,
    asked: &[&str],
    chosen: &mut Vec<(&'a LaunchTemplate, &'a LaunchTemplateVersion)>,
) -> Result<(), ApiError> {
    let mut numbers: Vec<u64> = asked.iter().map(|text| version_number(template, text)).collect::<Result<_, _>>()?;
    if asked.is_empty() {
        numbers.extend(template.versions.keys());
    }
    numbers.sort_unstable();
    numbers.dedup();
    chosen.extend(numbers.iter().filter_map(|number| Some((template, template.versions.get(number)?))));
    Ok(())
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let template = named(turn.ec2, query)?;
    let id = template.id.clone();
    let number = version_number(template, query.required("SetDefaultVersion")?)?;
    let template = turn::TEMPLATE.find_mut(&mut turn.ec2.launch_templates, &id)?;
    template.default_version = number;
    let template = turn::TEMPLATE.find(&turn.ec2.launch_templates, &id)?;
    Ok(answer(turn.ec2, template))
}

fn delete(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let template = named(turn.ec2, query)?;
    let xml = answer(turn.ec2, template);
    let id = template.id.clone();
    turn.ec2.launch_templates.remove(&id);
    Ok(xml)
}
