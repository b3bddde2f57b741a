//! What can be changed about an image: its description, who may launch it, how long it is shown, whether it can go.

use jiff::{Timestamp, ToSpan as _};

use super::image::put_devices;
use super::snapshot::own;
use super::turn::{self, Operation, Turn, done, wire_time};
use crate::model::ec2::{Image, ImageState, Protection};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeImageAttribute", describe, &["ImageId", "Attribute"]),
    Operation::write(
        "ModifyImageAttribute",
        modify,
        &[
            "Attribute",
            "Description.Value",
            "ImageId",
            "ImdsSupport.Value",
            "LaunchPermission",
            "OperationType",
            "OrganizationArn",
            "OrganizationalUnitArn",
            "ProductCode",
            "UserGroup",
            "UserId",
            "Value",
        ],
    ),
    Operation::write("ResetImageAttribute", reset, &["ImageId", "Attribute"]),
    Operation::write("EnableImageDeprecation", deprecate, &["ImageId", "DeprecateAt"]),
    Operation::write("DisableImageDeprecation", undo_deprecation, &["ImageId"]),
    Operation::write("EnableImage", enable, &["ImageId"]),
    Operation::write("DisableImage", disable, &["ImageId"]),
    Operation::write("EnableImageDeregistrationProtection", protect, &["ImageId", "WithCooldown"]),
    Operation::write("DisableImageDeregistrationProtection", undo_protection, &["ImageId"]),
];

/// How long deregistration stays refused after a protection with cool-down was switched off.
const COOLDOWN_HOURS: i64 = 24;

/// The account's own image that the call names, to be changed.
fn named<'a>(turn: &'a mut Turn<'_>, query: &Query) -> Result<&'a mut Image, ApiError> {
    let id = query.required("ImageId")?;
    let owner = turn::IMAGE.find(&turn.ec2.images, id)?.owner.clone();
    own(turn.ec2, &owner, id)?;
    turn::IMAGE.find_mut(&mut turn.ec2.images, id)
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let image = turn::IMAGE.find(&turn.ec2.images, query.required("ImageId")?)?;
    let attribute = query.required("Attribute")?;
    let traits = &image.traits;
    let mut xml = Xml::new();
    xml.put("imageId", &image.id);
    let value = match attribute {
        "blockDeviceMapping" => {
            put_devices(&mut xml, image);
            return Ok(xml);
        }
        "launchPermission" => {
            // Who may launch a stranger's image is the stranger's affair.
            own(turn.ec2, &image.owner, &image.id)?;
            let everyone = image.public.then_some(("group", "all"));
            let users = image.launch_permissions.iter().map(|user| ("userId", user.as_str()));
            xml.list("launchPermission", everyone.into_iter().chain(users), |xml, (kind, name)| {
                xml.put(kind, name);
            });
            return Ok(xml);
        }
        "productCodes" => {
            xml.texts("productCodes", [""; 0]);
            return Ok(xml);
        }
        "description" => Some(image.description.clone()),
        "bootMode" => traits.boot_mode.clone(),
        "sriovNetSupport" => traits.sriov.clone(),
        "tpmSupport" => traits.tpm_support.clone(),
        "uefiData" => traits.uefi_data.clone(),
        "imdsSupport" => traits.imds_support.clone(),
        "lastLaunchedTime" => image.last_launched.map(wire_time),
        "deregistrationProtection" => Some(image.protection.wire(turn.now).to_owned()),
        "kernel" | "ramdisk" => None,
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    };
    xml.element(attribute, |xml| {
        xml.maybe("value", value);
    });
    Ok(xml)
}

