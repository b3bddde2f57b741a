//! RunInstances.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

use super::catalog::spot_price;
use super::deeds::Deed;
use super::describe_instances::put_reservation;
use super::image_register::check_bootable;
use super::launch_network::Place;
use super::launch_options::{Options, associate};
use super::launch_request::{ChosenTemplate, Effective, IGNORED, REFUSED, SHARED, effective};
use super::turn::{Operation, Reasoned, Turn};
use super::vpc::zone_id;
use super::{launch_devices, launch_network, launch_options, launch_placement, unkind};
use crate::config::Config;
use crate::faults::{Facts, Market};
use crate::model::ec2::{
    DeviceState, Ec2, FirstInterface, Image, ImageDevice, Instance, InstanceDevice, InstanceState, SpotRequest, Subnet, Tags,
    Volume, VolumeState, mac_of, new_id,
};
use crate::node::NodeShare;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

pub(super) const OPERATIONS: &[Operation] =
    &[Operation::write("RunInstances", run, &PARAMETERS).ignoring(&RUN_IGNORED).refusing(REFUSED)];

/// What RunInstances accepts beyond what a template may hold.
const OWN: [&str; 8] = [
    "MinCount",
    "MaxCount",
    "SubnetId",
    "PrivateIpAddress",
    "ClientToken",
    "LaunchTemplate.LaunchTemplateId",
    "LaunchTemplate.LaunchTemplateName",
    "LaunchTemplate.Version",
];

const PARAMETERS: [&str; SHARED.len() + OWN.len()] = {
    let mut all = [""; SHARED.len() + OWN.len()];
    let mut place = 0;
    while place < all.len() {
        all[place] = if place < SHARED.len() { SHARED[place] } else { OWN[place - SHARED.len()] };
        place += 1;
    }
    all
};

const RUN_IGNORED: [Reasoned; IGNORED.len() + 1] = {
    let mut all = [("AdditionalInfo", "reserved by EC2"); IGNORED.len() + 1];
    let mut place = 0;
    while place < IGNORED.len() {
        all[place] = IGNORED[place];
        place += 1;
    }
    all
};

fn run(turn: &mut Turn<'_>, query: &Query) -> Result<Xml, ApiError> {
    let (least, most) = counts(query)?;
    // Before anything that the call names is looked for: a repeated call finds its own address taken, and perhaps its
    // image, template or group gone.
    let scope = format!("RunInstances/{}", scope_of(turn.ec2, query));
    if let Some(reservation) = turn.replayed(&scope, query)? {
        return replay(turn, &reservation);
    }
    let launch = Launch::prepare(turn, query, least, most)?;
    let reservation = new_id("r");
    turn.remember(&scope, query, &reservation);
    launch.carry_out(turn, &reservation);
    Ok(answer(turn, &reservation))
}

/// What rules about faults may know of each instance before it exists.
fn facts(options: &Options, place: &Place) -> Facts {
    Facts {
        service: "ec2",
        action: "RunInstances".to_owned(),
        instance_type: Some(options.kind.name.to_owned()),
        zone: Some(place.subnet.zone.clone()),
        market: Some(Market::of(options.spot)),
        resources: options.tags.instance.get("Name").into_iter().chain([&place.subnet.id]).cloned().collect(),
    }
}

fn counts(query: &Query) -> Result<(usize, usize), ApiError> {
    let count = |name: &str| -> Result<usize, ApiError> {
        let number = query.integer(name)?.ok_or_else(|| ApiError::missing_parameter(name))?;
        usize::try_from(number)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| ApiError::invalid_value(format!("Value ({number}) for parameter {name} is invalid. Minimum is 1.")))
    };
    let (least, most) = (count("MinCount")?, count("MaxCount")?);
    if least > most {
        return Err(ApiError::invalid_combination(format!("The minimum count {least} is larger than the maximum count {most}")));
    }
    Ok((least, most))
}

/// Where a client token counts: in the zone if the call names one, else in the region (ec2.md 2.3).
fn scope_of(ec2: &Ec2, query: &Query) -> String {
    let interface = query.structures("NetworkInterface").first().and_then(|one| one.text("SubnetId"));
    let subnet = query.text("SubnetId").or(interface).and_then(|id| ec2.subnets.get(id));
    let by_id = query.text("Placement.AvailabilityZoneId").and_then(|id| zone_of(ec2, id));
    let zone = subnet.map(|subnet| subnet.zone.clone()).or(by_id);
    zone.or(query.text("Placement.AvailabilityZone").map(str::to_owned)).unwrap_or_else(|| "region".to_owned())
}

