//! What was asked to go wrong with a request, before and after it takes effect; the same for every protocol.

use tokio::sync::watch;

use super::requests::Service;
use crate::faults::{Facts, Fault, Stage};
use crate::wire::error::ApiError;

/// Why a request is not answered as it wished.
pub(super) enum Denial {
    Refused(ApiError),
    /// It gets no answer: its connection ends instead.
    Severed,
}

impl From<ApiError> for Denial {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// Meets what stands before a call; whether it exceeds the request limits is asked only where there are any.
pub(super) async fn before(service: &Service, facts: &Facts, exceeds: impl FnOnce() -> bool) -> Result<(), Denial> {
    let cloud = &service.cloud;
    if cloud.faults.is_empty() {
        return Ok(());
    }
    let (delay, end) = cloud.faults.before(facts);
    if !delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = hang(service.ended.clone()) => return Err(Denial::Severed),
        }
    }
    let error = match end {
        None if cloud.faults.has(Stage::Throttle) && exceeds() => throttled(facts),
        None => return Ok(()),
        Some(Fault::Error { code, message, status }) => {
            let message = message.unwrap_or_else(|| format!("{code} was asked for"));
            ApiError::new(code, message).with_status(status.unwrap_or(400))
        }
        Some(Fault::InternalError) => {
            internal(facts, ["InternalError", "InternalServerException", "InternalServerError"]).with_status(500)
        }
        Some(Fault::Unavailable) => internal(facts, ["Unavailable", "ServiceUnavailable", "ServiceUnavailable"]).with_status(503),
        Some(Fault::Throttled) => throttled(facts),
        Some(Fault::Deny) => denied(facts),
        Some(Fault::Hang) => {
            hang(service.ended.clone()).await;
            return Err(Denial::Severed);
        }
        Some(_) => return Err(Denial::Severed),
    };
    Err(error.into())
}

/// Meets what befalls the answer of a call that took effect.
pub(super) async fn after(fault: Option<Fault>, ended: watch::Receiver<bool>) -> Result<(), Denial> {
    match fault {
        None => Ok(()),
        Some(Fault::ErrorAfter { code }) => {
            let code = code.unwrap_or_else(|| "InternalError".to_owned());
            Err(ApiError::new(code, "An internal error has occurred").with_status(500).into())
        }
        Some(Fault::HangAfter) => {
            hang(ended).await;
            Err(Denial::Severed)
        }
        Some(_) => Err(Denial::Severed),
    }
}

/// A failure in the word of EC2, of EBS direct, or of the others.
fn internal(facts: &Facts, [ec2, ebs, others]: [&'static str; 3]) -> ApiError {
    let code = match facts.service {
        "ec2" => ec2,
        "ebs" => ebs,
        _ => others,
    };
    ApiError::new(code, "An internal error has occurred")
}

/// Each service has its own word for it (ec2.md 3.2).
fn throttled(facts: &Facts) -> ApiError {
    match facts.service {
        "ec2" => ApiError::new("RequestLimitExceeded", "Request limit exceeded.").with_status(503),
        "ebs" => ApiError::new("RequestThrottledException", "Rate exceeded"),
        _ => ApiError::new("ThrottlingException", "Rate exceeded"),
    }
}

fn denied(facts: &Facts) -> ApiError {
    if facts.service == "ec2" {
        return ApiError::new("UnauthorizedOperation", "You are not authorized to perform this operation.").with_status(403);
    }
    let message = format!("User is not authorized to perform: {}:{}", facts.service, facts.action);
    let denied = ApiError::new("AccessDeniedException", message);
    if facts.service == "ebs" { denied.with_status(403) } else { denied }
}

/// Waits until the server ends.
async fn hang(mut ended: watch::Receiver<bool>) {
    // A server that is gone has ended too.
    let _ = ended.wait_for(|ended| *ended).await;
}
