//! What a launch asks for beyond its network and its volumes, checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key_pair::launch_key;
use super::launch_placement::{self, ChosenGroup};
use super::turn::{self, Turn, tag_specifications};
use crate::model::ec2::instance_types::{self, InstanceType};
use crate::model::ec2::{
    CpuOptions, Image, ImageState, InstanceProfile, MetadataOptions, PUBLIC_IMAGES, ShutdownBehavior, Tags, new_id,
};
use crate::operations::ssm;
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
    pub placement_group: Option<ChosenGroup>,
    pub shutdown_behavior: ShutdownBehavior,
    pub spot: bool,
    /// Dollars an hour, as asked.
    pub max_price: Option<String>,
    pub cpu_credits: Option<String>,
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
    pub spot_request: Tags,
}

/// Finds the image that a launch names, by id or as `resolve:ssm:NAME`.
pub(super) fn find_image<'a>(turn: &'a Turn<'_>, query: &Query) -> Result<&'a Image, ApiError> {
    let named = query.required("ImageId")?;
    let resolved = match named.strip_prefix("resolve:") {
        None => None,
        Some(rest) => Some(resolve(turn, rest)?),
    };
    let id = resolved.as_deref().unwrap_or(named);
    let image = turn::IMAGE.find(&turn.ec2.images, id)?;
    if image.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!("The image ID '{id}' is not available; its state is {}", image.state.wire()),
        ));
    }
    if image.layers.first().is_some_and(|base| !has_base(base)) && !turn.config.records {
        return Err(ApiError::new(
            "UnsupportedOperation",
            format!("The image '{id}' is a record in this cloud; only a cloud without nodes launches from it."),
        ));
    }
    Ok(image)
}

/// Whether nodes can be made of this layer: it is no public image's, or that image has a base here.
fn has_base(layer: &str) -> bool {
    PUBLIC_IMAGES.iter().find(|public| public.base == layer).is_none_or(|public| public.has_base)
}

/// The image id that a parameter holds: `ssm:NAME`, with a version or a label after a further colon.
pub(super) fn resolve(turn: &Turn<'_>, text: &str) -> Result<String, ApiError> {
    let unresolved = || ApiError::invalid_value(format!("The image ID 'resolve:{text}' could not be resolved to an AMI ID"));
    let name = text.strip_prefix("ssm:").ok_or_else(unresolved)?;
    let value = ssm::value_of(turn.ec2, turn.ssm, name).ok_or_else(unresolved)?;
    turn::IMAGE.check(&value).map_err(|_| unresolved())?;
    Ok(value)
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
        Some("capacity-block") => return Err(ApiError::unsupported_parameter("InstanceMarketOptions.MarketType=capacity-block")),
        Some(other) => return Err(ApiError::invalid_value(format!("Invalid value '{other}' for MarketType."))),
    };
    if spot && !kind.spot {
        return Err(ApiError::new("UnsupportedOperation", format!("{} is not supported for spot requests.", kind.name)));
    }
    let max_price = max_price(spot, query)?;
    let disable_api_termination = query.boolean("DisableApiTermination")?.unwrap_or(false);
    if spot && disable_api_termination {
        return Err(ApiError::new("UnsupportedOperation", "Termination protection is not supported for Spot Instances."));
    }
    let mut tags = tag_specifications(query, &["instance", "volume", "network-interface", "spot-instances-request"])?;
    let metadata_options = metadata_options(query)?;
    if let Some(tags) = tags.get("instance").filter(|_| metadata_options.instance_tags) {
        check_metadata_tags(tags)?;
    }
    Ok(Options {
        kind,
        key,
        user_data: user_data(query.text("UserData"))?,
        cpu_options: cpu_options(kind, query)?,
        metadata_options,
        iam_instance_profile: instance_profile(&turn.ec2.account, query)?,
        placement_group: launch_placement::read(turn.ec2, kind, query)?,
        shutdown_behavior: shutdown_behavior(query.text("InstanceInitiatedShutdownBehavior"))?,
        spot,
        max_price,
        cpu_credits: cpu_credits(kind, query.text("CreditSpecification.CpuCredits"))?,
        monitoring: query.boolean("Monitoring.Enabled")?.unwrap_or(false),
        ebs_optimized: query.boolean("EbsOptimized")?.unwrap_or(false),
        disable_api_termination,
        disable_api_stop: query.boolean("DisableApiStop")?.unwrap_or(false),
        tags: LaunchTags {
            instance: tags.remove("instance").unwrap_or_default(),
            volume: tags.remove("volume").unwrap_or_default(),
            interface: tags.remove("network-interface").unwrap_or_default(),
            spot_request: tags.remove("spot-instances-request").unwrap_or_default(),
        },
    })
}

