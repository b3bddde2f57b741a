//! What every action shares: one call's view of the model, ids, idempotency tokens, tags in the creating call.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _};

use super::deeds::Deed;
use super::unkind::Unkind;
use crate::config::Config;
use crate::model::ec2::{Ec2, Tags, Token};
use crate::model::ssm::Ssm;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// One call: it reads and changes the model at once and leaves the deeds to be done after it.
pub(super) struct Turn<'a> {
    pub ec2: &'a mut Ec2,
    /// Parameter Store, which image ids may be read from.
    pub ssm: &'a Ssm,
    pub config: &'a Config,
    pub now: Timestamp,
    /// What may go wrong; None in a rehearsal, such as a dry run.
    pub unkind: Option<Unkind<'a>>,
    pub deeds: Vec<Deed>,
    /// The answer of a call that fails although a part of it was done.
    pub refusal: Option<ApiError>,
}

/// A parameter of EC2, and why it is ignored or refused.
pub(super) type Reasoned = (&'static str, &'static str);

/// An action: its name, what carries it out, what it accepts, ignores and refuses.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub name: &'static str,
    pub run: fn(&mut Turn<'_>, &Query) -> Result<Xml, ApiError>,
    /// Parameters that count, without list numbers; see [`super::admission`].
    pub parameters: &'static [&'static str],
    /// Parameters that are accepted and change nothing.
    pub ignored: &'static [Reasoned],
    /// Parameters that EC2 has and that would change what happens: refused by name.
    pub refused: &'static [Reasoned],
    /// Whether it changes the model.
    pub writes: bool,
    /// Whether it has a `DryRun`; a few actions have none (ec2.md 2.6).
    pub has_dry_run: bool,
}

impl Operation {
    pub const fn read(
        name: &'static str,
        run: fn(&mut Turn<'_>, &Query) -> Result<Xml, ApiError>,
        parameters: &'static [&'static str],
    ) -> Self {
        Self { name, run, parameters, ignored: &[], refused: &[], writes: false, has_dry_run: true }
    }

    pub const fn write(
        name: &'static str,
        run: fn(&mut Turn<'_>, &Query) -> Result<Xml, ApiError>,
        parameters: &'static [&'static str],
    ) -> Self {
        Self { writes: true, ..Self::read(name, run, parameters) }
    }

    /// Adds what it accepts and ignores.
    pub const fn ignoring(self, ignored: &'static [Reasoned]) -> Self {
        Self { ignored, ..self }
    }

    /// Adds what it refuses by name.
    pub const fn refusing(self, refused: &'static [Reasoned]) -> Self {
        Self { refused, ..self }
    }

    /// Takes its `DryRun` away.
    pub const fn without_dry_run(self) -> Self {
        Self { has_dry_run: false, ..self }
    }
}

impl Turn<'_> {
    /// The result of an earlier call with this client token; the same token with other parameters is refused.
    pub fn replayed(&self, scope: &str, query: &Query) -> Result<Option<String>, ApiError> {
        let Some(token) = query.text("ClientToken").filter(|token| !token.is_empty()) else { return Ok(None) };
        // The length EC2 allows for RunInstances; others allow at least that.
        if token.len() > 64 || !token.is_ascii() {
            return Err(ApiError::invalid_value("Invalid value for ClientToken: at most 64 ASCII characters"));
        }
        match self.ec2.tokens.get(&format!("{scope}/{token}")) {
            None => Ok(None),
            Some(earlier) if earlier.parameters == fingerprint(query) => Ok(Some(earlier.result.clone())),
            Some(_) => Err(ApiError::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )),
        }
    }

    /// Notes what the call's client token stands for.
    pub fn remember(&mut self, scope: &str, query: &Query, result: &str) {
        let Some(token) = query.text("ClientToken").filter(|token| !token.is_empty()) else { return };
        // EC2 keeps tokens for at least 24 hours (ec2.md 2.3).
        let oldest = self.now.saturating_sub(48.hours()).unwrap_or(Timestamp::MIN);
        self.ec2.tokens.retain(|_, token| token.at >= oldest);
        let entry = Token { parameters: fingerprint(query), result: result.to_owned(), at: self.now };
        self.ec2.tokens.insert(format!("{scope}/{token}"), entry);
    }
}

