//! The one error table: what went wrong, the causes below it, what to do about it, and the exit code.
//!
//! Engine errors are typed and know nothing of exit codes or hints; here each becomes a [`Failure`]. No other file of
//! the command line decides an exit code.

use std::error::Error;
use std::fmt::Write as _;

use ewulf_core::diagnostics::Diagnostics;
use serde::Serialize;

use crate::apply::{ApplyError, LockError, StepError, Tried};
use crate::aws::{CallError, Class, ConnectError, classify, quota};
use crate::interrupt::EXIT_INTERRUPTED;
use crate::ui::{OutputError, PromptError, Style};

/// How a verb that reached its end leaves things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// What was looked at is not as it should be; already said in full.
    Unhealthy,
    /// `plan --detailed-exitcode` found something to do.
    ChangesPending,
}

impl Exit {
    pub fn code(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Unhealthy => 1,
            Self::ChangesPending => 2,
        }
    }
}

/// What a verb returns.
pub type Outcome = Result<Exit, Failure>;

/// What kind of failure it is, and so its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Failed,
    /// A spec, an argument or an answer is wrong: nothing was begun.
    InvalidInput,
    /// The cloud refused: permission, quota or capacity.
    Refused,
    JobFailed,
    Interrupted,
    /// Nobody reads standard output any more, as after `| head`: no failure at all.
    Closed,
}

impl Kind {
    pub fn code(self) -> i32 {
        match self {
            Self::Closed => 0,
            Self::Failed => 1,
            Self::InvalidInput => 3,
            Self::Refused => 4,
            Self::JobFailed => 5,
            Self::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

/// Why a verb did not reach its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    /// A lowercase fragment that names the object first; may have several lines.
    pub message: String,
    /// From the outermost to the root.
    pub causes: Vec<String>,
    /// What to do, runnable where possible.
    pub hints: Vec<String>,
    /// What is wrong with specs, file by file; shown above the message.
    pub diagnostics: Vec<Diagnostics>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new(), diagnostics: Vec::new() }
    }

