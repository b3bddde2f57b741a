//! What there is already: which AMI stands for which recipe, and all AMIs that were baked.
//!
//! Reads only. A status costs one DescribeImages, and one GetParameter for each distinct base.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, Image as Ec2Image, ImageState};
use ewulf_core::address::FINGERPRINT_TAG;
use ewulf_core::spec::ImageRecipe;
use ewulf_core::world::{Ami, Image};

use super::BakeError;
use super::recipe::{BaseSource, Prepared, base_source};
use crate::aws::{CallError, Cloud, failure};
use crate::sources::Sources;

/// Tag on an AMI and its snapshots: the name of the image.
pub const IMAGE_TAG: &str = "ewulf:image";
/// Tag on an AMI: the AMI it was baked from.
pub(super) const BASE_TAG: &str = "ewulf:base";

/// What a recipe stands for now, and what it would stand for.
#[derive(Debug, Clone)]
pub struct ImageStatus {
    /// The AMI that was baked from the recipe as it is, else the newest of that name, else none.
    pub image: Image,
    /// Fingerprint of the recipe with all that it names.
    pub fingerprint: String,
    /// Id of the AMI that it starts from.
    pub base: String,
    /// An AMI with this fingerprint that EC2 still makes: another bake's, or one whose bake was killed.
    pub pending: Option<String>,
}

/// One baked AMI, for `ewulf images`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ListedImage {
    pub image: String,
    pub ami: String,
    /// As EC2 writes it, RFC 3339.
    pub created: String,
    pub fingerprint: String,
    /// Size of the root volume.
    pub gibibytes: u32,
    /// `available`, `pending` or `failed`.
    pub state: String,
    /// Whether it is what its recipe stands for now; None if there is no recipe of that name.
    pub current: Option<bool>,
    /// Instances that boot from it and are not on their way out.
    pub instances: usize,
}

/// Resolves the status of each recipe, in the same order.
pub(super) async fn resolve(cloud: &Cloud, sources: &Sources, recipes: &[ImageRecipe]) -> Result<Vec<ImageStatus>, BakeError> {
    let (bases, images) = tokio::join!(bases(cloud, recipes), baked_images(cloud));
    let (bases, images) = (bases?, images?);
    let mut statuses = Vec::with_capacity(recipes.len());
    for recipe in recipes {
        let base = match base_source(recipe) {
            BaseSource::Ami(id) => id.to_owned(),
            BaseSource::Parameter(name) => bases[name].clone(),
        };
        let fingerprint = Prepared::new(recipe, sources)?.fingerprint(&base);
        statuses.push(status(recipe.image.as_str(), fingerprint, base, &images));
    }
    Ok(statuses)
}

fn status(name: &str, fingerprint: String, base: String, images: &[Ec2Image]) -> ImageStatus {
    let named: Vec<&Ec2Image> = images.iter().filter(|image| tag(image, IMAGE_TAG) == Some(name)).collect();
    let in_state = |state: ImageState| named.iter().copied().filter(move |image| image.state() == Some(&state));
    let newest = |matching: &dyn Fn(&Ec2Image) -> bool| {
        in_state(ImageState::Available)
            .filter(|image| matching(image))
            .max_by_key(|image| image.creation_date().map(str::to_owned))
    };
    let has_fingerprint = |image: &Ec2Image| tag(image, FINGERPRINT_TAG) == Some(&fingerprint);
    let image = match (newest(&has_fingerprint), newest(&|_| true)) {
        (Some(image), _) => Image::Fresh(ami(image)),
        (None, Some(image)) => Image::Stale(ami(image)),
        (None, None) => Image::Missing,
    };
    let pending = in_state(ImageState::Pending).find(|image| has_fingerprint(image)).and_then(|image| image.image_id());
    let pending = pending.map(str::to_owned);
    ImageStatus { image, base, pending, fingerprint }
}

/// Values of the parameters that name bases, each asked for once.
async fn bases(cloud: &Cloud, recipes: &[ImageRecipe]) -> Result<BTreeMap<String, String>, BakeError> {
    let names: BTreeSet<String> = recipes
        .iter()
        .filter_map(|recipe| match base_source(recipe) {
            BaseSource::Parameter(name) => Some(name.to_owned()),
            BaseSource::Ami(_) => None,
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        let cloud = cloud.clone();
        tasks.spawn(async move {
            let answer = cloud.ssm.get_parameter().name(&name).send().await;
            let answer = answer.map_err(|error| failure("GetParameter", &name, error));
            (name, answer)
        });
    }
    let mut bases = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (name, answer) = done.map_err(|error| CallError::unexpected("GetParameter", "base", error.to_string()))?;
        let value =
            answer.map_err(|source| BakeError::Base { name: name.clone(), source })?.parameter.and_then(|found| found.value);
        let value = value.ok_or_else(|| CallError::unexpected("GetParameter", &name, "the answer has no value"))?;
        bases.insert(name, value);
    }
    Ok(bases)
}

