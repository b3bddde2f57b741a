//! A rule: which calls it is about, when it strikes, and with what.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// All rules, and the seed of their chance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    pub seed: u64,
    pub rules: Vec<Rule>,
}

/// Why a plan cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("two rules have the id {0}")]
    Duplicate(String),
    #[error("rule {0} does not exist")]
    Unknown(String),
}

impl Plan {
    /// Gives each rule without an id one: `rule-` and the lowest number that is free.
    pub fn name_rules(&mut self) -> Result<(), PlanError> {
        let mut taken = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| !rule.id.is_empty()) {
            if !taken.insert(rule.id.clone()) {
                return Err(PlanError::Duplicate(rule.id.clone()));
            }
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.id.is_empty()) {
            rule.id = (1_u64..).map(|number| format!("rule-{number}")).find(|id| !taken.contains(id)).unwrap_or_default();
            taken.insert(rule.id.clone());
        }
        Ok(())
    }
}

/// One rule. What is not given does not restrict it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// `ec2`, `ssm` or `sts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// An action's name; `*` stands for any letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "When::is_always")]
    pub when: When,
    /// How likely it is to strike at a call that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<Probability>,
    /// How often it strikes before it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(deserialize_with = "fault")]
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    Ec2,
    Ssm,
    Sts,
    /// EBS direct.
    Ebs,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Ssm => "ssm",
            Self::Sts => "sts",
            Self::Ebs => "ebs",
        }
    }
}

/// Conditions beyond the action's name; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// An instance type; `*` stands for any letters, as in `c7i.*`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub market: Option<Market>,
    /// The id or the `Name` tag of an instance, or any value in the call; `*` stands for any letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Lets so many calls pass first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_calls: Option<u64>,
    /// Only the changing call of this number, counted from 1 since the rules were last cleared or loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth_mutating: Option<u64>,
}

impl When {
    fn is_always(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    OnDemand,
    Spot,
}

impl Market {
    pub fn of(spot: bool) -> Self {
        if spot { Self::Spot } else { Self::OnDemand }
    }
}

/// A chance from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(format!("probability {value} is not between 0 and 1")) }
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> f64 {
        probability.0
    }
}

/// A length of time in seconds, from 0 to a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(f64);

impl Seconds {
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if (0.0..=86_400.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("{value} seconds are not between 0 and a day"))
        }
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.0
    }
}

/// A factor above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Scale(f64);

impl TryFrom<f64> for Scale {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, String> {
        if value > 0.0 && value.is_finite() { Ok(Self(value)) } else { Err(format!("scale {value} is not above 0")) }
    }
}

impl From<Scale> for f64 {
    fn from(scale: Scale) -> f64 {
        scale.0
    }
}

/// What befalls a call, or what it asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Any code, instead of doing what was asked.
    Error {
        code: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// `InternalError`, status 500.
    InternalError,
    /// `Unavailable`, status 503.
    Unavailable,
    /// `RequestLimitExceeded` of EC2, `ThrottlingException` of SSM.
    Throttled,
    /// `UnauthorizedOperation` of EC2, `AccessDeniedException` of SSM.
    Deny,
    /// The call is done later.
    Delay { seconds: Seconds },
    /// Nothing is done and no answer comes.
    Hang,
    /// Nothing is done and the connection is reset.
    Reset,
    /// The call is done, and the connection is reset instead of an answer.
    Lost,
    /// The call is done, and no answer comes.
    HangAfter,
    /// The call is done, and the answer says that it failed; without a code, `InternalError`.
    ErrorAfter {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// The request limits of EC2 and SSM, all of them multiplied by `scale`.
    Throttle {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<Scale>,
    },
    /// EC2 reads from a replica up to so much older, and does not know what is younger.
    Lag { seconds: Seconds },
    /// `InsufficientInstanceCapacity` once so many instances were given out.
    Capacity {
        #[serde(default)]
        left: u64,
    },
    /// Limits of the account.
    Quota(Quota),
    /// An instance profile that was first named less than so long ago is not known.
    ProfileLag { seconds: Seconds },
    /// The launch is accepted and ends in `terminated`, with this `StateReason`.
    LaunchFailure {
        #[serde(default = "internal_error")]
        code: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The instance is `pending` for so much longer.
    SlowLaunch { seconds: Seconds },
    /// The instance runs, but its checks pass and SSM knows it only after so long.
    SlowBoot { seconds: Seconds },
    /// The instance runs, but its checks fail and SSM never knows it.
    FailedBoot,
    /// SSM knows the instance only after so long.
    LateRegistration { seconds: Seconds },
    /// The instance's checks fail, and nothing else does.
    Impaired,
    /// For so long after SendCommand no invocation is known.
    InvocationLag { seconds: Seconds },
    /// The command never reaches the instance: `Undeliverable`.
    Undeliverable,
    /// The command does not reach the instance in time: `DeliveryTimedOut`, at once.
    DeliveryTimedOut,
    /// A terminated instance's interface keeps its subnet, groups and VPC from deletion for so long, up to ten minutes.
    LingeringInterfaces { seconds: Seconds },
    /// A deregistered image's name stays taken for so long.
    NameTaken { seconds: Seconds },
    /// A spot instance is noticed so long after its launch, and terminated `notice` later (120 s unless given).
    SpotInterruption {
        seconds: Seconds,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<Seconds>,
    },
}

/// Limits of an account; what is not given is not limited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpcs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internet_gateways: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<u64>,
    /// How long terminated instances still count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_seconds: Option<Seconds>,
}

fn internal_error() -> String {
    "Server.InternalError".to_owned()
}

/// The moment of a call, or of what it asked for, at which a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before anything is done.
    Before,
    /// When it is done.
    After,
    Throttle,
    Lag,
    Capacity,
    Quota,
    Profile,
    /// An instance begins to start.
    Start,
    /// A command was sent.
    Sent,
    /// A command goes to one instance.
    Delivery,
    /// An instance begins to end.
    Termination,
    Deregistration,
}