/// The zone of this zone id.
fn zone_of(ec2: &Ec2, id: &str) -> Option<String> {
    ec2.zones().find(|zone| zone_id(zone) == id)
}

/// Puts a zone's name where the call has its id.
fn name_zone(ec2: &Ec2, asked: &mut Query) -> Result<(), ApiError> {
    let Some(id) = asked.text("Placement.AvailabilityZoneId").filter(|id| !id.is_empty()) else { return Ok(()) };
    if asked.text("Placement.AvailabilityZone").is_some_and(|zone| !zone.is_empty()) {
        return Err(ApiError::invalid_combination("AvailabilityZone and AvailabilityZoneId may not both be specified"));
    }
    let zone = zone_of(ec2, id).ok_or_else(|| ApiError::invalid_value(format!("Invalid availability zone-id: [{id}]")))?;
    asked.set("Placement.AvailabilityZone", zone)
}

/// Answers a repeated call with what the first one made.
fn replay(turn: &Turn<'_>, reservation: &str) -> Result<Xml, ApiError> {
    let alive = turn.ec2.instances().any(|instance| instance.reservation_id == reservation && instance.is_alive());
    if !alive {
        return Err(ApiError::new(
            "IdempotentInstanceTerminated",
            "The request to launch an instance with this client token is not valid: the instance was terminated.",
        ));
    }
    Ok(answer(turn, reservation))
}

fn answer(turn: &Turn<'_>, reservation: &str) -> Xml {
    let mut instances: Vec<&Instance> = turn.ec2.instances().filter(|instance| instance.reservation_id == reservation).collect();
    instances.sort_by_key(|instance| instance.ami_launch_index);
    let mut xml = Xml::new();
    put_reservation(&mut xml, turn.ec2, reservation, &instances);
    xml
}

/// A launch that can be carried out: all that its instances have in common, and an address for each.
pub(super) struct Launch {
    image: Image,
    options: Options,
    place: Place,
    devices: Vec<ImageDevice>,
    template: Option<ChosenTemplate>,
    addresses: Vec<Ipv4Addr>,
    partitions: Vec<Option<u32>>,
    token: String,
    /// The fleet that it is for.
    fleet_id: Option<String>,
}

impl Launch {
    /// Checks everything that a launch of `least` to `most` instances needs, and changes nothing.
    pub fn prepare(turn: &Turn<'_>, query: &Query, least: usize, most: usize) -> Result<Self, ApiError> {
        let Effective { query: mut asked, template } = effective(turn.ec2, query)?;
        name_zone(turn.ec2, &mut asked)?;
        let image = launch_options::find_image(turn, &asked)?.clone();
        let options = launch_options::read(turn, &asked)?;
        check_bootable(&image, options.kind.name)?;
        let place = launch_network::read(turn.ec2, options.kind, &asked)?;
        let devices = launch_devices::read(turn.ec2, &image, &asked)?;
        check_price(&options, &place)?;
        let facts = facts(&options, &place);
        if let Some((arn, _)) = &options.iam_instance_profile {
            unkind::check_profile(turn, &facts, arn.rsplit('/').next().unwrap_or(arn))?;
        }
        let group = options.placement_group.as_ref();
        let most = match group {
            None => most,
            Some(group) => launch_placement::room(turn.ec2, group, &place.subnet.zone, least, most)?,
        };
        let most = unkind::granted(turn, &facts, options.kind, least, most)?;
        let addresses = launch_network::allocate(turn.ec2, &place, least, most)?;
        let partitions = match group {
            None => vec![None; addresses.len()],
            Some(group) => launch_placement::partitions(turn.ec2, group, addresses.len()),
        };
        let token = query.text("ClientToken").unwrap_or_default().to_owned();
        Ok(Self { image, options, place, devices, template, addresses, partitions, token, fleet_id: None })
    }

    /// Makes the launch one for a fleet.
    pub fn for_fleet(self, fleet_id: &str) -> Self {
        Self { fleet_id: Some(fleet_id.to_owned()), ..self }
    }

