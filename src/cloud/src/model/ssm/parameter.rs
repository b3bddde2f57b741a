//! Parameter Store: names, versions, the rules for putting.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::ec2::Tags;
use crate::wire::error::ApiError;

/// Largest value of each tier, in bytes.
const STANDARD_BYTES: usize = 4096;
const ADVANCED_BYTES: usize = 8192;

/// Longest name, ARN included, and deepest hierarchy.
const NAME_LENGTH: usize = 1011;
const LEVELS: usize = 15;

/// Versions that are kept; the oldest goes when another comes.
const VERSIONS: usize = 100;

/// Labels of one version.
const LABELS: usize = 10;

/// Parameters of an account in one region, by tier (ec2.md 3.3).
const STANDARD_COUNT: usize = 10_000;
const ADVANCED_COUNT: usize = 100_000;

/// Tags of a resource.
const TAGS: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    String,
    StringList,
    SecureString,
}

impl Kind {
    pub fn wire(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tier {
    Standard,
    Advanced,
    /// Becomes one of the others when put.
    #[serde(rename = "Intelligent-Tiering")]
    Intelligent,
}

impl Tier {
    pub fn wire(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Advanced => "Advanced",
            Self::Intelligent => "Intelligent-Tiering",
        }
    }
}

/// One value that a parameter has or had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u64,
    pub value: String,
    pub kind: Kind,
    pub tier: Tier,
    pub data_type: String,
    pub description: Option<String>,
    pub key_id: Option<String>,
    pub modified: Timestamp,
    /// Names that stand for this version.
    #[serde(default)]
    pub labels: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Ascending; the last is the present one; never empty.
    pub versions: Vec<Version>,
    pub tags: Tags,
}

impl Parameter {
    /// The version of this number, or the present one.
    pub fn version(&self, number: Option<u64>) -> Option<&Version> {
        match number {
            Some(number) => self.versions.iter().find(|version| version.number == number),
            None => self.versions.last(),
        }
    }

    /// The version that has this label.
    pub fn labelled(&self, label: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.labels.iter().any(|one| one == label))
    }

    /// Puts labels on a version, or on the present one, taking them from others. Answers with the version's number and
    /// the labels that no version may have.
    pub fn label(&mut self, name: &str, number: Option<u64>, labels: &[String]) -> Result<(u64, Vec<String>), ApiError> {
        let number = self.version(number).map(|version| version.number).ok_or_else(|| no_version(name, number))?;
        let (good, bad): (Vec<&String>, Vec<&String>) = labels.iter().partition(|label| is_label(label));
        let present = self.version(Some(number)).map(|version| version.labels.clone()).unwrap_or_default();
        let fresh = good.iter().filter(|label| !present.contains(label)).count();
        if present.len() + fresh > LABELS {
            return Err(ApiError::new(
                "ParameterVersionLabelLimitExceeded",
                format!("A parameter version can have maximum {LABELS} labels. Move one or more labels to another version."),
            ));
        }
        for version in &mut self.versions {
            version.labels.retain(|label| !good.contains(&label));
            if version.number == number {
                version.labels.clone_from(&present);
                version.labels.extend(good.iter().filter(|label| !present.contains(label)).map(|label| (*label).clone()));
            }
        }
        Ok((number, bad.into_iter().cloned().collect()))
    }

    /// Takes labels off a version. Answers with those that it had and those that it had not.
    pub fn unlabel(&mut self, name: &str, number: u64, labels: Vec<String>) -> Result<(Vec<String>, Vec<String>), ApiError> {
        let version = self.versions.iter_mut().find(|version| version.number == number);
        let version = version.ok_or_else(|| no_version(name, Some(number)))?;
        let (removed, absent): (Vec<String>, Vec<String>) = labels.into_iter().partition(|label| version.labels.contains(label));
        version.labels.retain(|label| !removed.contains(label));
        Ok((removed, absent))
    }
}

fn no_version(name: &str, number: Option<u64>) -> ApiError {
    let number = number.map(|number| number.to_string()).unwrap_or_default();
    ApiError::new("ParameterVersionNotFound", format!("Systems Manager could not find version {number} of {name}."))
}

