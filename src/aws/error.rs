//! One classification of everything a call can answer; codes are matched, never texts.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

/// What kind of failure it is, and so what may be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Too many requests: wait and repeat.
    Throttled,
    /// No capacity for this type, zone or market: try another.
    Capacity,
    /// A quota of the account: only its owner can raise it.
    Quota,
    /// The credentials may not do this.
    Permission,
    /// The object is not (or not yet) visible.
    NotFound,
    /// Something else still uses the object, or it is in another state: wait and repeat.
    Conflict,
    /// It exists already.
    Exists,
    /// Nobody knows whether it took effect: look before repeating.
    Ambiguous,
    /// The request is wrong: repeating it is useless.
    Invalid,
    /// No answer at all: endpoint down, name not resolved.
    Unreachable,
    /// Not even asked: there are no credentials to ask with.
    Credentials,
}

/// A call that failed: which, on what, how.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{object}: {call} {}{message}", self.verb())]
pub struct CallError {
    pub call: &'static str,
    pub object: String,
    pub code: Option<String>,
    pub message: String,
    pub class: Class,
}

impl CallError {
    /// Whether the error carries this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// What happened to the call, up to the message.
    fn verb(&self) -> String {
        match (self.class, &self.code) {
            (_, Some(code)) => format!("answered {code}: "),
            (Class::Unreachable, None) => "got no answer: ".to_owned(),
            (Class::Credentials, None) => "was not sent, for want of credentials: ".to_owned(),
            (_, None) => "answered ".to_owned(),
        }
    }

    /// A failure that ewulf itself found in an answer.
    pub fn unexpected(call: &'static str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { call, object: object.into(), code: None, message: message.into(), class: Class::Invalid }
    }
}

/// Turns an SDK error of `call` on `object` into a classified one.
pub fn failure<E>(call: &'static str, object: impl Into<String>, error: SdkError<E, HttpResponse>) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let object = object.into();
    let code = error.code().map(str::to_owned);
    let class = match (&error, code.as_deref()) {
        (_, Some(code)) => classify(code),
        (SdkError::TimeoutError(_) | SdkError::ResponseError(_), None) => Class::Ambiguous,
        (SdkError::DispatchFailure(_), None) if lacks_credentials(&error) => Class::Credentials,
        (SdkError::DispatchFailure(_), None) => Class::Unreachable,
        (SdkError::ServiceError(context), None) if context.raw().status().as_u16() >= 500 => Class::Ambiguous,
        _ => Class::Invalid,
    };
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => describe(&error),
    };
    CallError { call, object, code, message, class }
}

/// Whether the search for credentials is among the causes of an error.
fn lacks_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<CredentialsError>())
}

/// Joins an error and its causes into one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Sorts an error code of EC2 or SSM into its class (reference: ec2.md sections 1.9, 3.5, 4.1, 5.4).
pub fn classify(code: &str) -> Class {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "EC2ThrottledException" => Class::Throttled,
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "Unsupported"
        | "UnfulfillableCapacity"
        | "ReservationCapacityExceeded"
        | "SpotMaxPriceTooLow"
        | "InsufficientFreeAddressesInSubnet" => Class::Capacity,
        "VcpuLimitExceeded"
        | "InstanceLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "PrivateIpAddressLimitExceeded"
        | "PlacementGroupLimitExceeded"
        | "ResourceCountExceeded"
        | "VpcLimitExceeded"
        | "SubnetLimitExceeded"
        | "InternetGatewayLimitExceeded"
        | "SecurityGroupLimitExceeded"
        | "ResourceLimitExceeded"
        | "ParameterLimitExceeded" => Class::Quota,
        "UnauthorizedOperation"
        | "AuthFailure"
        | "AccessDenied"
        | "AccessDeniedException"
        | "SignatureDoesNotMatch"
        | "OptInRequired"
        | "Blocked"
        | "PendingVerification"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "MissingAuthenticationToken"
        | "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => Class::Permission,
        "DependencyViolation"
        | "IncorrectState"
        | "IncorrectInstanceState"
        | "VolumeInUse"
        | "InvalidGroup.InUse"
        | "InvalidPlacementGroup.InUse"
        | "InvalidSnapshot.InUse"
        | "InvalidNetworkInterface.InUse"
        | "ConcurrentTagAccess"
        | "Resource.AlreadyAssociated"
        | "IncorrectModificationState"
        | "InvalidInstanceId"
        | "TargetNotConnected"
        | "OperationNotPermitted"
        | "InvalidVolume.InUse" => Class::Conflict,
        "InvalidGroup.Duplicate"
        | "InvalidKeyPair.Duplicate"
        | "InvalidPlacementGroup.Duplicate"
        | "InvalidPermission.Duplicate"
        | "InvalidLaunchTemplateName.AlreadyExistsException"
        | "InvalidAMIName.Duplicate"
        | "RouteAlreadyExists"
        | "ParameterAlreadyExists" => Class::Exists,
        "InternalError"
        | "ServerInternal"
        | "Unavailable"
        | "ServiceUnavailable"
        | "InternalServerError"
        | "InternalFailure"
        | "RequestTimeout"
        | "RequestTimeoutException" => Class::Ambiguous,
        "InvalidPlacementGroup.Unknown"
        | "InvalidAMIID.Unavailable"
        | "Gateway.NotAttached"
        | "InvocationDoesNotExist"
        | "ParameterNotFound"
        | "InvalidLaunchTemplateName.NotFoundException"
        | "InvalidLaunchTemplateId.VersionNotFound" => Class::NotFound,
        code if code.ends_with(".NotFound") => Class::NotFound,
        _ => Class::Invalid,
    }
}
