//! Parameter Store's actions, the public parameters that name base images among them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::tags::{Tag, gathered};
use super::{Page, compact, invalid};
use crate::cloud::{Cloud, State};
use crate::model::ec2::{Ec2, PUBLIC_IMAGES, Tags};
use crate::model::ssm::{Kind, Parameter, Put, Ssm, Tier, Version};
use crate::wire::error::ApiError;
use crate::wire::json::{input, seconds};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutCall {
    name: String,
    value: String,
    #[serde(rename = "Type")]
    kind: Option<Kind>,
    tier: Option<Tier>,
    data_type: Option<String>,
    description: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    tags: Vec<Tag>,
}

pub(super) fn put(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: PutCall = input(body)?;
    if call.description.as_ref().is_some_and(|text| text.chars().count() > 1024) {
        return Err(invalid("description has more than 1024 characters"));
    }
    let put = Put {
        name: call.name,
        value: call.value,
        kind: call.kind,
        tier: call.tier,
        data_type: call.data_type,
        description: call.description,
        key_id: call.key_id,
        overwrite: call.overwrite,
        tags: gathered(call.tags)?,
    };
    let version = cloud.state().ssm.parameters.put(put, Timestamp::now())?;
    cloud.changed();
    Ok(json!({ "Version": version.number, "Tier": version.tier.wire() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetCall {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

pub(super) fn get(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: GetCall = input(body)?;
    let parameter = found(cloud, &cloud.state(), &call.name, call.with_decryption)?;
    Ok(json!({ "Parameter": parameter }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Names {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

impl Names {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let call: Self = input(body)?;
        if call.names.is_empty() || call.names.len() > 10 {
            return Err(invalid("names must have 1 to 10 members"));
        }
        Ok(call)
    }
}

pub(super) fn get_several(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = Names::read(body)?;
    let state = cloud.state();
    let (mut parameters, mut absent) = (Vec::new(), Vec::new());
    for name in &call.names {
        match found(cloud, &state, name, call.with_decryption) {
            Ok(parameter) => parameters.push(parameter),
            Err(_) => absent.push(name),
        }
    }
    Ok(json!({ "Parameters": parameters, "InvalidParameters": absent }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Filter {
    key: String,
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

impl Filter {
    /// Refuses keys and options outside these.
    fn check(&self, keys: &[&str]) -> Result<(), ApiError> {
        let key = if self.key.starts_with("tag:") { "tag" } else { &self.key };
        if !keys.contains(&key) {
            return Err(ApiError::new("InvalidFilterKey", format!("The filter key {} is not supported.", self.key)));
        }
        let options: &[&str] = match key {
            "Name" => &["Equals", "BeginsWith", "Contains"],
            "Path" => &["OneLevel", "Recursive"],
            _ => &["Equals"],
        };
        match &self.option {
            Some(option) if !options.contains(&option.as_str()) => {
                let message = format!("The option {option} is not valid for the filter key {}.", self.key);
                Err(ApiError::new("InvalidFilterOption", message))
            }
            _ => Ok(()),
        }
    }

    fn admits(&self, name: &str, parameter: &Parameter) -> bool {
        let Some(present) = parameter.version(None) else { return false };
        let any = |admits: &dyn Fn(&str) -> bool| self.values.iter().any(|value| admits(value));
        match (self.key.as_str(), self.option.as_deref()) {
            ("Name", Some("BeginsWith")) => any(&|value| name.starts_with(value)),
            ("Name", Some("Contains")) => any(&|value| name.contains(value)),
            ("Name", _) => any(&|value| name == value),
            ("Path", option) => any(&|value| is_under(name, value, option == Some("Recursive"))),
            ("Type", _) => any(&|value| present.kind.wire() == value),
            ("Tier", _) => any(&|value| present.tier.wire() == value),
            ("DataType", _) => any(&|value| present.data_type == value),
            ("KeyId", _) => any(&|value| present.key_id.as_deref() == Some(value)),
            (key, _) => key
                .strip_prefix("tag:")
                .and_then(|key| parameter.tags.get(key))
                .is_some_and(|tag| self.values.is_empty() || any(&|value| tag == value)),
        }
    }
}

fn is_under(name: &str, path: &str, recursive: bool) -> bool {
    let rest = name.strip_prefix(path.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| recursive || !rest.contains('/'))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PathCall {
    path: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn get_by_path(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: PathCall = input(body)?;
    if !call.path.starts_with('/') {
        return Err(invalid("the path must begin with a slash"));
    }
    for filter in &call.parameter_filters {
        filter.check(&["Type", "KeyId", "DataType"])?;
    }
    let state = cloud.state();
    let public = public_parameters(&state.ec2);
    let all = state.ssm.parameters.iter().chain(public.iter().map(|(name, parameter)| (name.as_str(), parameter)));
    let under = all.filter(|(name, parameter)| {
        is_under(name, &call.path, call.recursive) && call.parameter_filters.iter().all(|it| it.admits(name, parameter))
    });
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 1..=10, default: 10 };
    let (page, next) = page.cut(under, |(name, _)| (*name).to_owned())?;
    let shown = |(name, parameter): (&str, &Parameter)| {
        parameter.version(None).map(|version| shown(cloud, name, version, None, call.with_decryption))
    };
    let parameters: Vec<Value> = page.into_iter().filter_map(shown).collect();
    Ok(compact(json!({ "Parameters": parameters, "NextToken": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DescribeCall {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    /// The older form of the same, where a name is a beginning.
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn describe(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: DescribeCall = input(body)?;
    let old = call
        .filters
        .into_iter()
        .map(|filter| Filter { option: (filter.key == "Name").then(|| "BeginsWith".to_owned()), ..filter });
    let filters: Vec<Filter> = call.parameter_filters.into_iter().chain(old).collect();
    for filter in &filters {
        filter.check(&["Name", "Path", "Type", "Tier", "DataType", "KeyId", "tag"])?;
    }
    let state = cloud.state();
    let admitted = state.ssm.parameters.iter();
    let admitted = admitted.filter(|(name, parameter)| filters.iter().all(|filter| filter.admits(name, parameter)));
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 1..=50, default: 10 };
    let (page, next) = page.cut(admitted, |(name, _)| (*name).to_owned())?;
    let parameters: Vec<Value> =
        page.into_iter().filter_map(|(name, it)| Some(described(cloud, name, it.version(None)?))).collect();
    Ok(compact(json!({ "Parameters": parameters, "NextToken": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct HistoryCall {
    name: String,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn history(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: HistoryCall = input(body)?;
    let state = cloud.state();
    let parameter = state.ssm.parameters.get(&call.name).ok_or_else(|| unknown(&call.name))?;
    let page = Page { token: call.next_token.as_deref(), asked: call.max_results, bounds: 1..=50, default: 50 };
    let (page, next) = page.cut(parameter.versions.iter(), |version| version.number.to_string())?;
    let with_value = |version: &Version| {
        let mut shown = described(cloud, &call.name, version);
        // What DescribeParameters tells and a history does not.
        shown.as_object_mut().map(|members| members.remove("ARN"));
        shown["Labels"] = version.labels.clone().into();
        shown["Value"] = readable(&call.name, version, call.with_decryption).into();
        shown
    };
    let parameters: Vec<Value> = page.into_iter().map(with_value).collect();
    Ok(compact(json!({ "Parameters": parameters, "NextToken": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteCall {
    name: String,
}

pub(super) fn delete(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: DeleteCall = input(body)?;
    if !cloud.state().ssm.parameters.delete(&call.name) {
        return Err(unknown(&call.name));
    }
    cloud.changed();
    Ok(json!({}))
}

pub(super) fn delete_several(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = Names::read(body)?;
    let (deleted, absent): (Vec<String>, Vec<String>) = {
        let mut state = cloud.state();
        call.names.into_iter().partition(|name| state.ssm.parameters.delete(name))
    };
    cloud.changed();
    Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": absent }))
}

pub(super) fn unknown(name: &str) -> ApiError {
    ApiError::new("ParameterNotFound", format!("There is no parameter {name}."))
}

/// The parameter that `NAME`, `NAME:VERSION` or an ARN of either names.
fn found(cloud: &Cloud, state: &State, asked: &str, decrypt: bool) -> Result<Value, ApiError> {
    let own = format!("arn:aws:ssm:{}:{}:parameter", cloud.config.region, cloud.config.account);
    let path = asked.strip_prefix(&own).unwrap_or(asked);
    let (name, selector) = path.split_once(':').map_or((path, None), |(name, selector)| (name, Some(selector)));
    // A name without slashes gets one in its ARN.
    let plain = (path.len() < asked.len()).then(|| name.trim_start_matches('/'));
    let public;
    let stored = [Some(name), plain].into_iter().flatten().find_map(|it| Some((it, state.ssm.parameters.get(it)?)));
    let (name, parameter) = match stored {
        Some(stored) => stored,
        None => {
            public = public_parameters(&state.ec2);
            let found = public.iter().find(|(it, _)| it == name).ok_or_else(|| unknown(name))?;
            (found.0.as_str(), &found.1)
        }
    };
    let version = selected(parameter, selector).ok_or_else(|| {
        let message = format!("Systems Manager could not find version {} of {name}.", selector.unwrap_or_default());
        ApiError::new("ParameterVersionNotFound", message)
    })?;
    Ok(shown(cloud, name, version, selector, decrypt))
}

/// The version that a selector names: a number, a label, or the present one where there is no selector.
fn selected<'a>(parameter: &'a Parameter, selector: Option<&str>) -> Option<&'a Version> {
    match selector.map(|text| text.parse::<u64>().map_err(|_| text)) {
        None => parameter.version(None),
        Some(Ok(number)) => parameter.version(Some(number)),
        Some(Err(label)) => parameter.labelled(label),
    }
}

/// The value that `NAME`, `NAME:VERSION` or `NAME:LABEL` stands for; secure strings stand for nothing.
pub(crate) fn value_of(ec2: &Ec2, ssm: &Ssm, asked: &str) -> Option<String> {
    let (name, selector) = asked.split_once(':').map_or((asked, None), |(name, selector)| (name, Some(selector)));
    let public;
    let parameter = match ssm.parameters.get(name) {
        Some(parameter) => parameter,
        None => {
            public = public_parameters(ec2);
            &public.iter().find(|(it, _)| it == name)?.1
        }
    };
    let version = selected(parameter, selector).filter(|version| version.kind != Kind::SecureString)?;
    Some(version.value.clone())
}

/// What a reader sees: a secure string only on request, and otherwise something opaque.
fn readable(name: &str, version: &Version, decrypt: bool) -> String {
    if version.kind != Kind::SecureString || decrypt {
        return version.value.clone();
    }
    STANDARD.encode(Sha256::digest(format!("{name}:{}:{}", version.number, version.modified)))
}

fn arn(cloud: &Cloud, name: &str) -> String {
    let region = &cloud.config.region;
    let account = if name.starts_with("/aws/") { "" } else { &cloud.config.account };
    format!("arn:aws:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
}

fn shown(cloud: &Cloud, name: &str, version: &Version, selector: Option<&str>, decrypt: bool) -> Value {
    compact(json!({
        "Name": name,
        "Type": version.kind.wire(),
        "Value": readable(name, version, decrypt),
        "Version": version.number,
        "Selector": selector.map(|selector| format!(":{selector}")),
        "LastModifiedDate": seconds(version.modified),
        "ARN": arn(cloud, name),
        "DataType": version.data_type,
    }))
}

/// A version without its value, as DescribeParameters lists it.
fn described(cloud: &Cloud, name: &str, version: &Version) -> Value {
    compact(json!({
        "Name": name,
        "ARN": arn(cloud, name),
        "Type": version.kind.wire(),
        "KeyId": version.key_id,
        "LastModifiedDate": seconds(version.modified),
        "LastModifiedUser": format!("arn:aws:iam::{}:root", cloud.config.account),
        "Description": version.description,
        "Version": version.number,
        "Tier": version.tier.wire(),
        "Policies": [],
        "DataType": version.data_type,
    }))
}

/// The parameters that name public images: one that follows the newest, one for the very image, told by its date.
fn public_parameters(ec2: &Ec2) -> Vec<(String, Parameter)> {
    let mut parameters = Vec::new();
    for public in PUBLIC_IMAGES {
        let Some(image) = ec2.images.get(public.id) else { continue };
        let version = Version {
            number: 1,
            value: image.id.clone(),
            kind: Kind::String,
            tier: Tier::Standard,
            data_type: "aws:ec2:image".to_owned(),
            description: None,
            key_id: None,
            modified: image.created,
            labels: Vec::new(),
        };
        let parameter = Parameter { versions: vec![version], tags: Tags::new() };
        // Debian has a parameter for the very image as well.
        if let Some((_, date)) = public.name.split_once("-amd64-")
            && public.parameter.contains("/latest/")
        {
            parameters.push((public.parameter.replace("/latest/", &format!("/{date}/")), parameter.clone()));
        }
        parameters.push((public.parameter.to_owned(), parameter));
    }
    parameters
}
