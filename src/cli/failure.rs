//! The one error table: what went wrong, the causes below it, what to do about it, and the exit code.
//!
//! Engine errors are typed and know nothing of exit codes or hints; here each becomes a [`Failure`]. No other file of
//! the command line decides an exit code.

use std::error::Error;
use std::fmt::Write as _;

use ewulf_core::diagnostics::Diagnostics;
use serde::Serialize;

use crate::apply::{ApplyError, LockError, StepError};
use crate::aws::{CallError, Class, ConnectError};
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
        let hint = match &error {
            ConnectError::State { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "its credentials are readable by the user who started it and by root: use the same user, or sudo"
            }
            ConnectError::State { .. } | ConnectError::Credentials { .. } => "start it with `sudo ewulf local up`",
        };
        Self::of(Kind::Failed, &error).hint(hint)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let kind = match error.class {
            Class::Permission | Class::Quota | Class::Capacity => Kind::Refused,
            _ => Kind::Failed,
        };
        let failure = Self::of(kind, &error);
        match call_hint(&error) {
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
            ApplyError::Step { source: StepError::Call(call), .. } => {
                let below = Self::from(call.clone());
                Self { hints: below.hints, ..Self::of(below.kind, &error) }.hint(again)
            }
            ApplyError::Step { .. } => Self::of(Kind::Failed, &error).hint(again),
        }
    }
}

/// Actions of ewulf that belong to SSM; all others are EC2's.
const SSM_ACTIONS: [&str; 10] = [
    "CancelCommand",
    "DeleteParameter",
    "DescribeInstanceInformation",
    "GetCommandInvocation",
    "GetParameter",
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

/// Says what to do about a call that failed, by its class and code.
fn call_hint(error: &CallError) -> Option<String> {
    Some(match (error.class, error.code.as_deref()) {
        (
            Class::Permission,
            Some(
                "AuthFailure" | "SignatureDoesNotMatch" | "InvalidClientTokenId" | "UnrecognizedClientException" | "ExpiredToken"
                | "ExpiredTokenException" | "RequestExpired" | "MissingAuthenticationToken",
            ),
        ) => "the credentials are wrong or too old: `ewulf doctor` says where they come from; `aws sso login` renews them".to_owned(),
        (Class::Permission, Some("OptInRequired" | "Blocked" | "PendingVerification")) => {
            "the account is not ready for this service: see the AWS console's account page".to_owned()
        }
        (Class::Permission, _) if error.call == "RunInstances" => {
            "allow ec2:RunInstances, and iam:PassRole for the spec's instance profile; docs/aws-policy.json lists all that ewulf needs"
                .to_owned()
        }
        (Class::Permission, _) => {
            format!("allow {}; docs/aws-policy.json lists all that ewulf needs", permission(error.call))
        }
        (Class::Quota, _) => format!(
            "the account's quota for {} is used up: ask for more under Service Quotas in the AWS console, or ask for less in the spec",
            permission(error.call)
        ),
        (Class::Capacity, Some("InsufficientFreeAddressesInSubnet")) => {
            "the subnet has no address left: write a larger `network.cidr` or fewer workers".to_owned()
        }
        (Class::Capacity, _) => {
            "EC2 has no room for this now: try another `network.zone`, `instance_type` or `market`, or later".to_owned()
        }
        (Class::Unreachable, _) => "`ewulf doctor` looks at endpoint and network".to_owned(),
        (Class::Credentials, _) => {
            "`aws configure`, `aws sso login` or AWS_PROFILE bring them; or try it on this machine: `--cloud local`".to_owned()
        }
        (Class::Throttled, _) => "the account makes too many calls at once: repeat the command, it goes on where it stopped".to_owned(),
        (Class::Ambiguous, _) => "nobody knows whether it took effect: repeat the command, it looks before it acts".to_owned(),
        (Class::NotFound | Class::Conflict | Class::Exists | Class::Invalid, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call_error(call: &'static str, code: &str, class: Class) -> CallError {
        CallError { call, object: "vpc".to_owned(), code: Some(code.to_owned()), message: "No.".to_owned(), class }
    }

    #[test]
    fn a_refusal_names_the_permission_that_is_missing() {
        let failure = Failure::from(call_error("SendCommand", "AccessDeniedException", Class::Permission));
        assert_eq!(failure.kind.code(), 4);
        assert!(failure.hints[0].starts_with("allow ssm:SendCommand;"), "{:?}", failure.hints);
        let failure = Failure::from(call_error("CreateVpc", "UnauthorizedOperation", Class::Permission));
        assert!(failure.hints[0].starts_with("allow ec2:CreateVpc;"), "{:?}", failure.hints);
    }

    #[test]
    fn a_quota_names_the_action() {
        let failure = Failure::from(call_error("CreateVpc", "VpcLimitExceeded", Class::Quota));
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.hints[0].contains("ec2:CreateVpc"), "{:?}", failure.hints);
    }

    #[test]
    fn causes_are_told_once_each_below_the_message() {
        let io = std::io::Error::other("disk is full");
        let error = OutputError::Write(io);
        let failure = Failure::from(error).hint("make room");
        assert_eq!(
            failure.render(Style::new(false)),
            "error: standard output: cannot be written\n  caused by: disk is full\nhint: make room\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = OutputError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(Failure::from(error).kind.code(), 0);
    }
}