/// Every AMI of this account that ewulf baked, in any state.
async fn baked_images(cloud: &Cloud) -> Result<Vec<Ec2Image>, CallError> {
    let filter = Filter::builder().name("tag-key").values(IMAGE_TAG).build();
    let mut images = Vec::new();
    let mut pages = cloud.ec2.describe_images().owners("self").filters(filter).into_paginator().send();
    while let Some(page) = pages.next().await {
        images.extend(page.map_err(|error| failure("DescribeImages", "baked images", error))?.images.unwrap_or_default());
    }
    Ok(images)
}

/// All baked AMIs by name, newest first.
pub(super) async fn list(cloud: &Cloud, current: &BTreeMap<String, String>) -> Result<Vec<ListedImage>, CallError> {
    let images = baked_images(cloud).await?;
    let ids: Vec<String> = images.iter().filter_map(|image| image.image_id().map(str::to_owned)).collect();
    let used = instances_by_image(cloud, ids).await?;
    let mut listed: Vec<ListedImage> = images
        .iter()
        .map(|image| {
            let name = tag(image, IMAGE_TAG).unwrap_or_default().to_owned();
            let fingerprint = tag(image, FINGERPRINT_TAG).unwrap_or_default().to_owned();
            let Ami { id, root_gibibytes, .. } = ami(image);
            ListedImage {
                current: current.get(&name).map(|wanted| *wanted == fingerprint),
                instances: used.get(&id).copied().unwrap_or_default(),
                ami: id,
                created: image.creation_date().unwrap_or_default().to_owned(),
                gibibytes: root_gibibytes,
                state: image.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
                image: name,
                fingerprint,
            }
        })
        .collect();
    listed.sort_by(|one, other| one.image.cmp(&other.image).then(other.created.cmp(&one.created)));
    Ok(listed)
}

async fn instances_by_image(cloud: &Cloud, ids: Vec<String>) -> Result<BTreeMap<String, usize>, CallError> {
    let mut used = BTreeMap::new();
    // A filter takes 200 values.
    for batch in ids.chunks(200) {
        let by_image = Filter::builder().name("image-id").set_values(Some(batch.to_vec())).build();
        let states = ["pending", "running", "stopping", "stopped"].map(str::to_owned).to_vec();
        let by_state = Filter::builder().name("instance-state-name").set_values(Some(states)).build();
        let mut pages = cloud.ec2.describe_instances().filters(by_image).filters(by_state).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure("DescribeInstances", "instances of baked images", error))?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                *used.entry(instance.image_id().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    Ok(used)
}

pub(super) fn ami(image: &Ec2Image) -> Ami {
    let root_device = image.root_device_name().unwrap_or("/dev/xvda").to_owned();
    let root = image.block_device_mappings().iter().find(|mapping| mapping.device_name() == Some(&root_device));
    let size = root.and_then(|mapping| mapping.ebs()).and_then(|ebs| ebs.volume_size());
    Ami {
        id: image.image_id().unwrap_or_default().to_owned(),
        root_gibibytes: size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
        root_device,
    }
}

fn tag<'a>(image: &'a Ec2Image, key: &str) -> Option<&'a str> {
    image.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;

    fn image(id: &str, fingerprint: &str, created: &str, state: ImageState) -> Ec2Image {
        let tags = [(IMAGE_TAG, "worker"), (FINGERPRINT_TAG, fingerprint)];
        let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build()).to_vec();
        Ec2Image::builder()
            .image_id(id)
            .creation_date(created)
            .state(state)
            .set_tags(Some(tags))
            .root_device_name("/dev/xvda")
            .build()
    }

    fn status_of(images: &[Ec2Image]) -> ImageStatus {
        status("worker", "new".to_owned(), "ami-base".to_owned(), images)
    }

    #[test]
    fn an_image_with_the_recipes_fingerprint_is_fresh_even_if_a_newer_one_has_another() {
        let images = [
            image("ami-1", "new", "2026-01-01T00:00:00.000Z", ImageState::Available),
            image("ami-2", "old", "2026-02-01T00:00:00.000Z", ImageState::Available),
        ];
        assert!(matches!(status_of(&images).image, Image::Fresh(ami) if ami.id == "ami-1"));
    }

    #[test]
    fn the_newest_image_of_an_earlier_recipe_is_stale() {
        let images = [
            image("ami-1", "old", "2026-01-01T00:00:00.000Z", ImageState::Available),
            image("ami-2", "older", "2026-02-01T00:00:00.000Z", ImageState::Available),
        ];
        assert!(matches!(status_of(&images).image, Image::Stale(ami) if ami.id == "ami-2"));
    }

    #[test]
    fn an_image_that_is_still_being_made_is_not_there_yet_but_known() {
        let status = status_of(&[image("ami-1", "new", "2026-01-01T00:00:00.000Z", ImageState::Pending)]);
        assert!(matches!(status.image, Image::Missing));
        assert_eq!(status.pending.as_deref(), Some("ami-1"));
    }
}
