//! Single attributes of instances.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::deeds::Deed;
use super::describe_instances::put_devices;
use super::launch_options::{cpu_credits, default_cpu_options, find_type, shutdown_behavior, user_data};
use super::network_interface_change::read_groups;
use super::turn::{self, Operation, Turn, done};
use crate::model::ec2::{Instance, InstanceState};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "ModifyInstanceAttribute",
        modify,
        &[
            "InstanceId",
            "Attribute",
            "Value",
            "InstanceType.Value",
            "UserData.Value",
            "GroupId",
            "SourceDestCheck.Value",
            "DisableApiTermination.Value",
            "DisableApiStop.Value",
            "InstanceInitiatedShutdownBehavior.Value",
            "EbsOptimized.Value",
            "BlockDeviceMapping.DeviceName",
            "BlockDeviceMapping.Ebs.VolumeId",
            "BlockDeviceMapping.Ebs.DeleteOnTermination",
        ],
    )
    .refusing(&[
        ("BlockDeviceMapping.NoDevice", "DetachVolume takes a device away"),
        ("BlockDeviceMapping.VirtualName", "DeleteOnTermination is all that can be changed"),
        ("EnaSupport.Value", "it is on, and cannot be taken away"),
        ("EnclaveOptions.Enabled", "there are no enclaves"),
        ("Kernel.Value", "nodes share the machine's kernel"),
        ("Ramdisk.Value", "nodes share the machine's kernel"),
        ("SriovNetSupport.Value", "it is on, and cannot be taken away"),
    ]),
    Operation::read("DescribeInstanceAttribute", describe, &["InstanceId", "Attribute"]),
];

/// The one change that a call asks for: the attribute's name and its value.
fn change(query: &Query) -> Result<(&str, Option<&str>), ApiError> {
    const NAMES: [(&str, &str); 8] = [
        ("InstanceType.Value", "instanceType"),
        ("UserData.Value", "userData"),
        ("SourceDestCheck.Value", "sourceDestCheck"),
        ("DisableApiTermination.Value", "disableApiTermination"),
        ("DisableApiStop.Value", "disableApiStop"),
        ("InstanceInitiatedShutdownBehavior.Value", "instanceInitiatedShutdownBehavior"),
        ("EbsOptimized.Value", "ebsOptimized"),
        ("Value", ""),
    ];
    let mut changes: Vec<(&str, Option<&str>)> = Vec::new();
    for (path, name) in NAMES {
        if let Some(value) = query.text(path) {
            let name = if name.is_empty() { query.required("Attribute")? } else { name };
            changes.push((name, Some(value)));
        }
    }
    for (parameter, name) in [("GroupId", "groupSet"), ("BlockDeviceMapping", "blockDeviceMapping")] {
        if query.structure(parameter).is_some() {
            changes.push((name, None));
        }
    }
    match changes.as_slice() {
        [one] => Ok(*one),
        [] => Err(ApiError::missing_parameter("Attribute")),
        _ => Err(ApiError::invalid_combination("Fields for multiple attribute types specified")),
    }
}

fn boolean(text: &str, name: &str) -> Result<bool, ApiError> {
    text.to_ascii_lowercase()
        .parse()
        .map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for {name}. It must be true or false")))
}

fn modify(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let id = query.required("InstanceId")?;
    let instance = turn::INSTANCE.find(&turn.ec2.instances, id)?;
    let (name, value) = change(query)?;
    let value = value.unwrap_or_default();
    let only_stopped = ["instanceType", "userData", "ebsOptimized"].contains(&name);
    if only_stopped && instance.state != InstanceState::Stopped {
        return Err(ApiError::new("IncorrectInstanceState", format!("The instance '{id}' is not in the 'stopped' state.")));
    }
    if !instance.is_alive() {
        return Err(ApiError::new("IncorrectInstanceState", format!("The instance '{id}' is terminated.")));
    }
    // Which of several interfaces is meant has to be said with that interface's own action (ec2.md 6.1).
    if ["groupSet", "sourceDestCheck"].contains(&name) && turn.ec2.interfaces_of(instance).len() > 1 {
        return Err(ApiError::new(
            "InvalidInstanceID",
            format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
            ),
        ));
    }
    let vpc_id = instance.vpc_id.clone();
    match name {
        "groupSet" => return modify_groups(turn, id, &vpc_id, query),
        "blockDeviceMapping" => return modify_devices(turn, id, query),
        _ => {}
    }
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    match name {
        "instanceType" => {
            if instance.spot_request_id.is_some() {
                return Err(ApiError::new("UnsupportedOperation", "The type of a Spot Instance cannot be changed."));
            }
            let kind = find_type(value)?;
            kind.name.clone_into(&mut instance.instance_type);
            // CpuOptions go back to the new type's own (ec2.md 6.1).
            instance.cpu_options = default_cpu_options(kind);
            instance.cpu_credits = cpu_credits(kind, None)?;
        }
        "userData" => instance.user_data = user_data(Some(value))?,
        "sourceDestCheck" => instance.source_dest_check = boolean(value, name)?,
        "disableApiTermination" => {
            let on = boolean(value, name)?;
            if on && instance.spot_request_id.is_some() {
                return Err(ApiError::new("UnsupportedOperation", "Termination protection is not supported for Spot Instances."));
            }
            instance.disable_api_termination = on;
        }
        "disableApiStop" => instance.disable_api_stop = boolean(value, name)?,
        "instanceInitiatedShutdownBehavior" => instance.shutdown_behavior = shutdown_behavior(Some(value))?,
        "ebsOptimized" => instance.ebs_optimized = boolean(value, name)?,
        _ => return Err(ApiError::unsupported_parameter(&format!("Attribute={name}"))),
    }
    Ok(done())
}

