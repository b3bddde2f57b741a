//! From a provisioned builder to an AMI.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ImageState, InstanceStateName, ResourceType};
use ewulf_core::address::FINGERPRINT_TAG;

use super::builder::tag_specification;
use super::status::{BASE_TAG, IMAGE_TAG};
use super::undo::Made;
use super::{Bake, BakeError};
use crate::aws::{Backoff, CallError, Class, failure, retry};

/// A clean shutdown of a Debian takes seconds; EC2 forces it after some minutes.
const STOP_PATIENCE: Duration = Duration::from_secs(600);
/// A snapshot of some GiB takes minutes; packer waits as long.
const IMAGE_PATIENCE: Duration = Duration::from_secs(1_800);
/// Digits of the fingerprint in an AMI's name, for people; the tag has all.
const NAME_DIGITS: usize = 8;

impl Bake<'_> {
    /// Stops the builder: an image of a running machine is no better than after a power cut (ec2.md 8.1).
    pub(super) async fn stop(&self, builder: &str) -> Result<(), BakeError> {
        let stop = self.cloud.ec2.stop_instances().instance_ids(builder).send().await;
        stop.map_err(|error| failure("StopInstances", builder, error))?;
        self.await_state(builder, &InstanceStateName::Stopped, STOP_PATIENCE).await
    }

    /// Asks for the AMI; image and snapshots are tagged by the same call.
    pub(super) async fn create_image(&mut self, builder: &str) -> Result<String, BakeError> {
        let fingerprint = self.status.fingerprint.clone();
        let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S");
        let name = format!("ewulf-{}-{time}-{}", self.image, &fingerprint[..NAME_DIGITS]);
        let tags =
            [("Name", name.as_str()), (IMAGE_TAG, &self.image), (FINGERPRINT_TAG, &fingerprint), (BASE_TAG, &self.status.base)];
        let id = retry(Duration::from_secs(120), &[Class::Ambiguous, Class::Conflict], || async {
            // There is no token for this call: after a lost answer only the name can tell.
            if let Some(id) = self.image_named(&name).await? {
                return Ok(id);
            }
            let answer = self
                .cloud
                .ec2
                .create_image()
                .instance_id(builder)
                .name(&name)
                .description(format!("ewulf image {}", self.image))
                .tag_specifications(tag_specification(ResourceType::Image, &tags))
                .tag_specifications(tag_specification(ResourceType::Snapshot, &tags))
                .send()
                .await
                .map_err(|error| failure("CreateImage", &name, error))?;
            answer.image_id.ok_or_else(|| CallError::unexpected("CreateImage", &name, "the answer has no image id"))
        })
        .await?;
        self.made.push(Made::Image(id.clone()));
        Ok(id)
    }

    async fn image_named(&self, name: &str) -> Result<Option<String>, CallError> {
        let filter = Filter::builder().name("name").values(name).build();
        let answer = self.cloud.ec2.describe_images().owners("self").filters(filter).send().await;
        let answer = answer.map_err(|error| failure("DescribeImages", name, error))?;
        Ok(answer.images().first().and_then(|image| image.image_id()).map(str::to_owned))
    }

    /// Waits until the AMI can be launched.
    pub(super) async fn await_image(&self, id: &str) -> Result<(), BakeError> {
        let mut backoff = Backoff::polling(IMAGE_PATIENCE);
        loop {
            let answer = self.cloud.ec2.describe_images().image_ids(id).send().await;
            match answer.map_err(|error| failure("DescribeImages", id, error)) {
                // Not visible yet (ec2.md 1).
                Err(error) if error.class == Class::NotFound => {}
                Err(error) => return Err(error.into()),
                Ok(answer) => match answer.images().first().map(|image| (image.state().cloned(), image.state_reason())) {
                    Some((Some(ImageState::Available), _)) => return Ok(()),
                    Some((Some(ImageState::Failed | ImageState::Error | ImageState::Invalid), reason)) => {
                        let reason = reason.and_then(|reason| reason.message()).unwrap_or("EC2 gives no reason").to_owned();
                        return Err(BakeError::ImageFailed { image: self.image.clone(), id: id.to_owned(), reason });
                    }
                    _ => {}
                },
            }
            if !self.interruptible(backoff.pause()).await? {
                return Err(BakeError::ImageSlow {
                    image: self.image.clone(),
                    id: id.to_owned(),
                    minutes: IMAGE_PATIENCE.as_secs() / 60,
                });
            }
        }
    }
}
