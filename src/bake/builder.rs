//! The builder: one instance in a security group of its own, both tagged in the calls that make them.

use std::time::Duration;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, Filter, HttpTokensState, IamInstanceProfileSpecification, Instance,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceStateName, InstanceType, ResourceType,
    ShutdownBehavior, Subnet, Tag, TagSpecification, VolumeType,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::owner::{BAKE_TAG, OWNER_TAG};
use super::status::{IMAGE_TAG, ami};
use super::undo::Made;
use super::{Bake, BakeError};
use crate::aws::{Backoff, CallError, Class, failure, retry};

/// From a launch to `running`; minutes at worst.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(600);
/// From `running` to an agent that answers: a few minutes are usual, and 15 mean that something is wrong (ec2.md 7.5).
const AGENT_PATIENCE: Duration = Duration::from_secs(900);
/// How long a fresh resource may be unknown to other calls (ec2.md 1).
const CONSISTENCY: Duration = Duration::from_secs(60);

/// Where a builder is launched: candidates in the order in which they are tried.
pub(super) struct Place {
    vpc: String,
    subnets: Vec<String>,
}

impl Bake<'_> {
    /// Finds the recipe's subnet, or those of the region's default VPC.
    pub(super) async fn find_place(&self) -> Result<Place, BakeError> {
        let request = self.cloud.ec2.describe_subnets();
        let request = match &self.recipe().builder.subnet {
            Some(subnet) => request.subnet_ids(subnet.as_str()),
            None => request.filters(Filter::builder().name("default-for-az").values("true").build()),
        };
        let answer = request.send().await.map_err(|error| failure("DescribeSubnets", "builder", error))?;
        let mut subnets: Vec<Subnet> = answer.subnets.unwrap_or_default();
        subnets.sort_by_key(|subnet| subnet.availability_zone().map(str::to_owned));
        let vpc = subnets.first().and_then(|subnet| subnet.vpc_id()).map(str::to_owned);
        let vpc = vpc.ok_or_else(|| BakeError::NoSubnet { image: self.image.clone(), region: self.cloud.region.clone() })?;
        let subnets = subnets.iter().filter(|subnet| subnet.vpc_id() == Some(&vpc)).filter_map(|subnet| subnet.subnet_id());
        Ok(Place { subnets: subnets.map(str::to_owned).collect(), vpc })
    }

    /// Makes the builder's security group: nothing comes in, since all work goes through SSM.
    pub(super) async fn create_group(&mut self, place: &Place) -> Result<String, BakeError> {
        let name = format!("ewulf-bake-{}-{}", self.image, self.owner.token());
        let answer = self
            .cloud
            .ec2
            .create_security_group()
            .group_name(&name)
            .description(format!("Builder of ewulf image {}", self.image))
            .vpc_id(&place.vpc)
            .tag_specifications(self.tags(ResourceType::SecurityGroup))
            .send()
            .await
            .map_err(|error| failure("CreateSecurityGroup", &name, error))?;
        let id =
            answer.group_id.ok_or_else(|| CallError::unexpected("CreateSecurityGroup", &name, "the answer has no group id"))?;
        self.made.push(Made::SecurityGroup(id.clone()));
        Ok(id)
    }

    /// Launches the builder in the first subnet that has room for it.
    pub(super) async fn launch(&mut self, place: &Place, group: &str) -> Result<String, BakeError> {
        let root = self.root_volume().await?;
        let user_data = STANDARD.encode(self.script("agent")?);
        let mut full = None;
        for subnet in &place.subnets {
            match self.launch_in(subnet, group, &root, &user_data).await {
                Err(error) if error.class == Class::Capacity => full = Some(error),
                Err(error) => return Err(error.into()),
                Ok(id) => {
                    self.made.push(Made::Builder(id.clone()));
                    return Ok(id);
                }
            }
        }
        Err(full.unwrap_or_else(|| CallError::unexpected("RunInstances", &self.image, "there is no subnet to launch in")).into())
    }

    async fn launch_in(
        &self,
        subnet: &str,
        group: &str,
        root: &BlockDeviceMapping,
        user_data: &str,
    ) -> Result<String, CallError> {
        let builder = &self.recipe().builder;
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_put_response_hop_limit(1)
            .build();
        let profile =
            builder.instance_profile.as_ref().map(|name| IamInstanceProfileSpecification::builder().name(name.as_str()).build());
        // Two images may be baked by one process at once: the token names the image as well.
        let token = ewulf_core::fingerprint::of(&(&self.image, self.owner.token(), subnet));
        // A launch whose answer was lost is asked for again with the same token, and so happens once. A group may be
        // unknown for seconds after it was made.
        retry(CONSISTENCY, &[Class::Ambiguous, Class::NotFound], || async {
            let answer = self
                .cloud
                .ec2_once
                .run_instances()
                .client_token(&token)
                .image_id(&self.status.base)
                .instance_type(InstanceType::from(builder.instance_type.as_str()))
                .min_count(1)
                .max_count(1)
                .subnet_id(subnet)
                .security_group_ids(group)
                .block_device_mappings(root.clone())
                .metadata_options(metadata.clone())
                .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
                .set_iam_instance_profile(profile.clone())
                .user_data(user_data)
                .tag_specifications(self.tags(ResourceType::Instance))
                .tag_specifications(self.tags(ResourceType::Volume))
                .send()
                .await
                .map_err(|error| failure("RunInstances", &self.image, error))?;
            let id = answer.instances().first().and_then(|instance| instance.instance_id()).map(str::to_owned);
            id.ok_or_else(|| CallError::unexpected("RunInstances", &self.image, "the answer has no instance"))
        })
        .await
    }

    /// The root volume of the builder, under the name that the base gives it: any other would be a second volume.
    async fn root_volume(&self) -> Result<BlockDeviceMapping, BakeError> {
        let base = &self.status.base;
        let answer = self.cloud.ec2.describe_images().image_ids(base).send().await;
        let answer = answer.map_err(|error| failure("DescribeImages", base, error))?;
        let image = answer.images().first().ok_or_else(|| CallError::unexpected("DescribeImages", base, "no such image"))?;
        let base = ami(image);
        let size = self.recipe().builder.root_volume.as_gibibytes().max(base.root_gibibytes);
        let volume = EbsBlockDevice::builder()
            .volume_size(i32::try_from(size).expect("a volume has at most 64 TiB"))
            .volume_type(VolumeType::Gp3)
            .delete_on_termination(true)
            .build();
        Ok(BlockDeviceMapping::builder().device_name(base.root_device).ebs(volume).build())
    }

    /// Waits until EC2 runs the builder.
    pub(super) async fn await_running(&self, id: &str) -> Result<(), BakeError> {
        self.await_state(id, &InstanceStateName::Running, LAUNCH_PATIENCE).await
    }

    /// Waits for a state; an instance on its way out never reaches another.
    pub(super) async fn await_state(&self, id: &str, wanted: &InstanceStateName, patience: Duration) -> Result<(), BakeError> {
        let mut backoff = Backoff::polling(patience);
        loop {
            let instance = self.instance(id).await?;
            let state = instance.as_ref().and_then(|instance| instance.state()).and_then(|state| state.name()).cloned();
            match state {
                Some(state) if state == *wanted => return Ok(()),
                Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => {
                    let found = instance.and_then(|instance| instance.state_reason);
                    let code = found.as_ref().and_then(|reason| reason.code.clone());
                    let reason = found.and_then(|reason| reason.message).unwrap_or_else(|| "EC2 gives no reason".to_owned());
                    return Err(BakeError::BuilderEnded { image: self.image.clone(), id: id.to_owned(), code, reason });
                }
                _ => {}
            }
            if !self.interruptible(backoff.pause()).await? {
                let state = wanted.as_str().to_owned();
                return Err(BakeError::BuilderState {
                    image: self.image.clone(),
                    id: id.to_owned(),
                    state,
                    minutes: patience.as_secs() / 60,
                });
            }
        }
    }

    async fn instance(&self, id: &str) -> Result<Option<Instance>, BakeError> {
        match self
            .cloud
            .ec2
            .describe_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(|error| failure("DescribeInstances", id, error))
        {
            Ok(answer) => {
                Ok(answer.reservations.unwrap_or_default().into_iter().flat_map(|one| one.instances.unwrap_or_default()).next())
            }
            // Not visible yet.
            Err(error) if error.class == Class::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until commands reach the builder.
    pub(super) async fn await_online(&self, id: &str) -> Result<(), BakeError> {
        let ids = [id.to_owned()];
        let online = self.interruptible(self.cloud.wait_online(&ids, AGENT_PATIENCE)).await??;
        if online.is_empty() {
            return Ok(());
        }
        let console = self.console(id).await;
        Err(BakeError::Offline { image: self.image.clone(), id: id.to_owned(), minutes: AGENT_PATIENCE.as_secs() / 60, console })
    }

    /// The last lines of the builder's console, or nothing.
    async fn console(&self, id: &str) -> String {
        let answer = self.cloud.ec2.get_console_output().instance_id(id).send().await;
        let text = answer.ok().and_then(|answer| answer.output).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// The tags of builder and group, by which a later bake finds what this one may leave when it is killed.
    fn tags(&self, kind: ResourceType) -> TagSpecification {
        let owner = self.owner.to_string();
        let name = format!("ewulf bake {}", self.image);
        tag_specification(kind, &[("Name", &name), (BAKE_TAG, &self.image), (IMAGE_TAG, &self.image), (OWNER_TAG, &owner)])
    }
}

pub(super) fn tag_specification(kind: ResourceType, tags: &[(&str, &str)]) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build());
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.collect())).build()
}
