//! Another root for a running instance, which keeps its address and its other volumes.

use super::deeds::Deed;
use super::filter::{Filters, Page, put_next_token};
use super::image_register::check_bootable;
use super::turn::{self, Operation, Turn, put_tags, tags_for, wire_time};
use crate::model::ec2::{
    Ec2, ImageState, Instance, InstanceState, ReplacementState, RootReplacement, SnapshotState, Volume, new_id,
};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateReplaceRootVolumeTask",
        create,
        &["ClientToken", "DeleteReplacedRootVolume", "ImageId", "InstanceId", "SnapshotId", "TagSpecification", "VolumeId"],
    ),
    Operation::read(
        "DescribeReplaceRootVolumeTasks",
        describe,
        &["Filter", "MaxResults", "NextToken", "ReplaceRootVolumeTaskId"],
    ),
];

/// Where the new root comes from: an image, a snapshot, and the layers and the size of either.
struct Source {
    image_id: Option<String>,
    snapshot_id: Option<String>,
    layers: Vec<String>,
    gibibytes: u64,
}

fn read_source(ec2: &Ec2, instance: &Instance, root: &Volume, query: &Query) -> Result<Source, ApiError> {
    let of_snapshot = |id: &str| -> Result<Source, ApiError> {
        let snapshot = turn::SNAPSHOT.find(&ec2.snapshots, id)?;
        if snapshot.state != SnapshotState::Completed {
            return Err(ApiError::new("IncorrectState", format!("Snapshot '{id}' is not completed")));
        }
        let (layers, gibibytes) = (snapshot.layers().to_vec(), snapshot.gibibytes);
        Ok(Source { image_id: None, snapshot_id: Some(id.to_owned()), layers, gibibytes })
    };
    match (query.text("SnapshotId"), query.text("ImageId")) {
        (Some(_), Some(_)) => Err(ApiError::invalid_combination("SnapshotId and ImageId cannot be given together")),
        (Some(id), None) => {
            let source = of_snapshot(id)?;
            let is_own = ec2.snapshots.get(id).is_some_and(|snapshot| snapshot.volume_id == root.id);
            if !is_own && root.snapshot_id.as_deref() != Some(id) {
                return Err(ApiError::invalid_value(format!(
                    "The snapshot '{id}' is not of the root volume of '{}'",
                    instance.id
                )));
            }
            Ok(source)
        }
        (None, Some(id)) => {
            let image = turn::IMAGE.find(&ec2.images, id)?;
            if image.state != ImageState::Available {
                return Err(ApiError::new("InvalidAMIID.Unavailable", format!("The image ID '{id}' is not available")));
            }
            check_bootable(image, &instance.instance_type)?;
            let gibibytes = image.devices.first().map_or(0, |device| device.gibibytes);
            Ok(Source { image_id: Some(id.to_owned()), snapshot_id: None, layers: image.layers.clone(), gibibytes })
        }
        // As it was launched.
        (None, None) => match &root.snapshot_id {
            Some(id) => Ok(Source { snapshot_id: None, ..of_snapshot(id)? }),
            None => Err(ApiError::new("IncorrectState", format!("The root volume '{}' was not made of a snapshot", root.id))),
        },
    }
}

fn create(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let instance_id = query.required("InstanceId")?;
    if query.text("VolumeId").is_some() {
        return Err(ApiError::unsupported_parameter("VolumeId"));
    }
    let delete_replaced = query.boolean("DeleteReplacedRootVolume")?.unwrap_or(false);
    if !delete_replaced && !turn.config.records {
        // A root lives and dies with its node there: nothing would be in the volume that is kept.
        return Err(ApiError::unsupported_parameter("DeleteReplacedRootVolume=false"));
    }
    let instance = turn::INSTANCE.find(&turn.ec2.instances, instance_id)?;
    if let Some(id) = turn.replayed("CreateReplaceRootVolumeTask", query)? {
        return Ok(answer(turn.ec2.root_replacements.get(&id)));
    }
    if instance.state != InstanceState::Running {
        return Err(ApiError::new(
            "IncorrectInstanceState",
            format!("The instance '{instance_id}' is not in the 'running' state."),
        ));
    }
    let open = |task: &&RootReplacement| task.instance_id == instance_id && task.state.is_open();
    if let Some(task) = turn.ec2.root_replacements.values().find(open) {
        return Err(ApiError::new("IncorrectState", format!("The task {} replaces the root of {instance_id} already", task.id)));
    }
    let volumes = instance.devices.iter().filter_map(|device| turn.ec2.volumes.get(&device.volume_id));
    let Some(root) = volumes.into_iter().find(|volume| volume.is_root) else {
        return Err(ApiError::new("IncorrectState", format!("The instance '{instance_id}' has no root volume")));
    };
    let source = read_source(turn.ec2, instance, root, query)?;
    if source.layers.is_empty() && !turn.config.records {
        return Err(ApiError::new(
            "UnsupportedOperation",
            "The root holds blocks of a disk, which this cloud cannot boot; use one that was made with CreateImage or CreateSnapshot.",
        ));
    }
    let task = RootReplacement {
        id: new_id("replacevol"),
        instance_id: instance_id.to_owned(),
        image_id: source.image_id,
        snapshot_id: source.snapshot_id,
        layers: source.layers,
        gibibytes: source.gibibytes.max(root.gibibytes),
        delete_replaced,
        state: ReplacementState::Pending,
        start: turn.now,
        end: None,
        tags: tags_for(query, "replace-root-volume-task")?,
    };
    let xml = answer(Some(&task));
    turn.remember("CreateReplaceRootVolumeTask", query, &task.id);
    turn.deeds.push(Deed::Root(task.id.clone()));
    turn.ec2.root_replacements.insert(task.id.clone(), task);
    Ok(xml)
}

fn answer(task: Option<&RootReplacement>) -> Xml {
    let mut xml = Xml::new();
    xml.element("replaceRootVolumeTask", |xml| {
        if let Some(task) = task {
            put_task(xml, task);
        }
    });
    xml
}

fn put_task(xml: &mut Xml, task: &RootReplacement) {
    xml.put("replaceRootVolumeTaskId", &task.id)
        .put("instanceId", &task.instance_id)
        .put("taskState", task.state.wire())
        .put("startTime", wire_time(task.start))
        .maybe("completeTime", task.end.map(wire_time))
        .maybe("imageId", task.image_id.as_ref())
        .maybe("snapshotId", task.snapshot_id.as_ref())
        .put("deleteReplacedRootVolume", task.delete_replaced);
    put_tags(xml, &task.tags);
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let filters = Filters::read(query, &["instance-id", "task-state"])?;
    let page = Page::within(query, 1..=50, 50)?;
    let ids = query.list("ReplaceRootVolumeTaskId");
    let tasks = &turn.ec2.root_replacements;
    turn::ROOT_REPLACEMENT.asked(tasks, &ids)?;
    let found = tasks.values().filter(|task| ids.is_empty() || ids.contains(&task.id.as_str())).filter(|task| {
        filters.admit(&task.tags, |name| {
            vec![match name {
                "instance-id" => task.instance_id.clone(),
                _ => task.state.wire().to_owned(),
            }]
        })
    });
    let (found, token) = page.cut(found, |task| task.id.clone());
    let mut xml = Xml::new();
    xml.list("replaceRootVolumeTaskSet", found, put_task);
    put_next_token(&mut xml, token);
    Ok(xml)
}
