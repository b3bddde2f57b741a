//! How volumes fare, and the one attribute that they have.

use super::filter::{Filters, Page, put_next_token};
use super::turn::{self, Operation, Turn, done};
use super::vpc::zone_id;
use crate::model::ec2::{Tags, Volume, VolumeState};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read(
        "DescribeVolumeStatus",
        describe_status,
        &["VolumeId", "Filter", "MaxResults", "NextToken", "IncludeManagedResources"],
    ),
    Operation::read("DescribeVolumeAttribute", describe_attribute, &["VolumeId", "Attribute"]),
    Operation::write("ModifyVolumeAttribute", modify_attribute, &["VolumeId", "AutoEnableIO.Value"]),
];

/// The volume's status and that of its input and output.
fn status(volume: &Volume) -> (&'static str, &'static str) {
    match volume.state {
        VolumeState::Available | VolumeState::InUse => ("ok", "passed"),
        VolumeState::Creating | VolumeState::Deleting => ("insufficient-data", "insufficient-data"),
        VolumeState::Error => ("impaired", "failed"),
    }
}

fn describe_status(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    const FILTERS: [&str; 12] = [
        "action.code",
        "action.description",
        "action.event-id",
        "availability-zone",
        "availability-zone-id",
        "event.description",
        "event.event-id",
        "event.event-type",
        "event.not-after",
        "event.not-before",
        "volume-status.details-name",
        "volume-status.details-status",
    ];
    let filters = Filters::read(query, &[&FILTERS[..], &["volume-status.status"]].concat())?;
    let page = Page::read_without_ids(query, "VolumeId")?;
    let ids = query.list("VolumeId");
    let ec2 = &*turn.ec2;
    turn::VOLUME.asked(&ec2.volumes, &ids)?;
    let found = ec2.volumes.values().filter(|volume| ids.is_empty() || ids.contains(&volume.id.as_str())).filter(|volume| {
        filters.admit(&Tags::new(), |name| {
            vec![match name {
                "availability-zone" => volume.zone.clone(),
                "availability-zone-id" => zone_id(&volume.zone),
                "volume-status.details-name" => return vec!["io-enabled".to_owned(), "io-performance".to_owned()],
                "volume-status.details-status" => status(volume).1.to_owned(),
                "volume-status.status" => status(volume).0.to_owned(),
                // Nothing is ever scheduled or to be done here.
                _ => return Vec::new(),
            }]
        })
    });
    let (found, token) = page.cut(found, |volume| volume.id.clone());
    let mut xml = Xml::new();
    xml.list("volumeStatusSet", found, |xml, volume| {
        let (status, details) = status(volume);
        xml.put("volumeId", &volume.id)
            .put("availabilityZone", &volume.zone)
            .put("availabilityZoneId", zone_id(&volume.zone))
            .element("volumeStatus", |xml| {
                let provisioned = ["io1", "io2"].contains(&volume.volume_type.as_str());
                let performance = if provisioned && status == "ok" { "normal" } else { "not-applicable" };
                xml.put("status", status).list(
                    "details",
                    [("io-enabled", details), ("io-performance", performance)],
                    |xml, (name, status)| {
                        xml.put("name", name).put("status", status);
                    },
                );
            })
            .texts("eventsSet", [""; 0])
            .texts("actionsSet", [""; 0]);
    });
    put_next_token(&mut xml, token);
    Ok(xml)
}

fn describe_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let attribute = query.required("Attribute")?;
    let volume = turn::VOLUME.find(&turn.ec2.volumes, query.required("VolumeId")?)?;
    let mut xml = Xml::new();
    xml.put("volumeId", &volume.id);
    match attribute {
        "autoEnableIO" => {
            xml.element("autoEnableIO", |xml| {
                xml.put("value", volume.auto_enable_io);
            });
        }
        "productCodes" => {
            xml.texts("productCodes", [""; 0]);
        }
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    }
    Ok(xml)
}

fn modify_attribute(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("VolumeId")?;
    let value = query.boolean("AutoEnableIO.Value")?.ok_or_else(|| ApiError::missing_parameter("AutoEnableIO.Value"))?;
    turn::VOLUME.find_mut(&mut turn.ec2.volumes, id)?.auto_enable_io = value;
    Ok(done())
}