    /// A failure with an engine error's message and its causes.
    pub fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        Self::new(kind, error.to_string()).caused_by(error.source())
    }

    /// A failure of input that is no file with places to point at.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// A failure of an instance that ended with this code of EC2's StateReason.
    pub fn of_state_reason(code: &str, error: &(dyn Error + 'static)) -> Self {
        let class = classify(code);
        let mut failure = Self::of(kind_of(class), error);
        failure.hints.extend(hint(class, Some(code), "RunInstances", None));
        failure
    }

    /// The user stopped it; `message` says what is left.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// Adds a cause and its own causes.
    pub fn caused_by(mut self, cause: Option<&(dyn Error + 'static)>) -> Self {
        let mut next = cause;
        while let Some(error) = next {
            let text = error.to_string();
            // Transparent wrappers say what their source says.
            if self.causes.last().unwrap_or(&self.message) != &text {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Renders everything for people, ending in a line break.
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        for diagnostics in &self.diagnostics {
            text.push_str(diagnostics.render(style.has_colour()).trim_end());
            text.push_str("\n\n");
        }
        let indent = |lines: &str| lines.trim_end().replace('\n', "\n  ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {}", style.bold(&style.red("error:")), indent(&self.message));
        for cause in &self.causes {
            let _ = writeln!(text, "  {} {}", style.dim("caused by:"), indent(cause));
        }
        for hint in &self.hints {
            let _ = writeln!(text, "{} {}", style.cyan("hint:"), indent(hint));
        }
        text
    }

    /// The same as one JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let diagnostics: Vec<_> = self.diagnostics.iter().flat_map(|file| &file.list).collect();
        serde_json::json!({
            "error": {
                "kind": self.kind,
                "exit_code": self.kind.code(),
                "message": self.message,
                "causes": self.causes,
                "hints": self.hints,
                "diagnostics": diagnostics,
            }
        })
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        let kind = if matches!(error, OutputError::Closed) { Kind::Closed } else { Kind::Failed };
        Self::of(kind, &error)
    }
}

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Self {
        match error {
            PromptError::NoTerminal { .. } => Self::of(Kind::InvalidInput, &error).hint("answer in advance with `--yes`"),
            PromptError::Read(_) => Self::of(Kind::Failed, &error),
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        Self::from(vec![diagnostics])
    }
}

impl From<Vec<Diagnostics>> for Failure {
    fn from(diagnostics: Vec<Diagnostics>) -> Self {
        let errors = diagnostics
            .iter()
            .flat_map(|file| &file.list)
            .filter(|diagnostic| diagnostic.severity == ewulf_core::diagnostics::Severity::Error)
            .count();
        let files: Vec<&str> = diagnostics.iter().filter(|file| file.has_errors()).map(|file| file.file.as_str()).collect();
        let what = crate::ui::text::count(errors as u64, "error");
        let mut failure = Self::invalid(format!("{what} in {}", crate::ui::text::enumerate(&files)));
        failure.diagnostics = diagnostics;
        failure
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        if let ConnectError::Limit(wrong) = &error {
            return Self::of(Kind::InvalidInput, wrong).hint("write instances at once and in a second, as in 2000/5");
        }
        let hint = match &error {
            ConnectError::State { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "its credentials are readable by the user who started it and by root: use the same user, or sudo"
            }
            ConnectError::State { .. } | ConnectError::Credentials { .. } | ConnectError::Limit(_) => {
                "start it with `sudo ewulf local up`"
            }
        };
        Self::of(Kind::Failed, &error).hint(hint)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let failure = Self::of(kind_of(error.class), &error);
        match hint(error.class, error.code.as_deref(), error.call, None) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { ref holder, .. } => {
                let hint = format!("wait for it; a lock whose holder is gone ends by itself at {}", holder.until);
                Self::of(Kind::Failed, &error).hint(hint)
            }
            LockError::Call(error) => error.into(),
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        let again = "run the same command again: it goes on from what is there";
        match &error {
            ApplyError::Interrupted { .. } => Self::interrupted(error.to_string()).hint(again),
            ApplyError::Displaced { .. } => Self::of(Kind::Failed, &error).hint(again),
            ApplyError::NoRoom { shorts, .. } => {
                let mut failure = Self::of(Kind::Refused, &error);
                failure.causes.extend(shorts.iter().map(|short| short.attempt.to_string()));
                failure.hint(again)
            }
            ApplyError::Step { source, after, .. } | ApplyError::Room { source, after, .. } => {
                let tried = after.tried.as_ref();
                let (class, what) = match source {
                    StepError::Call(call) => (Some(call.class), hint(call.class, call.code.as_deref(), call.call, tried)),
                    StepError::PutBack { source, .. } => {
                        (Some(source.class), hint(source.class, source.code.as_deref(), source.call, tried))
                    }
                    // EC2 accepted the launch and said later what was wrong with it.
                    StepError::Ended { code: Some(code), .. } => {
                        (Some(classify(code)), hint(classify(code), Some(code), "RunInstances", tried))
                    }
                    _ => (None, None),
                };
                let what = match after.rungs {
                    0 | 1 => what,
                    rungs => Some(format!(
                        "none of the {rungs} rungs that were tried has room: add rungs to the group's `capacity`, let it stand \
                         with fewer by `min`, or try later"
                    )),
                };
                let mut failure = Self::of(class.map_or(Kind::Failed, kind_of), &error);
                failure.causes.extend(after.facts.iter().cloned());
                failure.hints.extend(what);
                if let Some(folder) = &after.folder {
                    failure = failure.hint(format!("what was found out about it is in {}", folder.display()));
                }
                for id in &after.terminated {
                    failure = failure.hint(format!(
                        "{id} failed before it was part of the cluster and was terminated; `--on-error keep` leaves it to look at"
                    ));
                }
                for id in &after.left {
                    failure = failure.hint(format!("look at it: ewulf ssh {id} --user root"));
                }
                failure.hint(again)
            }
        }
    }
}

/// Whether the cloud refused, or something failed.
fn kind_of(class: Class) -> Kind {
    match class {
        Class::Permission | Class::Quota | Class::Capacity => Kind::Refused,
        _ => Kind::Failed,
    }
}

/// Actions of ewulf that belong to SSM; all others are EC2's.
const SSM_ACTIONS: [&str; 11] = [
    "CancelCommand",
    "DeleteParameter",
    "DescribeInstanceInformation",
    "GetCommandInvocation",
    "GetParameter",
    "GetParametersByPath",
    "GetServiceSetting",
    "ListCommandInvocations",
    "PutParameter",
    "SendCommand",
    "StartSession",
];

/// Names an action as IAM does: `ec2:CreateVpc`.
fn permission(call: &str) -> String {
    let service = if SSM_ACTIONS.contains(&call) { "ssm" } else { "ec2" };
    format!("{service}:{call}")
}

/// Says what to do about a call that failed, by its class and code; of a launch, `tried` is what it asked for.
fn hint(class: Class, code: Option<&str>, call: &str, tried: Option<&Tried>) -> Option<String> {
    Some(match (class, code) {
        (
            Class::Permission,
            Some(
                "AuthFailure"
                | "SignatureDoesNotMatch"
                | "InvalidClientTokenId"
                | "UnrecognizedClientException"
                | "ExpiredToken"
                | "ExpiredTokenException"
                | "RequestExpired"
                | "MissingAuthenticationToken",
            ),
        ) => "the credentials are wrong or too old: `ewulf doctor` says where they come from; `aws sso login` renews them"
            .to_owned(),
        (Class::Permission, Some("OptInRequired" | "Blocked" | "PendingVerification")) => {
            "the account is not ready for this service: see the AWS console's account page".to_owned()
        }
        (Class::Permission, Some("AuthFailure.ServiceLinkedRoleCreationNotPermitted")) => {
            "make spot's role once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com".to_owned()
        }
        (Class::Permission, Some("Client.InternalError")) => {
            "the key that encrypts the root volume cannot be used: allow kms:CreateGrant, kms:Decrypt and \
             kms:GenerateDataKeyWithoutPlaintext on it, or choose another default key under EC2's EBS encryption settings"
                .to_owned()
        }
        (Class::Permission, _) if call == "RunInstances" => {
            let role = match tried.map(|tried| &tried.instance_profile) {
                Some(Some(profile)) => format!(", and iam:PassRole on the role of instance profile `{profile}`"),
                Some(None) => String::new(),
                None => ", and iam:PassRole for the spec's instance profile".to_owned(),
            };
            format!("allow ec2:RunInstances and ec2:CreateTags{role}; docs/aws-policy.json lists all that ewulf needs")
        }
        (Class::Permission, _) => {
            format!("allow {}; docs/aws-policy.json lists all that ewulf needs", permission(call))
        }
        (Class::Quota, code) => {
            let spot = tried.and_then(|tried| tried.market) == Some(ewulf_core::spec::Market::Spot);
            let instance_type = tried.and_then(|tried| tried.instance_type.as_deref());
            let name = match code.and_then(|code| quota(code, instance_type, spot)) {
                Some(name) => format!("`{name}`"),
                None => format!("for {}", permission(call)),
            };
            format!(
                "the account's quota {name} is used up: ask for more under Service Quotas in the AWS console, or ask for less in \
                 the spec"
            )
        }
        (Class::Capacity, Some("InsufficientFreeAddressesInSubnet")) => {
            "the subnet has no address left: write a larger `network.cidr` or fewer workers".to_owned()
        }
        (Class::Capacity, _) => {
            let what = tried.map_or_else(|| "this".to_owned(), ToString::to_string);
            format!("EC2 has no room for {what} now: try another `network.zone`, `instance_type` or `market`, or later")
        }
        (Class::Unreachable, _) => "`ewulf doctor` looks at endpoint and network".to_owned(),
        (Class::Credentials, _) => {
            "`aws configure`, `aws sso login` or AWS_PROFILE bring them; or try it on this machine: `--cloud local`".to_owned()
        }
        (Class::Throttled, _) => {
            "the account makes too many calls at once: repeat the command, it goes on where it stopped".to_owned()
        }
        (Class::Ambiguous, _) => "nobody knows whether it took effect: repeat the command, it looks before it acts".to_owned(),
        (Class::NotYet, _) => {
            "it was made moments ago and is not visible everywhere yet: repeat the command in a minute".to_owned()
        }
        (Class::Gone, _) => "somebody removed it outside ewulf: `ewulf plan` shows what is left".to_owned(),
        (Class::Conflict, _) => {
            "something still uses it or changes it: `ewulf ps --all` lists what there is; repeat the command when that has ended"
                .to_owned()
        }
        (Class::NotFound | Class::Exists | Class::Invalid, _) => return None,
    })
}

#[cfg(test)]
mod tests;
