//! What a caller of the EBS direct API is told when a call fails.

use crate::node::DriverError;
use crate::wire::error::ApiError;

/// A refusal: an exception of the API, for some with a reason of a fixed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct EbsError {
    pub code: String,
    pub reason: Option<&'static str>,
    pub message: String,
    pub status: u16,
}

impl EbsError {
    fn new(code: &str, reason: Option<&'static str>, message: impl Into<String>, status: u16) -> Self {
        Self { code: code.to_owned(), reason, message: message.into(), status }
    }

    /// A call that makes no sense, or not now.
    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new("ValidationException", Some(reason), message, 400)
    }

    pub fn parameter(message: impl Into<String>) -> Self {
        Self::invalid("INVALID_PARAMETER_VALUE", message)
    }

    pub fn no_snapshot(id: &str) -> Self {
        let message = format!("snapshot {id} does not exist");
        Self::new("ResourceNotFoundException", Some("SNAPSHOT_NOT_FOUND"), message, 404)
    }

    /// A client token that came before with other parameters.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new("ConflictException", None, message, 409)
    }

    /// More at once than the account may have.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new("ConcurrentLimitExceededException", None, message, 400)
    }

    pub fn foreign(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", Some("UNAUTHORIZED_ACCOUNT"), message, 403)
    }

    pub fn unknown_action(message: impl Into<String>) -> Self {
        Self::new("UnknownOperationException", None, message, 404)
    }

    /// A failure of the machine below.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalServerException", None, message, 500)
    }
}

impl From<DriverError> for EbsError {
    fn from(error: DriverError) -> Self {
        Self::internal(crate::store::chain(&error))
    }
}

/// The wire's own refusals are about single parameters.
impl From<ApiError> for EbsError {
    fn from(error: ApiError) -> Self {
        Self::parameter(error.message)
    }
}
