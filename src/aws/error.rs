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
    /// The object is not visible, and nobody has said yet which of the next two it is: see [`CallError::settled`].
    NotFound,
    /// It was made moments ago and is not visible everywhere yet: wait and repeat.
    NotYet,
    /// It is no longer there: for a removal that is success.
    Gone,
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

/// What may be done about a class of failures, whoever called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Wait and repeat the same call: it has no effect before it succeeds.
    Repeat,
    /// Wait and repeat where the caller knows that the state will pass.
    Wait,
    /// Ask [`CallError::settled`] which of two classes it is.
    Settle,
    /// Look whether it took effect before repeating.
    LookFirst,
    /// Take what is there.
    Adopt,
    /// It is already as a removal wants it.
    Accept,
    /// Ask for another type, zone or market.
    TryElsewhere,
    /// Repeating is useless: a person must change something.
    Stop,
}

impl Class {
    pub fn handling(self) -> Handling {
        match self {
            Self::Throttled | Self::NotYet => Handling::Repeat,
            Self::Conflict => Handling::Wait,
            Self::NotFound => Handling::Settle,
            Self::Ambiguous | Self::Unreachable => Handling::LookFirst,
            Self::Exists => Handling::Adopt,
            Self::Gone => Handling::Accept,
            Self::Capacity => Handling::TryElsewhere,
            Self::Quota | Self::Permission | Self::Invalid | Self::Credentials => Handling::Stop,
        }
    }
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

    /// Tells what an object that was not found is, which its code cannot: not visible yet if this run made it moments
    /// ago (ec2.md 1.2, 1.6), else gone.
    pub fn settled(mut self, made_recently: bool) -> Self {
        if self.class == Class::NotFound {
            self.class = if made_recently { Class::NotYet } else { Class::Gone };
        }
        self
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

/// Sorts an error code of EC2, SSM or the EBS direct API, or the code of an instance's `StateReason`, into its class
/// (ec2.md 1.9, 3.2, 3.5, 4.1, 4.4, 5.4, 8.1, 8.7).
pub fn classify(code: &str) -> Class {
    match code {
        // The guide reads it as a key that the launch may not use for the encrypted root volume (ec2.md 4.4).
        "Client.InternalError" => return Class::Permission,
        // EC2 took a spot instance back: its pool has no room any more.
        "Server.SpotInstanceTermination" => return Class::Capacity,
        // Somebody ended the instance, from inside or by the API.
        "Client.InstanceInitiatedShutdown" | "Client.UserInitiatedShutdown" | "Client.InstanceTerminated" => return Class::Gone,
        _ => {}
    }
    // A StateReason puts before the code whose fault it was.
    let code = code.strip_prefix("Server.").or_else(|| code.strip_prefix("Client.")).unwrap_or(code);
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "TooManyUpdates"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "LimitExceededException"
        | "PriorRequestNotComplete"
        | "ConcurrentLimitExceededException"
        | "SnapshotCreationPerVolumeRateExceeded"
        | "ConcurrentCreateImageNoRebootLimitExceeded" => Class::Throttled,
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacityOnHost"
        | "InsufficientVolumeCapacity"
        | "InsufficientAddressCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "Unsupported"
        | "UnfulfillableCapacity"
        | "ReservationCapacityExceeded"
        | "SpotMaxPriceTooLow" => Class::Capacity,
        "MaxSpotInstanceCountExceeded" | "ResourceCountExceeded" | "ServiceQuotaExceededException" => Class::Quota,
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
        | "MissingAuthenticationToken" => Class::Permission,
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
        | "VolumeModificationRateExceeded"
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
        // A quota of one kind of resource each: VcpuLimitExceeded, VpcLimitExceeded, RulesPerSecurityGroupLimitExceeded …
        code if code.ends_with("LimitExceeded") => Class::Quota,
        code if code.starts_with("AuthFailure.") => Class::Permission,
        _ => Class::Invalid,
    }
}

/// The quota behind a code, as the Service Quotas console calls it; those on instances depend on family and market.
///
/// None for codes that do not tell which quota it is, and for instance families that are in none of the known quotas.
pub fn quota(code: &str, instance_type: Option<&str>, spot: bool) -> Option<String> {
    let code = code.strip_prefix("Client.").unwrap_or(code);
    Some(
        match code {
            "VcpuLimitExceeded" | "InstanceLimitExceeded" => return instance_quota(instance_type?, spot),
            "MaxSpotInstanceCountExceeded" => return instance_quota(instance_type?, true),
            "VpcLimitExceeded" => "VPCs per Region",
            "SubnetLimitExceeded" => "Subnets per VPC",
            "InternetGatewayLimitExceeded" => "Internet gateways per Region",
            "SecurityGroupLimitExceeded" => "VPC security groups per Region",
            "RulesPerSecurityGroupLimitExceeded" => "Inbound or outbound rules per security group",
            "SecurityGroupsPerInterfaceLimitExceeded" => "Security groups per network interface",
            "RouteTableLimitExceeded" => "Route tables per VPC",
            "RouteLimitExceeded" => "Routes per route table",
            "NetworkInterfaceLimitExceeded" => "Network interfaces per Region",
            "AddressLimitExceeded" => "EC2-VPC Elastic IPs",
            "PlacementGroupLimitExceeded" => "Placement groups per Region",
            "VolumeLimitExceeded" | "VolumeSizeLimitExceeded" => "Storage for General Purpose SSD (gp3) volumes, in TiB",
            "MaxIOPSLimitExceeded" => "IOPS of provisioned volumes",
            "SnapshotLimitExceeded" => "Snapshots per Region",
            "PendingSnapshotLimitExceeded" | "ConcurrentSnapshotLimitExceeded" => "Concurrent snapshots per volume",
            "TagLimitExceeded" => "Tags per resource (50, fixed)",
            "ParameterLimitExceeded" => "Standard parameters in Systems Manager",
            _ => return None,
        }
        .to_owned(),
    )
}

/// The quota on vCPUs that a type counts against: one for the standard families together, one for each group of others.
fn instance_quota(instance_type: &str, spot: bool) -> Option<String> {
    let family = instance_type.split('.').next().unwrap_or(instance_type);
    let letters: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let standard = "Standard (A, C, D, H, I, M, R, T, Z)";
    let group = match letters.as_str() {
        "hpc" => "HPC",
        "p" => "P",
        "g" | "vt" | "gr" => "G and VT",
        "f" => "F",
        "x" => "X",
        "inf" => "Inf",
        "trn" => "Trn",
        "dl" => "DL",
        "u" => "High Memory",
        "a" | "c" | "d" | "h" | "i" | "im" | "is" | "m" | "r" | "t" | "z" => standard,
        _ => return None,
    };
    Some(match (spot, group) {
        (false, group) => format!("Running On-Demand {group} instances (vCPUs)"),
        (true, group) => format!("All {group} Spot Instance Requests (vCPUs)"),
    })
}
