//! The metadata of one instance as a tree of leaves, with AWS's names.

use std::collections::{BTreeMap, BTreeSet};

use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::model::ec2::{Ec2, Instance, InterfaceView, network_text};

/// Versions that are served, all with the same tree; cloud-init asks for the dated ones, newest first.
pub(super) const VERSIONS: [&str; 6] = ["1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"];

/// The content at a path below a version, or None: a leaf's value, or a folder's entries, one a line.
pub(super) fn read(ec2: &Ec2, instance: &Instance, path: &str, now: Timestamp) -> Option<Bytes> {
    let leaves = leaves(ec2, instance, now);
    if let Some(value) = leaves.get(path) {
        return Some(value.clone());
    }
    let folder = path.trim_end_matches('/');
    // The one folder whose entries are not listed by their own names.
    if let (PUBLIC_KEYS, Some(name), Some(_)) = (folder, &instance.key_name, &instance.public_key) {
        return Some(format!("0={name}").into());
    }
    let below = |leaf: &str| match folder {
        "" => Some(leaf.to_owned()),
        folder => leaf.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned),
    };
    let entries: BTreeSet<String> = leaves
        .keys()
        .filter_map(|leaf| below(leaf))
        .map(|rest| rest.split_once('/').map_or(rest.clone(), |(first, _)| format!("{first}/")))
        .collect();
    // The top level alone names its folders without a slash.
    let slash = |entry: String| if folder.is_empty() { entry.trim_end_matches('/').to_owned() } else { entry };
    let entries: Vec<String> = entries.into_iter().map(slash).collect();
    (!entries.is_empty()).then(|| entries.join("\n").into())
}

const PUBLIC_KEYS: &str = "meta-data/public-keys";

/// Every leaf by its path.
fn leaves(ec2: &Ec2, instance: &Instance, now: Timestamp) -> BTreeMap<String, Bytes> {
    let mut leaves: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut add = |path: String, value: String| {
        leaves.insert(path, value.into());
    };
    let hostname = instance.private_dns_name(&ec2.region);
    let groups: Vec<&str> = ec2.group_names(instance).collect();
    for (name, value) in [
        ("ami-id", instance.image_id.clone()),
        ("ami-launch-index", instance.ami_launch_index.to_string()),
        ("ami-manifest-path", "(unknown)".to_owned()),
        ("hostname", hostname.clone()),
        ("instance-action", "none".to_owned()),
        ("instance-id", instance.id.clone()),
        ("instance-life-cycle", if instance.spot_request_id.is_some() { "spot" } else { "on-demand" }.to_owned()),
        ("instance-type", instance.instance_type.clone()),
        ("local-hostname", hostname.clone()),
        ("local-ipv4", instance.private_address.to_string()),
        ("mac", instance.mac.clone()),
        ("placement/availability-zone", instance.zone.clone()),
        ("placement/region", ec2.region.clone()),
        ("profile", "default-hvm".to_owned()),
        ("reservation-id", instance.reservation_id.clone()),
        ("security-groups", groups.join("\n")),
        ("services/domain", "amazonaws.com".to_owned()),
        ("services/partition", "aws".to_owned()),
    ] {
        add(format!("meta-data/{name}"), value);
    }
    if let Some(group) = &instance.placement_group {
        add("meta-data/placement/group-name".to_owned(), group.clone());
    }
    if let Some(number) = instance.partition_number {
        add("meta-data/placement/partition-number".to_owned(), number.to_string());
    }
    if let Some(due) = instance.fate.interruption.filter(|due| due.noticed <= now) {
        let time = due.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        add("meta-data/spot/instance-action".to_owned(), json!({ "action": "terminate", "time": time }).to_string());
        add("meta-data/spot/termination-time".to_owned(), time);
    }
    for (device, value) in block_devices(instance) {
        add(format!("meta-data/block-device-mapping/{device}"), value);
    }
    if let Some(key) = &instance.public_key {
        add(format!("{PUBLIC_KEYS}/0/openssh-key"), format!("{key}\n"));
    }
    if let Some(public) = ec2.public_address_of(instance) {
        add("meta-data/public-ipv4".to_owned(), public.address.to_string());
        let name = ec2.public_dns_name(&instance.vpc_id, public.address);
        add("meta-data/public-hostname".to_owned(), name.unwrap_or_default());
    }
    for one in ec2.interfaces_of(instance) {
        for (name, value) in interface(ec2, &one) {
            add(format!("meta-data/network/interfaces/macs/{}/{name}", one.mac), value);
        }
    }
    if instance.metadata_options.instance_tags {
        // A key with a slash could not be told from a folder; EC2 refuses such keys when it shows tags.
        for (key, value) in instance.tags.iter().filter(|(key, _)| !key.contains('/')) {
            add(format!("meta-data/tags/instance/{key}"), value.clone());
        }
    }
    add("dynamic/instance-identity/document".to_owned(), identity_document(ec2, instance));
    if !instance.user_data.is_empty() {
        leaves.insert("user-data".to_owned(), instance.user_data.clone().into());
    }
    leaves
}

