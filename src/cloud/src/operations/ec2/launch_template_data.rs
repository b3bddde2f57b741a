//! GetLaunchTemplateData: an instance told as the template that it could have been launched from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::describe_instances::put_metadata_options;
use super::turn::{self, Operation, Turn, put_tags};
use crate::model::ec2::{Ec2, Instance, Tags};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] = &[Operation::read("GetLaunchTemplateData", get, &["InstanceId"])];

fn get(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let instance = turn::INSTANCE.find(&turn.ec2.instances, query.required("InstanceId")?)?;
    let mut xml = Xml::new();
    xml.element("launchTemplateData", |xml| put(xml, turn.ec2, instance, turn.now));
    Ok(xml)
}

fn put(xml: &mut Xml, ec2: &Ec2, instance: &Instance, now: jiff::Timestamp) {
    xml.put("ebsOptimized", instance.ebs_optimized);
    if let Some(profile) = &instance.iam_instance_profile {
        xml.element("iamInstanceProfile", |xml| {
            xml.put("arn", &profile.arn).put("name", profile.name());
        });
    }
    xml.list("blockDeviceMappingSet", &instance.devices, |xml, device| {
        xml.put("deviceName", &device.device).element("ebs", |xml| {
            xml.put("deleteOnTermination", device.delete_on_termination);
            if let Some(volume) = ec2.volumes.get(&device.volume_id) {
                xml.put("encrypted", volume.encrypted)
                    .maybe("iops", volume.iops)
                    .maybe("throughput", volume.throughput)
                    .maybe("snapshotId", volume.snapshot_id.as_ref())
                    .put("volumeSize", volume.gibibytes)
                    .put("volumeType", &volume.volume_type);
            }
        });
    });
    xml.list("networkInterfaceSet", instance.is_alive().then_some(instance), |xml, instance| {
        xml.put("deleteOnTermination", true)
            .put("description", &instance.interface_description)
            .put("deviceIndex", 0)
            .element("groupSet", |xml| {
                for id in &instance.security_groups {
                    xml.put("groupId", id);
                }
            })
            .put("interfaceType", &instance.interface_type)
            .put("privateIpAddress", instance.private_address)
            .put("subnetId", &instance.subnet_id)
            .put("networkCardIndex", 0);
    });
    xml.put("imageId", &instance.image_id)
        .put("instanceType", &instance.instance_type)
        .maybe("keyName", instance.key_name.as_ref())
        .element("monitoring", |xml| {
            xml.put("enabled", instance.monitoring);
        })
        .element("placement", |xml| {
            xml.put("availabilityZone", &instance.zone)
                .put("groupName", instance.placement_group.as_deref().unwrap_or_default())
                .put("tenancy", &instance.tenancy)
                .maybe("partitionNumber", instance.partition_number);
        })
        .put("disableApiTermination", instance.disable_api_termination)
        .put("instanceInitiatedShutdownBehavior", instance.shutdown_behavior.wire());
    if !instance.user_data.is_empty() {
        xml.put("userData", STANDARD.encode(&instance.user_data));
    }
    // Tags that EC2 itself set are not for a template.
    let tags: Tags =
        instance.tags.iter().filter(|(key, _)| !key.starts_with("aws:")).map(|(k, v)| (k.clone(), v.clone())).collect();
    xml.list("tagSpecificationSet", (!tags.is_empty()).then_some(&tags), |xml, tags| {
        xml.put("resourceType", "instance");
        put_tags(xml, tags);
    });
    if let Some(request) = instance.spot_request_id.as_ref().and_then(|id| ec2.spot_requests.get(id)) {
        xml.element("instanceMarketOptions", |xml| {
            xml.put("marketType", "spot").element("spotOptions", |xml| {
                xml.maybe("maxPrice", request.max_price.as_ref())
                    .put("spotInstanceType", "one-time")
                    .put("instanceInterruptionBehavior", "terminate");
            });
        });
    }
    if let Some(credits) = &instance.cpu_credits {
        xml.element("creditSpecification", |xml| {
            xml.put("cpuCredits", credits);
        });
    }
    xml.element("cpuOptions", |xml| {
        xml.put("coreCount", instance.cpu_options.cores).put("threadsPerCore", instance.cpu_options.threads_per_core);
    })
    .element("capacityReservationSpecification", |xml| {
        xml.put("capacityReservationPreference", "open");
    })
    .element("hibernationOptions", |xml| {
        xml.put("configured", false);
    })
    .element("metadataOptions", |xml| put_metadata_options(xml, &instance.metadata_options, now))
    .element("enclaveOptions", |xml| {
        xml.put("enabled", false);
    })
    .put("disableApiStop", instance.disable_api_stop);
}