fn modify_groups(turn: &mut Turn<'_>, id: &str, vpc_id: &str, query: &Query) -> Result<Xml, ApiError> {
    let groups = read_groups(turn.ec2, vpc_id, id, &query.list("GroupId"))?;
    turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?.security_groups = groups;
    turn.deeds.push(Deed::Firewall(vpc_id.to_owned()));
    Ok(done())
}

/// Sets `DeleteOnTermination` of devices, the one thing that can be changed of them.
fn modify_devices(turn: &mut Turn<'_>, id: &str, query: &Query) -> Result<Xml, ApiError> {
    let instance = turn::INSTANCE.find(&turn.ec2.instances, id)?;
    let mut changes = Vec::new();
    for mapping in query.structures("BlockDeviceMapping") {
        let name = mapping.required("DeviceName")?;
        let place =
            instance.devices.iter().position(|device| device.device == name).ok_or_else(|| {
                ApiError::new("InvalidInstanceAttributeValue", format!("No device is currently mapped at {name}"))
            })?;
        let delete =
            mapping.boolean("Ebs.DeleteOnTermination")?.ok_or_else(|| ApiError::missing_parameter("Ebs.DeleteOnTermination"))?;
        changes.push((place, delete));
    }
    let instance = turn::INSTANCE.find_mut(&mut turn.ec2.instances, id)?;
    for (place, delete) in changes {
        instance.devices[place].delete_on_termination = delete;
    }
    Ok(done())
}

fn describe(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let instance = turn::INSTANCE.find(&turn.ec2.instances, query.required("InstanceId")?)?;
    let attribute = query.required("Attribute")?;
    let mut xml = Xml::new();
    xml.put("instanceId", &instance.id);
    match attribute {
        "blockDeviceMapping" => put_devices(&mut xml, instance),
        "groupSet" => {
            xml.list("groupSet", &instance.security_groups, |xml, id| {
                let name = turn.ec2.security_groups.get(id).map(|group| &group.name);
                xml.put("groupId", id).maybe("groupName", name);
            });
        }
        "enclaveOptions" => {
            xml.element("enclaveOptions", |xml| {
                xml.put("enabled", false);
            });
        }
        "productCodes" => {
            xml.texts("productCodes", [""; 0]);
        }
        _ => {
            let value = attribute_value(instance, attribute)?;
            xml.element(attribute, |xml| {
                xml.maybe("value", value);
            });
        }
    }
    Ok(xml)
}

/// An attribute with a single value; None where it is not set.
fn attribute_value(instance: &Instance, attribute: &str) -> Result<Option<String>, ApiError> {
    Ok(match attribute {
        "instanceType" => Some(instance.instance_type.clone()),
        "kernel" | "ramdisk" => None,
        "userData" if instance.user_data.is_empty() => None,
        "userData" => Some(STANDARD.encode(&instance.user_data)),
        "disableApiTermination" => Some(instance.disable_api_termination.to_string()),
        "disableApiStop" => Some(instance.disable_api_stop.to_string()),
        "instanceInitiatedShutdownBehavior" => Some(instance.shutdown_behavior.wire().to_owned()),
        "rootDeviceName" => Some(instance.root_device.clone()),
        "sourceDestCheck" => Some(instance.source_dest_check.to_string()),
        "ebsOptimized" => Some(instance.ebs_optimized.to_string()),
        "enaSupport" => Some("true".to_owned()),
        "sriovNetSupport" => Some("simple".to_owned()),
        _ => return Err(ApiError::invalid_value(format!("Value ({attribute}) for parameter attribute is invalid."))),
    })
}
