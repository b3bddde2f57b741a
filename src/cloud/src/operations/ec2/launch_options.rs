//! What a launch asks for beyond its network and its volumes, checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key_pair::launch_key;
use super::turn::{self, Turn, tag_specifications};
use crate::model::ec2::instance_types::{self, InstanceType};
use crate::model::ec2::{
    CpuOptions, Ec2, Image, ImageState, InstanceProfile, MetadataOptions, PlacementGroup, ShutdownBehavior, Tags, new_id,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;

/// Raw size limit (ec2.md 9.3).
const USER_DATA_LIMIT: usize = 16 * 1024;

/// Everything that holds for each instance of a launch.
pub(super) struct Options {
    pub kind: &'static InstanceType,
    pub user_data: Vec<u8>,
    pub cpu_options: CpuOptions,
    pub metadata_options: MetadataOptions,
    pub iam_instance_profile: Option<(String, String)>,
    pub placement_group: Option<String>,
    pub shutdown_behavior: ShutdownBehavior,
    pub spot: bool,
    pub monitoring: bool,
    pub ebs_optimized: bool,
    pub disable_api_termination: bool,
    pub disable_api_stop: bool,
    pub tags: LaunchTags,
    /// Name and public key of its key pair.
    pub key: Option<(String, String)>,
}

/// Tags for what a launch makes.
#[derive(Default)]
pub(super) struct LaunchTags {
    pub instance: Tags,
    pub volume: Tags,
    pub interface: Tags,
}

/// Finds the image that a launch names.
pub(super) fn find_image<'a>(ec2: &'a Ec2, query: &Query) -> Result<&'a Image, ApiError> {
    let id = query.required("ImageId")?;
    if id.starts_with("resolve:") {
        return Err(ApiError::unsupported_parameter("ImageId=resolve:…"));
    }
    let image = turn::IMAGE.find(&ec2.images, id)?;
    if image.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{id}' is not available; its state is {}", image.state.wire()),
        ));
    }
    Ok(image)
}

/// The type of this name.
pub(super) fn find_type(name: &str) -> Result<&'static InstanceType, ApiError> {
    instance_types::find(name).ok_or_else(|| ApiError::invalid_value(format!("Invalid value '{name}' for InstanceType.")))
}

pub(super) fn read(turn: &Turn<'_>, query: &Query) -> Result<Options, ApiError> {
    refuse_what_is_not_built(query)?;
    let kind = find_type(query.required("InstanceType")?)?;
    let key = launch_key(turn.ec2, query)?;
    let spot = match query.text("InstanceMarketOptions.MarketType") {
        None | Some("on-demand") => false,
        Some("spot") => true,
        Some(other) => return Err(ApiError::invalid_value(format!("Invalid value '{other}' for MarketType."))),
    };
    if spot && !kind.spot {
        return Err(ApiError::new("UnsupportedOperation", format!("{} is not supported for spot requests.", kind.name)));
    }
    let mut tags = tag_specifications(query, &["instance", "volume", "network-interface", "spot-instances-request"])?;
    Ok(Options {
        kind,
        key,
        user_data: user_data(query.text("UserData"))?,
        cpu_options: cpu_options(kind, query)?,
        metadata_options: metadata_options(query)?,
        iam_instance_profile: instance_profile(&turn.ec2.account, query)?,
        placement_group: placement_group(turn.ec2, kind, query)?.map(|group| group.name.clone()),
        shutdown_behavior: shutdown_behavior(query.text("InstanceInitiatedShutdownBehavior"))?,
        spot,
        monitoring: query.boolean("Monitoring.Enabled")?.unwrap_or(false),
        ebs_optimized: query.boolean("EbsOptimized")?.unwrap_or(false),
        disable_api_termination: query.boolean("DisableApiTermination")?.unwrap_or(false),
        disable_api_stop: query.boolean("DisableApiStop")?.unwrap_or(false),
        tags: LaunchTags {
            instance: tags.remove("instance").unwrap_or_default(),
            volume: tags.remove("volume").unwrap_or_default(),
            interface: tags.remove("network-interface").unwrap_or_default(),
        },
    })
}

/// Refuses values that would change a node in a way that this cloud cannot.
fn refuse_what_is_not_built(query: &Query) -> Result<(), ApiError> {
    for name in ["HibernationOptions.Configured", "EnclaveOptions.Enabled"] {
        if query.boolean(name)? == Some(true) {
            return Err(ApiError::unsupported_parameter(name));
        }
    }
    let only_value = [
        ("Placement.Tenancy", "default"),
        ("PrivateDnsNameOptions.HostnameType", "ip-name"),
        ("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
        ("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"),
    ];
    for (name, value) in only_value {
        if query.text(name).is_some_and(|given| given != value) {
            return Err(ApiError::unsupported_parameter(name));
        }
    }
    Ok(())
}

/// Decodes user data and holds it to the limit.
pub(super) fn user_data(text: Option<&str>) -> Result<Vec<u8>, ApiError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let compact: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let bytes = STANDARD
        .decode(compact)
        .map_err(|_| ApiError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))?;
    if bytes.len() > USER_DATA_LIMIT {
        return Err(ApiError::invalid_value("User data is limited to 16384 bytes"));
    }
    Ok(bytes)
}