    pub fn instance_type(&self) -> &'static str {
        self.options.kind.name
    }

    pub fn subnet(&self) -> &Subnet {
        &self.place.subnet
    }

    /// Makes the instances; answers with their ids.
    pub fn carry_out(&self, turn: &mut Turn<'_>, reservation: &str) -> Vec<String> {
        if let Some(image) = turn.ec2.images.get_mut(&self.image.id) {
            image.last_launched = Some(turn.now);
        }
        // The firewall is marked first, so that all nodes of the launch find one change to carry out.
        turn.deeds.push(Deed::Firewall(self.place.subnet.vpc_id.clone()));
        let mut publics = match self.place.public_address {
            true => turn.ec2.take_public_addresses(self.addresses.len()),
            false => Vec::new(),
        }
        .into_iter();
        if let Some(existing) = &self.place.existing {
            // From now on it lives in its instance.
            turn.ec2.interfaces.remove(&existing.id);
        }
        let placed = self.addresses.iter().zip(&self.partitions);
        (0..)
            .zip(placed)
            .map(|(index, (address, partition))| {
                self.add_instance(turn, reservation, index, (*address, publics.next()), *partition)
            })
            .collect()
    }

    /// Adds one instance with its private and its public address; answers with its id.
    fn add_instance(
        &self,
        turn: &mut Turn<'_>,
        reservation: &str,
        index: u32,
        (address, public_address): (Ipv4Addr, Option<Ipv4Addr>),
        partition_number: Option<u32>,
    ) -> String {
        let (options, place) = (&self.options, &self.place);
        let existing = place.existing.as_ref();
        let id = new_id("i");
        let tags = self.instance_tags();
        let shares = shares(turn, &tags);
        let fate = unkind::fate(turn, &facts(options, place));
        if fate.interruption.is_some() {
            turn.deeds.push(Deed::Interruption(id.clone()));
        }
        let instance = Instance {
            id: id.clone(),
            reservation_id: reservation.to_owned(),
            ami_launch_index: index,
            image_id: self.image.id.clone(),
            instance_type: options.kind.name.to_owned(),
            state: InstanceState::Pending,
            state_reason: None,
            transition_reason: String::new(),
            launch_time: turn.now,
            created: turn.now,
            terminated_at: None,
            generation: 1,
            vpc_id: place.subnet.vpc_id.clone(),
            subnet_id: place.subnet.id.clone(),
            zone: place.subnet.zone.clone(),
            private_address: address,
            mac: mac_of(address),
            wants_public_address: place.public_address,
            interface_id: existing.map_or_else(|| new_id("eni"), |one| one.id.clone()),
            interface_attachment_id: new_id("eni-attach"),
            interface_description: place.description.clone(),
            interface_type: place.interface_type.to_owned(),
            interface_tags: existing.map_or_else(|| options.tags.interface.clone(), |one| one.tags.clone()),
            first: FirstInterface {
                secondary_addresses: existing.map(|one| one.secondary_addresses.clone()).unwrap_or_default(),
                kept: place.kept,
                public_address,
            },
            security_groups: place.security_groups.clone(),
            source_dest_check: existing.is_none_or(|one| one.source_dest_check),
            key_name: options.key.as_ref().map(|(name, _)| name.clone()),
            public_key: options.key.as_ref().map(|(_, public_key)| public_key.clone()),
            user_data: options.user_data.clone(),
            iam_instance_profile: associate(options.iam_instance_profile.as_ref()),
            metadata_options: options.metadata_options.clone(),
            placement_group: options.placement_group.as_ref().map(|group| group.name.clone()),
            partition_number,
            tenancy: "default".to_owned(),
            cpu_options: options.cpu_options,
            root_device: self.image.root_device.clone(),
            layers: self.image.layers.clone(),
            has_root: false,
            devices: self.devices.iter().map(|device| self.add_volume(turn, &id, device)).collect(),
            shares,
            shutdown_behavior: options.shutdown_behavior,
            stop_at_once: false,
            disable_api_termination: options.disable_api_termination,
            disable_api_stop: options.disable_api_stop,
            ebs_optimized: options.ebs_optimized,
            monitoring: options.monitoring,
            cpu_credits: options.cpu_credits.clone(),
            spot_request_id: options.spot.then(|| self.request_spot(turn, &id)),
            client_token: self.token.clone(),
            tags,
            fate,
        };
        turn.ec2.instances.insert(id.clone(), instance);
        turn.deeds.push(Deed::Instance(id.clone()));
        id
    }

    /// Makes the spot request that the instance comes from.
    fn request_spot(&self, turn: &mut Turn<'_>, instance_id: &str) -> String {
        let request = SpotRequest {
            id: turn.ec2.new_spot_request_id(),
            instance_id: instance_id.to_owned(),
            created: turn.now,
            max_price: self.options.max_price.clone(),
            cancelled: None,
            tags: self.options.tags.spot_request.clone(),
        };
        let id = request.id.clone();
        turn.ec2.spot_requests.insert(id.clone(), request);
        id
    }

    /// The tags asked for, and those that EC2 itself adds to what a template launches.
    fn instance_tags(&self) -> Tags {
        let mut tags = self.options.tags.instance.clone();
        if let Some(template) = &self.template {
            tags.insert("aws:ec2launchtemplate:id".to_owned(), template.id.clone());
            tags.insert("aws:ec2launchtemplate:version".to_owned(), template.version.to_string());
        }
        if let Some(fleet_id) = &self.fleet_id {
            tags.insert("aws:ec2:fleet-id".to_owned(), fleet_id.clone());
        }
        tags
    }

    fn add_volume(&self, turn: &mut Turn<'_>, instance_id: &str, device: &ImageDevice) -> InstanceDevice {
        let is_root = device.device == self.image.root_device;
        let volume = Volume {
            id: new_id("vol"),
            gibibytes: device.gibibytes,
            zone: self.place.subnet.zone.clone(),
            volume_type: device.volume_type.clone(),
            iops: device.iops,
            throughput: device.throughput,
            encrypted: device.encrypted,
            snapshot_id: device.snapshot_id.clone(),
            // A root is made with its node.
            state: if is_root { VolumeState::InUse } else { VolumeState::Creating },
            created: turn.now,
            instance_id: Some(instance_id.to_owned()),
            is_root,
            auto_enable_io: false,
            modified: Vec::new(),
            tags: self.options.tags.volume.clone(),
        };
        let attached = InstanceDevice {
            device: device.device.clone(),
            volume_id: volume.id.clone(),
            delete_on_termination: device.delete_on_termination,
            attach_time: turn.now,
            state: DeviceState::Attaching,
        };
        turn.ec2.volumes.insert(volume.id.clone(), volume);
        attached
    }
}