/// `ami` and `root` are the root device; `ebs1` and on the further volumes.
fn block_devices(instance: &Instance) -> Vec<(String, String)> {
    let short = |device: &str| device.trim_start_matches("/dev/").to_owned();
    let mut mapping = vec![("ami".to_owned(), short(&instance.root_device)), ("root".to_owned(), instance.root_device.clone())];
    let further = instance.devices.iter().filter(|device| device.device != instance.root_device);
    mapping.extend(further.enumerate().map(|(index, device)| (format!("ebs{}", index + 1), short(&device.device))));
    mapping
}

/// One network interface.
fn interface(ec2: &Ec2, one: &InterfaceView<'_>) -> Vec<(String, String)> {
    let [a, b, c, d] = one.private_address.octets();
    // us-east-1 is the region that does not stand in its names.
    let hostname = match ec2.region.as_str() {
        "us-east-1" => format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
        region => format!("ip-{a}-{b}-{c}-{d}.{region}.compute.internal"),
    };
    let groups = one.security_groups.iter().filter_map(|id| Some(ec2.security_groups.get(id)?.name.as_str()));
    let addresses: Vec<String> = one.private_addresses().map(|address| address.to_string()).collect();
    let mut leaves = vec![
        ("device-number", one.attachment.map_or(0, |attachment| attachment.device_index).to_string()),
        ("interface-id", one.id.to_owned()),
        ("local-hostname", hostname),
        ("local-ipv4s", addresses.join("\n")),
        ("mac", one.mac.to_owned()),
        ("owner-id", ec2.account.clone()),
        ("security-group-ids", one.security_groups.join("\n")),
        ("security-groups", groups.collect::<Vec<_>>().join("\n")),
        ("subnet-id", one.subnet_id.to_owned()),
        ("vpc-id", one.vpc_id.to_owned()),
    ];
    if let Some(subnet) = ec2.subnets.get(one.subnet_id) {
        leaves.push(("subnet-ipv4-cidr-block", network_text(subnet.cidr)));
    }
    if let Some(vpc) = ec2.vpcs.get(one.vpc_id) {
        leaves.push(("vpc-ipv4-cidr-block", network_text(vpc.cidr)));
        leaves.push(("vpc-ipv4-cidr-blocks", network_text(vpc.cidr)));
    }
    if let Some(public) = ec2.public_address(one, one.private_address) {
        leaves.push(("public-hostname", ec2.public_dns_name(one.vpc_id, public.address).unwrap_or_default()));
    }
    let mapped: Vec<(String, String)> = one
        .private_addresses()
        .filter_map(|private| Some((ec2.public_address(one, private)?.address.to_string(), private.to_string())))
        .collect();
    if !mapped.is_empty() {
        let publics: Vec<&str> = mapped.iter().map(|(public, _)| public.as_str()).collect();
        leaves.push(("public-ipv4s", publics.join("\n")));
    }
    let mut leaves: Vec<(String, String)> = leaves.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    leaves.extend(mapped.into_iter().map(|(public, private)| (format!("ipv4-associations/{public}"), private)));
    leaves
}

fn identity_document(ec2: &Ec2, instance: &Instance) -> String {
    let document = json!({
        "accountId": ec2.account,
        "architecture": "x86_64",
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": instance.launch_time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "privateIp": instance.private_address,
        "ramdiskId": null,
        "region": ec2.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}