/// Whether a version may have this label.
fn is_label(label: &str) -> bool {
    let lower = label.to_ascii_lowercase();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=100).contains(&label.len())
        && label.bytes().all(letters)
        && !label.starts_with(|first: char| first.is_ascii_digit())
        && !lower.starts_with("aws")
        && !lower.starts_with("ssm")
}

/// What PutParameter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub name: String,
    pub value: String,
    /// Needed for a new parameter alone.
    pub kind: Option<Kind>,
    pub tier: Option<Tier>,
    pub data_type: Option<String>,
    pub description: Option<String>,
    pub key_id: Option<String>,
    pub overwrite: bool,
    pub tags: Tags,
}

/// All parameters, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameters {
    by_name: BTreeMap<String, Parameter>,
}

impl Parameters {
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.by_name.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Parameter> {
        self.by_name.get_mut(name)
    }

    /// Ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.by_name.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    pub fn delete(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }

    /// The tags of the parameter of this name.
    pub fn tags_mut(&mut self, name: &str) -> Option<&mut Tags> {
        self.by_name.get_mut(name).map(|parameter| &mut parameter.tags)
    }

    /// Puts a value: a new parameter, or with `overwrite` a new version. Answers with the version made.
    pub fn put(&mut self, put: Put, now: Timestamp) -> Result<Version, ApiError> {
        check_name(&put.name)?;
        check_value(&put.value)?;
        let tier = chosen_tier(put.tier, put.value.len())?;
        if put.overwrite && !put.tags.is_empty() {
            return Err(invalid(
                "tags and overwrite can't be used together; change tags with AddTagsToResource or RemoveTagsFromResource",
            ));
        }
        let existing = self.by_name.get(&put.name).and_then(|parameter| parameter.versions.last());
        if existing.is_some() && !put.overwrite {
            return Err(ApiError::new(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
            ));
        }
        let kind = match (existing, put.kind) {
            (Some(present), Some(kind)) if present.kind != kind => {
                return Err(ApiError::new(
                    "HierarchyTypeMismatchException",
                    "Parameter Store does not support changing a parameter type. You must create a new, unique parameter.",
                ));
            }
            (Some(present), _) => present.kind,
            (None, Some(kind)) => kind,
            (None, None) => return Err(invalid("A parameter type is required when you create a parameter.")),
        };
        if put.key_id.is_some() && kind != Kind::SecureString {
            return Err(invalid("KeyId is required for SecureString type parameter only."));
        }
        // What an overwriting call leaves out stays as it was.
        let data_type = put.data_type.or_else(|| existing.map(|present| present.data_type.clone()));
        let data_type = data_type.unwrap_or_else(|| "text".to_owned());
        let key_id = put.key_id.or_else(|| existing.and_then(|present| present.key_id.clone()));
        if !["text", "aws:ec2:image"].contains(&data_type.as_str()) {
            return Err(invalid(format!("The data type {data_type} is not supported.")));
        }
        if existing.is_none_or(|present| present.tier != tier) {
            self.check_count(tier)?;
        }
        let oldest = self.by_name.get(&put.name).filter(|it| it.versions.len() >= VERSIONS).and_then(|it| it.versions.first());
        if let Some(oldest) = oldest.filter(|oldest| !oldest.labels.is_empty()) {
            return Err(ApiError::new(
                "ParameterMaxVersionLimitExceeded",
                format!(
                    "The oldest version {} of {} has labels and can't be deleted to make room for a new one.",
                    oldest.number, put.name
                ),
            ));
        }
        let version = Version {
            number: existing.map_or(1, |present| present.number + 1),
            value: put.value,
            kind,
            tier,
            data_type,
            description: put.description.or_else(|| existing.and_then(|present| present.description.clone())),
            key_id: (kind == Kind::SecureString).then(|| key_id.unwrap_or_else(|| "alias/aws/ssm".to_owned())),
            modified: now,
            labels: Vec::new(),
        };
        let tags = put.tags;
        let parameter = self.by_name.entry(put.name).or_insert_with(|| Parameter { versions: Vec::new(), tags });
        if parameter.versions.len() >= VERSIONS {
            parameter.versions.remove(0);
        }
        parameter.versions.push(version.clone());
        Ok(version)
    }

