//! Who may make volumes of a snapshot, and whether the account encrypts unasked.

use sha2::{Digest as _, Sha256};

use super::image_attribute::Permissions;
use super::snapshot::own;
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::Ec2;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read("DescribeSnapshotAttribute", describe, &["SnapshotId", "Attribute"]),
    Operation::write(
        "ModifySnapshotAttribute",
        modify,
        &["Attribute", "CreateVolumePermission", "OperationType", "SnapshotId", "UserGroup", "UserId"],
    ),
    Operation::write("ResetSnapshotAttribute", reset, &["SnapshotId", "Attribute"]),
    Operation::read("GetEbsEncryptionByDefault", encryption, &[]),
    Operation::write("EnableEbsEncryptionByDefault", enable_encryption, &[]),
    Operation::write("DisableEbsEncryptionByDefault", disable_encryption, &[]),
    Operation::read("GetEbsDefaultKmsKeyId", default_key, &[]),
];

const PERMISSION: &str = "createVolumePermission";

fn unknown(attribute: &str) -> ApiError {
    ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let attribute = query.required("Attribute")?;
    let snapshot = turn::SNAPSHOT.find(&turn.ec2.snapshots, query.required("SnapshotId")?)?;
    own(turn.ec2, &snapshot.owner, &snapshot.id)?;
    let mut xml = Xml::new();
    xml.put("snapshotId", &snapshot.id);
    match attribute {
        PERMISSION => {
            xml.list(PERMISSION, &snapshot.volume_permissions, |xml, user| {
                xml.put(if user == "all" { "group" } else { "userId" }, user);
            });
        }
        "productCodes" => {
            xml.texts("productCodes", [""; 0]);
        }
        other => return Err(unknown(other)),
    }
    Ok(xml)
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("SnapshotId")?;
    if let Some(other) = query.text("Attribute").filter(|attribute| *attribute != PERMISSION) {
        return Err(unknown(other));
    }
    let permissions = Permissions::read(query, "CreateVolumePermission", "UserGroup", "InvalidParameterValue")?;
    if permissions.is_empty() {
        return Err(ApiError::missing_parameter(PERMISSION));
    }
    let snapshot = turn::SNAPSHOT.find(&turn.ec2.snapshots, id)?;
    own(turn.ec2, &snapshot.owner, id)?;
    // Nothing here is encrypted with another key than the account's own, which nobody else has.
    if snapshot.encrypted && !permissions.add.is_empty() {
        return Err(ApiError::new("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared"));
    }
    let snapshot = turn::SNAPSHOT.find_mut(&mut turn.ec2.snapshots, id)?;
    snapshot.volume_permissions.extend(permissions.add);
    snapshot.volume_permissions.retain(|user| !permissions.remove.contains(user));
    Ok(done())
}

fn reset(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (id, attribute) = (query.required("SnapshotId")?, query.required("Attribute")?);
    if attribute != PERMISSION {
        return Err(unknown(attribute));
    }
    let snapshot = turn::SNAPSHOT.find(&turn.ec2.snapshots, id)?;
    own(turn.ec2, &snapshot.owner, id)?;
    turn::SNAPSHOT.find_mut(&mut turn.ec2.snapshots, id)?.volume_permissions.clear();
    Ok(done())
}

fn encryption(turn: &mut Turn<'_>, _query: &Query) -> Result<Xml, ApiError> {
    let mut xml = Xml::new();
    xml.put("ebsEncryptionByDefault", turn.ec2.ebs_encryption_by_default);
    Ok(xml)
}

fn enable_encryption(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    turn.ec2.ebs_encryption_by_default = true;
    encryption(turn, query)
}

fn disable_encryption(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    turn.ec2.ebs_encryption_by_default = false;
    encryption(turn, query)
}

/// The key that everything encrypted is encrypted with: the one that AWS manages for EBS in this account and region. There
/// is no key service, so its id only has to stay the same.
pub(super) fn default_key_arn(ec2: &Ec2) -> String {
    let digest = Sha256::digest(format!("alias/aws/ebs {} {}", ec2.region, ec2.account));
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("arn:aws:kms:{}:{}:key/{id}", ec2.region, ec2.account)
}

fn default_key(_turn: &mut Turn<'_>, _query: &Query) -> Result<Xml, ApiError> {
    let mut xml = Xml::new();
    // The key that AWS manages: an account that named no other has this one.
    xml.put("kmsKeyId", "alias/aws/ebs");
    Ok(xml)
}