impl Fault {
    pub fn stage(&self) -> Stage {
        match self {
            Self::Error { .. }
            | Self::InternalError
            | Self::Unavailable
            | Self::Throttled
            | Self::Deny
            | Self::Delay { .. }
            | Self::Hang
            | Self::Reset => Stage::Before,
            Self::Lost | Self::HangAfter | Self::ErrorAfter { .. } => Stage::After,
            Self::Throttle { .. } => Stage::Throttle,
            Self::Lag { .. } => Stage::Lag,
            Self::Capacity { .. } => Stage::Capacity,
            Self::Quota(_) => Stage::Quota,
            Self::ProfileLag { .. } => Stage::Profile,
            Self::LaunchFailure { .. }
            | Self::SlowLaunch { .. }
            | Self::SlowBoot { .. }
            | Self::FailedBoot
            | Self::LateRegistration { .. }
            | Self::Impaired
            | Self::SpotInterruption { .. } => Stage::Start,
            Self::InvocationLag { .. } => Stage::Sent,
            Self::Undeliverable | Self::DeliveryTimedOut => Stage::Delivery,
            Self::LingeringInterfaces { .. } => Stage::Termination,
            Self::NameTaken { .. } => Stage::Deregistration,
        }
    }

    /// Its name in files.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(members)) => members.keys().next().cloned().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

/// Reads a fault; one that needs no more words may be its name alone.
fn fault<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fault, D::Error> {
    use serde::de::Error as _;
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().map(str::to_owned);
    match (serde_json::from_value(value), text) {
        (Ok(fault), _) => Ok(fault),
        (Err(error), Some(_)) if error.to_string().starts_with("unknown variant") => Err(D::Error::custom(error)),
        (Err(_), Some(name)) => serde_json::from_value(serde_json::json!({ name.clone(): {} }))
            .map_err(|error| D::Error::custom(format!("{name}: {error}"))),
        (Err(error), None) => Err(D::Error::custom(error)),
    }
}

/// Whether a text has the form of a pattern in which `*` stands for any letters.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text
            .strip_prefix(head)
            .is_some_and(|tail| tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| fits(rest, &tail[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<Rule, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_without_details_is_its_name() {
        assert_eq!(read(json!({ "fault": "lost" })).unwrap().fault, Fault::Lost);
        assert_eq!(read(json!({ "fault": "capacity" })).unwrap().fault, Fault::Capacity { left: 0 });
        assert_eq!(read(json!({ "fault": { "capacity": { "left": 2 } } })).unwrap().fault, Fault::Capacity { left: 2 });
        assert_eq!(read(json!({ "fault": "throttle" })).unwrap().fault, Fault::Throttle { scale: None });
    }

    #[test]
    fn what_a_rule_says_wrongly_is_named() {
        for (value, part) in [
            (json!({ "fault": "capasity" }), "unknown variant `capasity`"),
            (json!({ "fault": "delay" }), "missing field `seconds`"),
            (json!({ "fault": { "delay": { "seconds": -1 } } }), "-1 seconds"),
            (json!({ "fault": "lost", "probability": 2 }), "probability 2"),
            (json!({ "fault": "lost", "when": { "kind": "t3.micro" } }), "unknown field `kind`"),
            (json!({ "fault": "lost", "actoin": "x" }), "unknown field `actoin`"),
            (json!({ "action": "RunInstances" }), "missing field `fault`"),
        ] {
            let error = read(value).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_was_read() {
        for value in [
            json!({ "id": "a", "fault": "reset" }),
            json!({ "id": "b", "service": "ec2", "action": "Run*", "when": { "type": "c7i.*", "market": "spot", "nth_mutating": 3 },
                    "probability": 0.5, "count": 2, "fault": { "quota": { "vcpus": 8 } } }),
        ] {
            assert_eq!(serde_json::to_value(read(value.clone()).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn rules_get_free_names_and_no_name_twice() {
        let rule = |id: &str| Rule { id: id.to_owned(), ..read(json!({ "fault": "lost" })).unwrap() };
        let mut plan = Plan { seed: 0, rules: vec![rule(""), rule("rule-1"), rule("")] };
        plan.name_rules().unwrap();
        let ids: Vec<&str> = plan.rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(ids, ["rule-2", "rule-1", "rule-3"]);
        plan.rules.push(rule("rule-1"));
        assert_eq!(plan.name_rules(), Err(PlanError::Duplicate("rule-1".to_owned())));
    }

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, text, expected) in [
            ("RunInstances", "RunInstances", true),
            ("Describe*", "DescribeVpcs", true),
            ("*Instances", "RunInstances", true),
            ("c*.large", "c7i.large", true),
            ("c*.large", "c7i.xlarge", false),
            ("*", "", true),
            ("Run", "RunInstances", false),
            ("ü*", "über", true),
            ("u*", "über", false),
            ("*ber", "über", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