/// Refuses a spot launch that offers less than the price in its zone.
fn check_price(options: &Options, place: &Place) -> Result<(), ApiError> {
    let Some(text) = &options.max_price else { return Ok(()) };
    let price = spot_price(options.kind, &place.subnet.zone);
    // The text was read as a number when the options were.
    if text.parse::<f64>().is_ok_and(|offered| offered < price) {
        return Err(ApiError::new(
            "SpotMaxPriceTooLow",
            format!(
                "Your Spot request price of {text} is lower than the minimum required Spot request fulfillment price of {price:.6}."
            ),
        ));
    }
    Ok(())
}

/// The shared folder of a node whose tags ask for one, where the kernel cannot mount it by itself.
fn shares(turn: &mut Turn<'_>, tags: &Tags) -> Vec<NodeShare> {
    let Some((group, path)) = wanted_share(turn.config, tags) else { return Vec::new() };
    if !*SHARED_PATH_NEEDS_BIND {
        return Vec::new();
    }
    let key = format!("{group}{path}");
    turn.ec2.shares.entry(group.to_owned()).or_default().insert(key.clone());
    vec![NodeShare { key, path: path.to_owned() }]
}

/// Group and path of the share that these tags ask for.
fn wanted_share<'a>(config: &Config, tags: &'a Tags) -> Option<(&'a str, &'a str)> {
    let path = tags.get(config.share_path_tag.as_ref()?)?;
    let group = tags.get(config.share_group_tag.as_ref()?)?;
    // Only a plain absolute path can be bound.
    let plain =
        Path::new(path).components().all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
    (path.starts_with('/') && path.len() > 1 && plain).then_some((group.as_str(), path.as_str()))
}

/// Whether this kernel has no NFS client: nodes share it, so they cannot mount NFS either.
static SHARED_PATH_NEEDS_BIND: LazyLock<bool> = LazyLock::new(|| {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    !known.lines().filter_map(|line| line.split_whitespace().last()).any(|name| ["nfs", "nfs4"].contains(&name))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_asked_for_by_both_tags_and_a_plain_path() {
        let mut config = Config::new("/state", "/cache");
        config.share_path_tag = Some("app:shared".to_owned());
        config.share_group_tag = Some("app:cluster".to_owned());
        let tags =
            |path: &str| Tags::from([("app:shared".to_owned(), path.to_owned()), ("app:cluster".to_owned(), "demo".to_owned())]);
        assert_eq!(wanted_share(&config, &tags("/shared")), Some(("demo", "/shared")));
        assert_eq!(wanted_share(&config, &tags("/a/../etc")), None);
        assert_eq!(wanted_share(&config, &tags("relative")), None);
        assert_eq!(wanted_share(&config, &Tags::new()), None);
    }
}