/// A change of who may launch an image: `all`, or accounts.
#[derive(Debug, Default)]
pub(super) struct Permissions {
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

impl Permissions {
    /// Reads `NAME.Add.N`, `NAME.Remove.N`, or the older `OperationType` with `UserId.N` and `UserGroup.N`.
    pub fn read(query: &Query, name: &str, group: &str, code: &'static str) -> Result<Self, ApiError> {
        let mut permissions = Self::default();
        let user = |text: &str, kind: &str| match kind {
            "group" if text == "all" => Ok(text.to_owned()),
            "userId" if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(text.to_owned()),
            _ => Err(ApiError::new(code, format!("Invalid attribute item value \"{text}\" for {kind} item type."))),
        };
        for (verb, into) in [("Add", &mut permissions.add), ("Remove", &mut permissions.remove)] {
            for item in query.structures(&format!("{name}.{verb}")) {
                if let Some(unsupported) = item.names().find(|part| !["UserId", "Group"].contains(part)) {
                    return Err(ApiError::unsupported_parameter(&format!("{name}.{verb}.{unsupported}")));
                }
                match (item.text("UserId"), item.text("Group")) {
                    (Some(id), None) => into.push(user(id, "userId")?),
                    (None, Some(group)) => into.push(user(group, "group")?),
                    _ => return Err(ApiError::new(code, "A permission is for one account or one group")),
                }
            }
        }
        let mut older = Vec::new();
        for id in query.list("UserId") {
            older.push(user(id, "userId")?);
        }
        for id in query.list(group) {
            older.push(user(id, "group")?);
        }
        match query.text("OperationType") {
            _ if older.is_empty() => {}
            Some("add") => permissions.add.extend(older),
            Some("remove") => permissions.remove.extend(older),
            _ => return Err(ApiError::invalid_value("OperationType must be add or remove")),
        }
        Ok(permissions)
    }

    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// The one thing that a call changes.
enum Change {
    Description(String),
    Launch(Permissions),
    Metadata,
}

fn read_change(query: &Query) -> Result<Change, ApiError> {
    for unsupported in ["OrganizationArn", "OrganizationalUnitArn", "ProductCode"] {
        if query.structure(unsupported).is_some() {
            return Err(ApiError::unsupported_parameter(unsupported));
        }
    }
    let attribute = query.text("Attribute").filter(|attribute| !attribute.is_empty());
    let given = |name: &str, older: &str| -> Option<&str> {
        query.text(name).or_else(|| query.text("Value").filter(|_| attribute == Some(older)))
    };
    let permissions = Permissions::read(query, "LaunchPermission", "UserGroup", "InvalidAMIAttributeItemValue")?;
    let mut changes = Vec::new();
    if let Some(description) = given("Description.Value", "description") {
        if description.chars().count() > 255 {
            return Err(ApiError::invalid_value("Description exceeds the maximum length of 255 characters"));
        }
        changes.push(Change::Description(description.to_owned()));
    }
    if !permissions.is_empty() {
        changes.push(Change::Launch(permissions));
    }
    match given("ImdsSupport.Value", "imdsSupport") {
        None => {}
        // There is no way back from it (ec2.md 8.3).
        Some("v2.0") => changes.push(Change::Metadata),
        Some(other) => return Err(ApiError::invalid_value(format!("Invalid value '{other}' for ImdsSupport. Valid is v2.0."))),
    }
    if let Some(other) = attribute.filter(|name| !["description", "launchPermission", "imdsSupport"].contains(name)) {
        return Err(ApiError::invalid_value(format!("Value ({other}) for parameter attribute is invalid.")));
    }
    match changes.pop() {
        Some(_) if !changes.is_empty() => Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
        Some(change) => Ok(change),
        None => Err(ApiError::invalid_combination("No attributes specified.")),
    }
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    query.required("ImageId")?;
    let change = read_change(query)?;
    let image = named(turn, query)?;
    match change {
        Change::Description(description) => image.description = description,
        Change::Metadata => image.traits.imds_support = Some("v2.0".to_owned()),
        Change::Launch(permissions) => {
            if image.state != ImageState::Available {
                return Err(unavailable(image));
            }
            // Nothing here is encrypted with another key than the account's own, which nobody else has (ec2.md 8.8).
            if !permissions.add.is_empty() && image.devices.iter().any(|device| device.encrypted) {
                return Err(ApiError::new(
                    "OperationNotPermitted",
                    format!("Image {} has volumes encrypted with the default key and cannot be shared", image.id),
                ));
            }
            for user in permissions.add {
                match user.as_str() {
                    "all" => image.public = true,
                    _ => drop(image.launch_permissions.insert(user)),
                }
            }
            for user in permissions.remove {
                match user.as_str() {
                    "all" => image.public = false,
                    _ => drop(image.launch_permissions.remove(&user)),
                }
            }
        }
    }
    Ok(done())
}

fn unavailable(image: &Image) -> ApiError {
    ApiError::new(
        "InvalidAMIID.Unavailable",
        format!("The image ID '{}' is not available; its state is {}", image.id, image.state.wire()),
    )
}

fn reset(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let attribute = query.required("Attribute")?;
    if attribute != "launchPermission" {
        return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid.")));
    }
    let image = named(turn, query)?;
    image.public = false;
    image.launch_permissions.clear();
    Ok(done())
}

fn deprecate(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let text = query.required("DeprecateAt")?;
    let invalid = |why: &str| ApiError::invalid_value(format!("Invalid value '{text}' for DeprecateAt: {why}"));
    let asked: Timestamp = text.parse().map_err(|_| invalid("it is not a time such as 2030-01-02T03:04:00Z"))?;
    let now = turn.now;
    let image = named(turn, query)?;
    if asked <= now {
        return Err(invalid("it is in the past"));
    }
    // Ten years, for public images two of theirs (ec2.md 8.11 and the service model).
    let (since, years) = if image.public { (image.created, 2) } else { (now, 10) };
    if asked > since.saturating_add((years * 366 * 24).hours()).unwrap_or(Timestamp::MAX) {
        return Err(invalid(&format!("it is more than {years} years away")));
    }
    // Seconds are rounded to the nearest minute.
    let minute = (asked.as_second() + 30).div_euclid(60) * 60;
    image.deprecation = Timestamp::from_second(minute).ok();
    Ok(done())
}

fn undo_deprecation(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    named(turn, query)?.deprecation = None;
    Ok(done())
}

fn enable(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let image = named(turn, query)?;
    match image.state {
        ImageState::Available => {}
        ImageState::Disabled => image.state = ImageState::Available,
        ImageState::Pending | ImageState::Failed => return Err(unavailable(image)),
    }
    Ok(done())
}

fn disable(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let image = named(turn, query)?;
    match image.state {
        ImageState::Disabled => {}
        ImageState::Available => {
            image.state = ImageState::Disabled;
            // It is nobody else's any more, also if it is enabled again.
            image.public = false;
            image.launch_permissions.clear();
        }
        ImageState::Pending | ImageState::Failed => return Err(unavailable(image)),
    }
    Ok(done())
}

fn protect(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let with_cooldown = query.boolean("WithCooldown")?.unwrap_or(false);
    named(turn, query)?.protection = Protection::On { with_cooldown };
    Ok(done())
}

fn undo_protection(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let end = turn.now.saturating_add(COOLDOWN_HOURS.hours()).unwrap_or(Timestamp::MAX);
    let image = named(turn, query)?;
    image.protection = match image.protection {
        Protection::On { with_cooldown: true } => Protection::Until(end),
        Protection::On { with_cooldown: false } | Protection::Off => Protection::Off,
        running @ Protection::Until(_) => running,
    };
    Ok(done())
}