/// A call's parameters in canonical form, without those that do not count.
fn fingerprint(query: &Query) -> String {
    const IGNORED: [&str; 4] = ["Action", "ClientToken", "DryRun", "Version"];
    let mut text = String::new();
    for (path, value) in query.leaves() {
        if !IGNORED.contains(&path.as_str()) {
            text.push_str(&format!("{path}={value:?}\n"));
        }
    }
    text
}

/// Writes a time as EC2 does: milliseconds, UTC.
pub(super) fn wire_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A kind of resource: how its ids look and which codes speak of them.
pub(super) struct Kind {
    prefix: &'static str,
    noun: &'static str,
    missing: &'static str,
    malformed: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $prefix:literal, $noun:literal, $missing:literal, $malformed:literal;)*) => {
        $(pub(super) const $name: Kind =
            Kind { prefix: $prefix, noun: $noun, missing: $missing, malformed: $malformed };)*
    };
}

kinds! {
    VPC = "vpc", "vpc ID", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed";
    SUBNET = "subnet", "subnet ID", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed";
    GATEWAY = "igw", "internetGateway ID", "InvalidInternetGatewayID.NotFound", "InvalidInternetGatewayId.Malformed";
    ROUTE_TABLE = "rtb", "routeTable ID", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed";
    SECURITY_GROUP = "sg", "security group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed";
    RULE = "sgr", "security group rule ID", "InvalidSecurityGroupRuleId.NotFound", "InvalidSecurityGroupRuleId.Malformed";
    PLACEMENT_GROUP = "pg", "placement group", "InvalidPlacementGroup.Unknown", "InvalidPlacementGroupId.Malformed";
    SPOT_REQUEST = "sir", "spot instance request ID", "InvalidSpotInstanceRequestID.NotFound", "InvalidSpotInstanceRequestID.Malformed";
    FLEET = "fleet", "fleet ID", "InvalidFleetId.NotFound", "InvalidFleetId.Malformed";
    ASSOCIATION = "iip-assoc", "association ID", "InvalidAssociationID.NotFound", "InvalidAssociationID.Malformed";
    TEMPLATE = "lt", "launch template ID", "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.Malformed";
    INSTANCE = "i", "instance ID", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed";
    INTERFACE = "eni", "networkInterface ID", "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterfaceId.Malformed";
    ADDRESS = "eipalloc", "allocation ID", "InvalidAllocationID.NotFound", "InvalidAllocationID.Malformed";
    NAT_GATEWAY = "nat", "NAT gateway", "NatGatewayNotFound", "NatGatewayMalformed";
    ENDPOINT = "vpce", "Vpc Endpoint Id", "InvalidVpcEndpointId.NotFound", "InvalidVpcEndpointId.Malformed";
    NETWORK_ACL = "acl", "networkAcl ID", "InvalidNetworkAclID.NotFound", "InvalidNetworkAclId.Malformed";
    KEY_PAIR = "key", "key pair ID", "InvalidKeyPair.NotFound", "InvalidKeyPairId.Malformed";
    VOLUME = "vol", "volume", "InvalidVolume.NotFound", "InvalidVolumeID.Malformed";
    SNAPSHOT = "snap", "snapshot", "InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed";
    ROOT_REPLACEMENT = "replacevol", "replace root volume task ID", "InvalidReplaceRootVolumeTaskId.NotFound", "InvalidReplaceRootVolumeTaskId.Malformed";
    IMAGE = "ami", "image id", "InvalidAMIID.NotFound", "InvalidAMIID.Malformed";
}