pub(super) fn shutdown_behavior(text: Option<&str>) -> Result<ShutdownBehavior, ApiError> {
    match text {
        None | Some("stop") => Ok(ShutdownBehavior::Stop),
        Some("terminate") => Ok(ShutdownBehavior::Terminate),
        Some(other) => {
            Err(ApiError::invalid_value(format!("Value ({other}) for parameter instanceInitiatedShutdownBehavior is invalid.")))
        }
    }
}

fn cpu_options(kind: &InstanceType, query: &Query) -> Result<CpuOptions, ApiError> {
    let cores = query.integer("CpuOptions.CoreCount")?;
    let threads = query.integer("CpuOptions.ThreadsPerCore")?;
    let (cores, threads) = match (cores, threads) {
        (None, None) => return Ok(default_cpu_options(kind)),
        (Some(cores), Some(threads)) => (cores, threads),
        _ => {
            return Err(ApiError::invalid_combination("You must specify both CoreCount and ThreadsPerCore in CpuOptions"));
        }
    };
    let among = |value: i64, valid: &[u32]| u32::try_from(value).ok().filter(|value| valid.contains(value));
    let cores = among(cores, &kind.valid_cores).ok_or_else(|| {
        ApiError::invalid_value(format!("Invalid value '{cores}' for CpuOptions.CoreCount with {}.", kind.name))
    })?;
    let threads_per_core = among(threads, &kind.valid_threads_per_core).ok_or_else(|| {
        ApiError::invalid_value(format!("Invalid value '{threads}' for CpuOptions.ThreadsPerCore with {}.", kind.name))
    })?;
    Ok(CpuOptions { cores, threads_per_core })
}

/// What a type has when nothing is asked.
pub(super) fn default_cpu_options(kind: &InstanceType) -> CpuOptions {
    CpuOptions { cores: kind.cores, threads_per_core: kind.threads_per_core }
}

fn metadata_options(query: &Query) -> Result<MetadataOptions, ApiError> {
    let mut options = MetadataOptions::default();
    let switch = |name: &str, on: &str, off: &str, value: &mut bool| match query.text(name) {
        None => Ok(()),
        Some(text) if text == on || text == off => {
            *value = text == on;
            Ok(())
        }
        Some(other) => Err(ApiError::invalid_value(format!("Value ({other}) for parameter {name} is invalid."))),
    };
    switch("MetadataOptions.HttpEndpoint", "enabled", "disabled", &mut options.http_endpoint)?;
    switch("MetadataOptions.HttpTokens", "required", "optional", &mut options.tokens_required)?;
    switch("MetadataOptions.InstanceMetadataTags", "enabled", "disabled", &mut options.instance_tags)?;
    if let Some(limit) = query.integer("MetadataOptions.HttpPutResponseHopLimit")? {
        options.hop_limit = u32::try_from(limit).ok().filter(|limit| (1..=64).contains(limit)).ok_or_else(|| {
            ApiError::invalid_value(format!("Value ({limit}) for parameter HttpPutResponseHopLimit is invalid."))
        })?;
    }
    Ok(options)
}

/// ARN and id of the profile; this cloud has no IAM, so every well-formed name is believed.
fn instance_profile(account: &str, query: &Query) -> Result<Option<(String, String)>, ApiError> {
    let arn = match (query.text("IamInstanceProfile.Arn"), query.text("IamInstanceProfile.Name")) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid_combination(
                "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
            ));
        }
        (Some(arn), None) if arn.starts_with("arn:aws:iam::") && arn.contains(":instance-profile/") => arn.to_owned(),
        (Some(arn), None) => {
            return Err(ApiError::invalid_value(format!(
                "Value ({arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN"
            )));
        }
        (None, Some(name)) if !name.is_empty() && !name.contains(['/', ' ']) => {
            format!("arn:aws:iam::{account}:instance-profile/{name}")
        }
        (None, Some(name)) => {
            return Err(ApiError::invalid_value(format!(
                "Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
            )));
        }
    };
    // Ids are stable: the same profile has the same id at each launch.
    let id: u64 =
        arn.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Ok(Some((arn, format!("AIPA{id:016X}"))))
}

/// One instance's own association with the launch's profile.
pub(super) fn associate(profile: Option<&(String, String)>) -> Option<InstanceProfile> {
    profile.map(|(arn, id)| InstanceProfile { arn: arn.clone(), id: id.clone(), association_id: new_id("iip-assoc") })
}

fn placement_group<'a>(ec2: &'a Ec2, kind: &InstanceType, query: &Query) -> Result<Option<&'a PlacementGroup>, ApiError> {
    let (id, name) = (query.text("Placement.GroupId"), query.text("Placement.GroupName").filter(|name| !name.is_empty()));
    let Some(asked) = id.or(name) else { return Ok(None) };
    let group = ec2
        .placement_groups
        .values()
        .find(|group| id.is_none_or(|id| id == group.id) && name.is_none_or(|name| name == group.name))
        .ok_or_else(|| turn::PLACEMENT_GROUP.missing(asked))?;
    if !kind.strategies.contains(&group.strategy.as_str()) {
        return Err(ApiError::invalid_combination(format!(
            "{} placement groups are not supported by the '{}' instance type. Specify a supported instance type or change the placement group strategy, and try again.",
            group.strategy, kind.name
        )));
    }
    Ok(Some(group))
}