/// The highest price of a spot launch, in dollars an hour.
fn max_price(spot: bool, query: &Query) -> Result<Option<String>, ApiError> {
    let options = query.structure("InstanceMarketOptions.SpotOptions");
    if !spot && options.is_some() {
        return Err(ApiError::invalid_combination("SpotOptions are for the market type spot alone"));
    }
    let Some(text) = options.and_then(|options| options.text("MaxPrice")) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price > 0.0 => Ok(Some(text.to_owned())),
        _ => Err(ApiError::invalid_value(format!("Invalid value '{text}' for MaxPrice."))),
    }
}

/// The credit option of a burstable type; other types have none.
pub(super) fn cpu_credits(kind: &InstanceType, asked: Option<&str>) -> Result<Option<String>, ApiError> {
    match (kind.burstable(), asked) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(ApiError::new(
            "InstanceCreditSpecification.NotSupported",
            format!("The instance type {} does not support CPU credits.", kind.name),
        )),
        (true, Some(word @ ("standard" | "unlimited"))) => Ok(Some(word.to_owned())),
        (true, Some(other)) => Err(ApiError::invalid_value(format!("Invalid value '{other}' for CpuCredits."))),
        // T2 is the one family that starts as standard.
        (true, None) => Ok(Some(if kind.family() == "t2" { "standard" } else { "unlimited" }.to_owned())),
    }
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
        ("MetadataOptions.HttpProtocolIpv6", "disabled"),
    ];
    for (name, value) in only_value {
        if query.text(name).is_some_and(|given| given != value) {
            return Err(ApiError::unsupported_parameter(name));
        }
    }
    // Without reservations, `open` and `none` are the same.
    let preference = "CapacityReservationSpecification.CapacityReservationPreference";
    if query.text(preference).is_some_and(|given| !["open", "none"].contains(&given)) {
        return Err(ApiError::unsupported_parameter(preference));
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
    match query.structure("CpuOptions") {
        None => Ok(default_cpu_options(kind)),
        Some(asked) => read_cpu_options(kind, asked),
    }
}

/// Reads `CoreCount` and `ThreadsPerCore`, which the type must offer.
pub(super) fn read_cpu_options(kind: &InstanceType, query: &Query) -> Result<CpuOptions, ApiError> {
    let cores = query.integer("CoreCount")?;
    let threads = query.integer("ThreadsPerCore")?;
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
    if let Some(asked) = query.structure("MetadataOptions") {
        change_metadata_options(&mut options, asked)?;
    }
    Ok(options)
}

/// Refuses tags that the metadata service could not show: keys are names in its tree (ec2.md 2.8).
pub(super) fn check_metadata_tags(tags: &Tags) -> Result<(), ApiError> {
    // EC2's own tags are not shown.
    let mut own = tags.keys().filter(|key| !key.starts_with("aws:"));
    match own.find(|key| key.contains([' ', '/']) || [".", "..", "_index"].contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ApiError::invalid_value(format!(
            "'{key}' is not a valid tag key. With instance metadata tags enabled, keys may not contain spaces or '/', or be '.', '..' or '_index'"
        ))),
    }
}

/// Changes the options that are given, and leaves the others.
pub(super) fn change_metadata_options(options: &mut MetadataOptions, query: &Query) -> Result<(), ApiError> {
    let switch = |name: &str, on: &str, off: &str, value: &mut bool| match query.text(name) {
        None => Ok(()),
        Some(text) if text == on || text == off => {
            *value = text == on;
            Ok(())
        }
        Some(other) => Err(ApiError::invalid_value(format!("Value ({other}) for parameter {name} is invalid."))),
    };
    switch("HttpEndpoint", "enabled", "disabled", &mut options.http_endpoint)?;
    switch("HttpTokens", "required", "optional", &mut options.tokens_required)?;
    switch("InstanceMetadataTags", "enabled", "disabled", &mut options.instance_tags)?;
    if let Some(limit) = query.integer("HttpPutResponseHopLimit")? {
        options.hop_limit = u32::try_from(limit).ok().filter(|limit| (1..=64).contains(limit)).ok_or_else(|| {
            ApiError::invalid_value(format!("Value ({limit}) for parameter HttpPutResponseHopLimit is invalid."))
        })?;
    }
    Ok(())
}

/// ARN and id of the profile; this cloud has no IAM, so every well-formed name is believed.
pub(super) fn instance_profile(account: &str, query: &Query) -> Result<Option<(String, String)>, ApiError> {
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
    profile.map(|(arn, id)| InstanceProfile {
        arn: arn.clone(),
        id: id.clone(),
        association_id: new_id("iip-assoc"),
        since: None,
    })
}