    /// Refuses one more parameter of this tier than an account may have.
    fn check_count(&self, tier: Tier) -> Result<(), ApiError> {
        let limit = if tier == Tier::Standard { STANDARD_COUNT } else { ADVANCED_COUNT };
        let in_tier = |it: &&Parameter| it.versions.last().is_some_and(|version| version.tier == tier);
        // Counting all is for those who have many.
        if self.by_name.len() < limit || self.by_name.values().filter(in_tier).count() < limit {
            return Ok(());
        }
        Err(ApiError::new(
            "ParameterLimitExceeded",
            format!("You have exceeded the number of parameters for this AWS account: {limit} of tier {}.", tier.wire()),
        ))
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// Refuses a name that a user may not give.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    if name.is_empty() || name.len() > NAME_LENGTH || !name.bytes().all(letters) {
        return Err(invalid(format!(
            "Parameter name: only a mix of letters, numbers and the following 4 symbols .-_/ are allowed, at most {NAME_LENGTH} characters"
        )));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if name.ends_with('/') || name.contains("//") {
        return Err(invalid("Parameter name: a path consists of sub-paths divided by single slashes"));
    }
    let path = name.trim_start_matches('/').to_ascii_lowercase();
    if name.starts_with('/') && path.split('/').next() == Some("aws") {
        return Err(ApiError::new("AccessDeniedException", format!("No access to reserved parameter name: {name}.")));
    }
    for reserved in ["aws", "ssm"] {
        if path.starts_with(reserved) {
            return Err(invalid(format!("Parameter name: can't be prefixed with \"{reserved}\" (case-insensitive).")));
        }
    }
    if path.split('/').count() > LEVELS {
        return Err(ApiError::new(
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {LEVELS} levels."),
        ));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), ApiError> {
    if value.is_empty() {
        return Err(invalid("Parameter value: must have length greater than or equal to 1"));
    }
    if value.contains("{{") && value.contains("}}") {
        return Err(invalid("Parameter value can't nest another parameter. Do not use \"{{}}\" in the value."));
    }
    Ok(())
}

fn chosen_tier(asked: Option<Tier>, bytes: usize) -> Result<Tier, ApiError> {
    let tier = match asked.unwrap_or(Tier::Standard) {
        Tier::Intelligent if bytes <= STANDARD_BYTES => Tier::Standard,
        Tier::Intelligent => Tier::Advanced,
        tier => tier,
    };
    let (limit, name) = match tier {
        Tier::Standard => (STANDARD_BYTES, "Standard"),
        _ => (ADVANCED_BYTES, "Advanced"),
    };
    if bytes > limit {
        return Err(invalid(format!("{name} tier parameters support a maximum parameter value of {limit} characters.")));
    }
    Ok(tier)
}

impl super::Ssm {
    /// Refuses tags that no resource may carry.
    pub fn check_tags(tags: &Tags) -> Result<(), ApiError> {
        if tags.len() > TAGS {
            return Err(ApiError::new("TooManyTagsError", format!("A resource can have at most {TAGS} tags.")));
        }
        for (key, value) in tags {
            let length = key.chars().count();
            if length == 0 || length > 128 || value.chars().count() > 256 {
                return Err(invalid("a tag's key has 1 to 128 characters, its value at most 256"));
            }
            if key.to_ascii_lowercase().starts_with("aws:") {
                return Err(invalid("tag keys that start with aws: are reserved"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str, value: &str) -> Put {
        Put {
            name: name.to_owned(),
            value: value.to_owned(),
            kind: Some(Kind::String),
            tier: None,
            data_type: None,
            description: None,
            key_id: None,
            overwrite: false,
            tags: Tags::new(),
        }
    }

    fn code(outcome: Result<Version, ApiError>) -> String {
        outcome.map_or_else(|error| error.code.into_owned(), |version| version.number.to_string())
    }

    #[test]
    fn an_existing_parameter_is_overwritten_only_on_request() {
        let mut parameters = Parameters::default();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(code(parameters.put(put("/lock", "a"), now)), "1");
        assert_eq!(code(parameters.put(put("/lock", "b"), now)), "ParameterAlreadyExists");
        assert_eq!(parameters.get("/lock").and_then(|it| it.version(None)).map(|it| it.value.as_str()), Some("a"));
        assert_eq!(code(parameters.put(Put { overwrite: true, kind: None, ..put("/lock", "b") }, now)), "2");
        let other = Put { overwrite: true, kind: Some(Kind::SecureString), ..put("/lock", "b") };
        assert_eq!(code(parameters.put(other, now)), "HierarchyTypeMismatchException");
        assert_eq!(parameters.get("/lock").and_then(|it| it.version(Some(1))).map(|it| it.value.as_str()), Some("a"));
    }

    #[test]
    fn what_an_overwriting_call_leaves_out_stays_as_it_was() {
        let mut parameters = Parameters::default();
        let now = Timestamp::UNIX_EPOCH;
        let described = Put {
            kind: Some(Kind::SecureString),
            description: Some("who works".to_owned()),
            key_id: Some("alias/team".to_owned()),
            ..put("/lock", "a")
        };
        assert_eq!(code(parameters.put(described, now)), "1");
        let next = parameters.put(Put { overwrite: true, kind: None, ..put("/lock", "b") }, now).expect("it may be overwritten");
        assert_eq!((next.description.as_deref(), next.key_id.as_deref()), (Some("who works"), Some("alias/team")));
        let told = Put { overwrite: true, kind: None, description: Some("who waits".to_owned()), ..put("/lock", "c") };
        let last = parameters.put(told, now).expect("it may be overwritten");
        assert_eq!(last.description.as_deref(), Some("who waits"));
    }

    #[test]
    fn an_account_has_ten_thousand_standard_parameters() {
        let mut parameters = Parameters::default();
        for index in 0..10_000 {
            assert_eq!(code(parameters.put(put(&format!("/p/{index}"), "v"), Timestamp::UNIX_EPOCH)), "1");
        }
        assert_eq!(code(parameters.put(put("/q", "v"), Timestamp::UNIX_EPOCH)), "ParameterLimitExceeded");
        let advanced = Put { tier: Some(Tier::Advanced), ..put("/q", "v") };
        assert_eq!(code(parameters.put(advanced, Timestamp::UNIX_EPOCH)), "1");
        let again = Put { overwrite: true, ..put("/p/1", "w") };
        assert_eq!(code(parameters.put(again, Timestamp::UNIX_EPOCH)), "2");
    }

    #[test]
    fn a_labelled_version_is_not_pushed_out() {
        let mut parameters = Parameters::default();
        let again = || Put { overwrite: true, ..put("/p", "v") };
        for number in 1..=100 {
            assert_eq!(code(parameters.put(again(), Timestamp::UNIX_EPOCH)), number.to_string());
        }
        let first = parameters.get_mut("/p").unwrap();
        assert_eq!(first.label("/p", Some(1), &["kept".to_owned()]), Ok((1, Vec::new())));
        assert_eq!(code(parameters.put(again(), Timestamp::UNIX_EPOCH)), "ParameterMaxVersionLimitExceeded");
    }

    #[test]
    fn names_and_values_that_aws_refuses_are_refused() {
        let mut parameters = Parameters::default();
        let long = "x".repeat(4097);
        for (name, value, expected) in [
            ("/aws/x", "v", "AccessDeniedException"),
            ("aws-x", "v", "ValidationException"),
            ("SSMx", "v", "ValidationException"),
            ("a/b", "v", "ValidationException"),
            ("a b", "v", "ValidationException"),
            ("/a/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6", "v", "HierarchyLevelLimitExceededException"),
            ("/a", "{{ssm:b}}", "ValidationException"),
            ("/a", "", "ValidationException"),
            ("/a", &long, "ValidationException"),
            ("/awsome/x", "v", "ValidationException"),
            ("/ewe/x", "v", "1"),
        ] {
            assert_eq!(code(parameters.put(put(name, value), Timestamp::UNIX_EPOCH)), expected, "{name}");
        }
        let advanced = Put { tier: Some(Tier::Intelligent), ..put("/b", &long) };
        assert_eq!(parameters.put(advanced, Timestamp::UNIX_EPOCH).map(|it| it.tier), Ok(Tier::Advanced));
    }
}
