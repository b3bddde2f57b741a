//! What a caller is told when an action fails: a code of the API, a sentence, an HTTP status.

use std::borrow::Cow;

/// A refusal, in the API's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    pub code: Cow<'static, str>,
    pub message: String,
    pub status: u16,
}

impl ApiError {
    /// Makes a client error (status 400).
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400 }
    }

    /// Answers with another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// An action that this cloud does not know.
    pub fn invalid_action(action: &str) -> Self {
        Self::new("InvalidAction", format!("The action {action} is not valid for this web service."))
    }

    pub fn missing_parameter(name: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {name}"))
    }

    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub fn invalid_combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub fn unknown_parameter(name: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {name} is not recognized"))
    }

    /// A parameter of EC2 that would change behaviour here and is not built.
    pub fn unsupported_parameter(name: &str) -> Self {
        Self::new("UnsupportedOperation", format!("The parameter {name} is not supported by this cloud."))
    }

    /// The deletion of something that others still need.
    pub fn dependency(message: impl Into<String>) -> Self {
        Self::new("DependencyViolation", message)
    }

    /// `DryRun` was set and the request would have succeeded.
    pub fn dry_run() -> Self {
        // 412 is what the service model's extras name; AWS documents the code alone.
        Self::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").with_status(412)
    }

    /// A failure of the machine below.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalError", message).with_status(500)
    }
}