impl Kind {
    /// Refuses an id that could not be one of this kind: the prefix, then 8 or 17 hexadecimal digits; a UUID for a fleet, 8
    /// letters and digits for a spot request.
    pub fn check(&self, id: &str) -> Result<(), ApiError> {
        let well_formed = |rest: &str| match self.prefix {
            "fleet" => is_uuid(rest),
            "sir" => rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            _ => [8, 17].contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        };
        if id.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(well_formed) {
            Ok(())
        } else {
            Err(ApiError::new(self.malformed, format!("Invalid id: \"{id}\" (expecting \"{}-...\")", self.prefix)))
        }
    }

    pub fn missing(&self, id: &str) -> ApiError {
        ApiError::new(self.missing, format!("The {} '{id}' does not exist", self.noun))
    }

    /// The resource of this id, or the right refusal.
    pub fn find<'a, T>(&self, map: &'a BTreeMap<String, T>, id: &str) -> Result<&'a T, ApiError> {
        self.check(id)?;
        map.get(id).ok_or_else(|| self.missing(id))
    }

    /// The resource of this id, to be changed, or the right refusal.
    pub fn find_mut<'a, T>(&self, map: &'a mut BTreeMap<String, T>, id: &str) -> Result<&'a mut T, ApiError> {
        self.check(id)?;
        map.get_mut(id).ok_or_else(|| self.missing(id))
    }

    /// Whether an id was asked for: all are when none was named. One unknown id fails the whole call.
    pub fn asked<T>(&self, map: &BTreeMap<String, T>, ids: &[&str]) -> Result<(), ApiError> {
        ids.iter().try_for_each(|id| self.find(map, id).map(|_| ()))
    }
}

/// Whether a text is five groups of hexadecimal digits, as a UUID is.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The tags for each kind of resource that the call's `TagSpecification` list names.
pub(super) fn tag_specifications(query: &Query, kinds: &[&str]) -> Result<BTreeMap<String, Tags>, ApiError> {
    let mut specifications: BTreeMap<String, Tags> = BTreeMap::new();
    for specification in query.structures("TagSpecification") {
        let kind = specification.required("ResourceType")?;
        if !kinds.contains(&kind) {
            return Err(ApiError::invalid_value(format!("'{kind}' is not a valid taggable resource type for this operation.")));
        }
        let tags = read_tags(specification)?;
        if specifications.insert(kind.to_owned(), tags).is_some() {
            return Err(ApiError::invalid_value(format!("Duplicate TagSpecification for resource type '{kind}'")));
        }
    }
    Ok(specifications)
}

/// The tags for the one kind of resource that the call makes.
pub(super) fn tags_for(query: &Query, kind: &str) -> Result<Tags, ApiError> {
    Ok(tag_specifications(query, &[kind])?.remove(kind).unwrap_or_default())
}

/// Reads `Tag.N.Key`, `Tag.N.Value` and holds them to EC2's limits.
pub(super) fn read_tags(query: &Query) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in query.structures("Tag") {
        let key = tag.required("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        if is_reserved(key) {
            return Err(ApiError::invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(ApiError::invalid_value(format!(
                "Tag '{key}' exceeds the maximum length (key 128, value 256 characters)"
            )));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    check_tag_count(&tags)?;
    Ok(tags)
}

/// Whether a tag key is AWS's own; the prefix counts in any case of its letters.
pub(super) fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

/// Refuses more tags than a resource may have.
pub(super) fn check_tag_count(tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::new("TagLimitExceeded", "More than 50 tags specified"));
    }
    Ok(())
}

/// Writes a `tagSet`.
pub(super) fn put_tags(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.put("key", key).put("value", value);
    });
}

/// The answer of an action that has nothing to tell.
pub(super) fn done() -> Xml {
    let mut xml = Xml::new();
    xml.put("return", true);
    xml
}
