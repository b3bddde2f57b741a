//! Launch templates.

use std::collections::BTreeMap;

use super::admission::admit_structure;
use super::describe_instances::UNMANAGED;
use super::filter::{Filters, Page, put_next_token};
use super::launch_options::{resolve, user_data};
use super::launch_request::{IGNORED, REFUSED, SHARED, find_template, version_number};
use super::turn::{self, Operation, Reasoned, Turn, put_tags, tag_specifications, tags_for, wire_time};
use crate::model::ec2::{Ec2, LaunchTemplate, LaunchTemplateVersion, new_id};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateLaunchTemplate",
        create,
        // What the data may hold is checked where it is read.
        &["LaunchTemplateName", "VersionDescription", "LaunchTemplateData.*", "TagSpecification", "ClientToken"],
    )
    .ignoring(DATA_IGNORED)
    .refusing(MANAGED),
    Operation::write(
        "CreateLaunchTemplateVersion",
        create_version,
        &["LaunchTemplateId", "LaunchTemplateName", "SourceVersion", "VersionDescription", "LaunchTemplateData.*", "ClientToken"],
    )
    .ignoring(DATA_IGNORED)
    .refusing(&[("ResolveAlias", "versions are shown as they were made")]),
    Operation::read(
        "DescribeLaunchTemplates",
        describe,
        &["LaunchTemplateId", "LaunchTemplateName", "Filter", "MaxResults", "NextToken"],
    )
    .ignoring(UNMANAGED),
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
        ],
    )
    .ignoring(UNMANAGED),
    Operation::write("ModifyLaunchTemplate", modify, &["LaunchTemplateId", "LaunchTemplateName", "SetDefaultVersion"])
        .ignoring(&[("ClientToken", "setting the same twice is setting it once")]),
    Operation::write("DeleteLaunchTemplate", delete, &["LaunchTemplateId", "LaunchTemplateName"]),
    Operation::write(
        "DeleteLaunchTemplateVersions",
        delete_versions,
        &["LaunchTemplateId", "LaunchTemplateName", "LaunchTemplateVersion"],
    ),
];

/// What launch template data may hold without effect, named as the actions that take it name it.
const DATA_IGNORED: &[Reasoned] = &[
    ("LaunchTemplateData.MaintenanceOptions.AutoRecovery", "no host fails under a node that could move to another"),
    ("LaunchTemplateData.PrivateDnsNameOptions.EnableResourceNameDnsARecord", "nodes have no resource names in DNS"),
    ("LaunchTemplateData.PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", "nodes have no resource names in DNS"),
];

const MANAGED: &[Reasoned] = &[("Operator.Principal", "there are no managed resources")];

/// EC2's limits: templates of a region, versions of one (ec2.md 6.2), versions deleted in one call (service model).
const TEMPLATES: usize = 5_000;
const VERSIONS: usize = 10_000;
const DELETED_AT_ONCE: usize = 200;

/// Reads `LaunchTemplateData`: names are checked now, values when something is launched from it (ec2.md 6.2).
fn read_data(query: &Query) -> Result<Query, ApiError> {
    let data = query.structure("LaunchTemplateData").cloned().unwrap_or_default();
    admit_structure(&data, SHARED, IGNORED, REFUSED)?;
    tag_specifications(&data, &["instance", "volume", "network-interface", "spot-instances-request"])?;
    if data.leaves().is_empty() {
        return Err(ApiError::missing_parameter("LaunchTemplateData"));
    }
    // One of the few things that are looked at before a launch (ec2.md 6.2), and by another code than there.
    user_data(data.text("UserData")).map_err(|error| ApiError::new("InvalidUserData.Malformed", error.message))?;
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
    if turn.ec2.launch_templates.len() >= TEMPLATES {
        return Err(ApiError::new(
            "LaunchTemplateLimitExceeded",
            format!("You have reached the limit of {TEMPLATES} launch templates."),
        ));
    }
    let version = LaunchTemplateVersion { number: 1, description, created: turn.now, data };
    let template = LaunchTemplate {
        id: new_id("lt"),
        name: name.to_owned(),
        created: turn.now,
        default_version: 1,
        versions: BTreeMap::from([(1, version)]),
        last_number: 1,
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
    let given = read_data(query)?;
    let description = description(query)?;
    let template = named(turn.ec2, query)?;
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
            if template.versions.len() >= VERSIONS {
                return Err(ApiError::new(
                    "LaunchTemplateVersionLimitExceeded",
                    format!("The launch template {id} has the limit of {VERSIONS} versions."),
                ));
            }
            for name in given.names() {
                if let Some(member) = given.structure(name) {
                    data.insert(name, member.clone());
                }
            }
            // A number is never given twice, even when its version is gone.
            let number = template.last_number.max(template.latest_version()) + 1;
            let version = LaunchTemplateVersion { number, description, created: turn.now, data };
            turn.remember(&scope, query, &number.to_string());
            let template = turn::TEMPLATE.find_mut(&mut turn.ec2.launch_templates, &id)?;
            template.versions.insert(number, version);
            template.last_number = number;
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
pub(super) fn put_data(xml: &mut Xml, data: &Query, in_interface: bool) {
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
    const FILTERS: [&str; 14] = [
        "create-time",
        "ebs-optimized",
        "host-resource-group-arn",
        "http-endpoint",
        "http-protocol-ipv4",
        "http-tokens",
        "iam-instance-profile",
        "image-id",
        "instance-type",
        "is-default-version",
        "kernel-id",
        "license-configuration-arn",
        "network-card-index",
        "ram-disk-id",
    ];
    let filters = Filters::read(query, &FILTERS)?;
    let resolves = query.boolean("ResolveAlias")?.unwrap_or(false);
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
            "is-default-version" => vec![(version.number == template.default_version).to_string()],
            _ => data_values(&version.data, name),
        })
    });
    // Numbers are padded so that the order of texts is theirs.
    let (found, token) = page.cut(found, |(template, version)| format!("{} {:020}", template.id, version.number));
    let mut xml = Xml::new();
    xml.list("launchTemplateVersionSet", found, |xml, (template, version)| {
        let mut version = version.clone();
        if resolves && let Some(image) = version.data.text("ImageId").and_then(|id| id.strip_prefix("resolve:")) {
            // What cannot be resolved is shown as it stands, as on EC2.
            if let Ok(image) = resolve(turn, image) {
                version.data.insert("ImageId", Query::scalar(&image));
            }
        }
        put_version(xml, ec2, template, &version);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

/// What template data say under a filter's name.
fn data_values(data: &Query, name: &str) -> Vec<String> {
    let paths: &[&str] = match name {
        "ebs-optimized" => &["EbsOptimized"],
        "http-endpoint" => &["MetadataOptions.HttpEndpoint"],
        "http-tokens" => &["MetadataOptions.HttpTokens"],
        "iam-instance-profile" => &["IamInstanceProfile.Arn", "IamInstanceProfile.Name"],
        "image-id" => &["ImageId"],
        "instance-type" => &["InstanceType"],
        "network-card-index" => {
            let interfaces = data.structures("NetworkInterface");
            return interfaces.iter().filter_map(|one| one.text("NetworkCardIndex")).map(str::to_owned).collect();
        }
        // Hosts, kernels and licences are nothing that data here may hold.
        _ => &[],
    };
    paths.iter().filter_map(|path| data.text(path)).map(str::to_owned).collect()
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

/// Deletes versions, each for itself: what cannot go is listed beside what went.
fn delete_versions(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let asked = query.list("LaunchTemplateVersion");
    if asked.is_empty() {
        return Err(ApiError::missing_parameter("LaunchTemplateVersion"));
    }
    if asked.len() > DELETED_AT_ONCE {
        return Err(ApiError::invalid_value(format!("At most {DELETED_AT_ONCE} versions may be deleted in one request")));
    }
    let template = named(turn.ec2, query)?;
    let (id, name) = (template.id.clone(), template.name.clone());
    let mut numbers = Vec::new();
    for text in asked {
        // Aliases name no version that could be deleted.
        let invalid = || ApiError::invalid_value(format!("Invalid value '{text}' for launch template version"));
        numbers.push(text.parse::<u64>().map_err(|_| invalid())?);
    }
    let template = turn::TEMPLATE.find_mut(&mut turn.ec2.launch_templates, &id)?;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for number in numbers {
        if number == template.default_version {
            let message = format!("The version {number} is the default version of the launch template and cannot be deleted");
            kept.push((number, "unexpectedError", message));
        } else if template.versions.remove(&number).is_none() {
            kept.push((number, "launchTemplateVersionDoesNotExist", format!("The version {number} does not exist")));
        } else {
            gone.push(number);
        }
    }
    let put_name = |xml: &mut Xml, number: u64| {
        xml.put("launchTemplateId", &id).put("launchTemplateName", &name).put("versionNumber", number);
    };
    let mut xml = Xml::new();
    xml.list("successfullyDeletedLaunchTemplateVersionSet", gone, put_name);
    xml.list("unsuccessfullyDeletedLaunchTemplateVersionSet", kept, |xml, (number, code, message)| {
        put_name(xml, number);
        xml.element("responseError", |xml| {
            xml.put("code", code).put("message", message);
        });
    });
    Ok(xml)
}
