//! Recipes to images: a builder is launched from the base, provisioned over SSM, stopped and taken as an AMI.
//!
//! Owns everything between a recipe and an AMI with its fingerprint. An image whose fingerprint exists is never baked
//! again. What a bake makes is noted as it is made and removed when the bake ends, however it ends; what a killed bake
//! left is removed by the next one of the same image. Nothing here knows of clusters.

mod builder;
mod error;
mod image;
mod log;
mod owner;
mod payload;
mod progress;
mod provision;
mod recipe;
mod remnants;
mod render;
mod status;
mod undo;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ewulf_core::events::Level;
use ewulf_core::spec::ImageRecipe;
use ewulf_core::world::Image;

pub use self::error::{BakeError, BakeFailed};
pub use self::owner::{BAKE_TAG, OWNER_TAG, Owner};
pub use self::remnants::{remove_dead, remove_part};
pub use self::render::RenderError;
pub use self::status::{IMAGE_TAG, ImageStatus, ListedImage};
pub use self::undo::Leftover;

use self::log::Log;
use self::recipe::Prepared;
use self::undo::Made;
use crate::aws::{CallError, Cloud};
use crate::events::{Events, Work};
use crate::interrupt::Interrupt;
use crate::sources::Sources;

/// Bakes images on one cloud, from one set of sources.
#[derive(Debug, Clone)]
pub struct Bakery {
    pub cloud: Cloud,
    pub events: Events,
    pub sources: Sources,
}

/// How to bake.
#[derive(Debug, Clone)]
pub struct Options {
    /// Leaves the builder of a failed bake, to look at.
    pub keep_on_error: bool,
    /// Bakes even what is there already.
    pub force: bool,
    /// Folder of the logs.
    pub logs: PathBuf,
    pub interrupt: Interrupt,
}

impl Options {
    /// Bakes what is missing, removes everything after a failure, and writes logs to `logs`.
    pub fn new(logs: impl Into<PathBuf>, interrupt: Interrupt) -> Self {
        Self { keep_on_error: false, force: false, logs: logs.into(), interrupt }
    }
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BakedImage {
    pub image: String,
    pub ami: String,
    pub fingerprint: String,
    /// The log of the bake; None if the image was there before.
    pub log: Option<PathBuf>,
}

impl Bakery {
    /// What each recipe stands for, in the same order: one DescribeImages, and one GetParameter for each distinct base.
    pub async fn status(&self, recipes: &[ImageRecipe]) -> Result<Vec<ImageStatus>, BakeError> {
        status::resolve(&self.cloud, &self.sources, recipes).await
    }

    /// All AMIs that ewulf baked, by name and newest first; `recipes` decide which of them are current.
    pub async fn list(&self, recipes: &[ImageRecipe]) -> Result<Vec<ListedImage>, BakeError> {
        let statuses = self.status(recipes).await?;
        let current: BTreeMap<String, String> =
            recipes.iter().zip(statuses).map(|(recipe, status)| (recipe.image.to_string(), status.fingerprint)).collect();
        Ok(status::list(&self.cloud, &current).await?)
    }

    /// Removes an AMI and its snapshots.
    pub async fn remove(&self, ami: &str) -> Result<(), CallError> {
        undo::deregister(&self.cloud, ami).await
    }

    /// Bakes one image, unless it is there.
    pub async fn bake(&self, recipe: &ImageRecipe, options: &Options) -> Result<BakedImage, BakeFailed> {
        let status = self.status(std::slice::from_ref(recipe)).await.map_err(BakeFailed::early)?.remove(0);
        self.bake_with(recipe, status, options).await
    }

    /// Bakes all images that are not there, side by side; the results stand in the order of the recipes.
    pub async fn bake_all(
        &self,
        recipes: &[ImageRecipe],
        options: &Options,
    ) -> Result<Vec<Result<BakedImage, BakeFailed>>, BakeError> {
        let statuses = self.status(recipes).await?;
        let mut tasks = Vec::with_capacity(recipes.len());
        for (recipe, status) in recipes.iter().cloned().zip(statuses) {
            let (bakery, options) = (self.clone(), options.clone());
            tasks
                .push((recipe.image.to_string(), tokio::spawn(async move { bakery.bake_with(&recipe, status, &options).await })));
        }
        let mut results = Vec::with_capacity(tasks.len());
        for (image, task) in tasks {
            let panicked =
                |error: tokio::task::JoinError| BakeFailed::early(BakeError::Panicked { image, reason: error.to_string() });
            results.push(task.await.unwrap_or_else(|error| Err(panicked(error))));
        }
        Ok(results)
    }

    async fn bake_with(&self, recipe: &ImageRecipe, status: ImageStatus, options: &Options) -> Result<BakedImage, BakeFailed> {
        if let (Image::Fresh(ami), false) = (&status.image, options.force) {
            let (image, ami) = (recipe.image.to_string(), ami.id.clone());
            // The bake that made it may have been killed before it could clean up.
            remnants::remove_dead(&self.cloud, &self.events, &image).await.map_err(|error| BakeFailed::early(error.into()))?;
            return Ok(BakedImage { image, ami, fingerprint: status.fingerprint, log: None });
        }
        let mut bake = Bake::begin(self, recipe, status, options).map_err(BakeFailed::early)?;
        let outcome = match &bake.status.pending {
            Some(id) if !options.force => {
                let id = id.clone();
                bake.adopt(&id).await
            }
            _ => bake.run().await,
        };
        bake.end(outcome).await
    }
}

impl BakeFailed {
    /// A failure before anything was made.
    fn early(error: BakeError) -> Self {
        Self { error, left: Vec::new(), kept_builder: None, log: None }
    }
}

/// One image being baked.
struct Bake<'a> {
    image: String,
    cloud: &'a Cloud,
    events: &'a Events,
    options: &'a Options,
    prepared: Prepared,
    status: ImageStatus,
    owner: Owner,
    log: Log,
    /// What exists and has to be removed, in order of making.
    made: Vec<Made>,
}

impl<'a> Bake<'a> {
    fn begin(bakery: &'a Bakery, recipe: &ImageRecipe, status: ImageStatus, options: &'a Options) -> Result<Self, BakeError> {
        let image = recipe.image.to_string();
        let log = Log::create(&options.logs, &image).map_err(|source| BakeError::Log {
            image: image.clone(),
            folder: options.logs.clone(),
            source,
        })?;
        Ok(Self {
            prepared: Prepared::new(recipe, &bakery.sources)?,
            cloud: &bakery.cloud,
            events: &bakery.events,
            owner: Owner::here(),
            made: Vec::new(),
            options,
            status,
            image,
            log,
        })
    }

    fn recipe(&self) -> &ImageRecipe {
        &self.prepared.recipe
    }

    /// The text of a script of `templates/bake`.
    fn script(&self, name: &str) -> Result<String, BakeError> {
        let script = self.prepared.scripts.get(&format!("{name}.sh"));
        let text = script.and_then(|content| String::from_utf8(content.clone()).ok());
        text.ok_or_else(|| BakeError::NoScript { image: self.image.clone(), script: name.to_owned() })
    }

    fn begin_work(&self, step: &str, sentence: &str) -> Work {
        self.log.line(&format!("--- {sentence}"));
        self.events.begin(format!("{}: {step}", self.image), sentence)
    }

    /// Goes on with an AMI that a killed bake asked for.
    async fn adopt(&mut self, id: &str) -> Result<String, BakeError> {
        self.remove_remnants().await?;
        let work = self.begin_work("image", &format!("waiting for AMI {id} of an earlier bake"));
        let outcome = self.await_image(id).await;
        report(work, outcome, format!("Image {} is {id}", self.image))?;
        Ok(id.to_owned())
    }

    /// Everything from an empty account to an AMI that can be launched.
    async fn run(&mut self) -> Result<String, BakeError> {
        // A script that is missing must not come to light after minutes of work.
        self.script("agent")?;
        self.check_scripts()?;
        self.remove_remnants().await?;
        let builder = self.make_builder().await?;
        self.upload(&builder).await?;
        self.provision(&builder).await?;
        let work = self.begin_work("image", "taking the image");
        let outcome = self.take(&builder, &work).await;
        let sentence = outcome.as_ref().map(|id| format!("Image {} is {id}", self.image)).unwrap_or_default();
        report(work, outcome, sentence)
    }

    async fn make_builder(&mut self) -> Result<String, BakeError> {
        let kind = self.recipe().builder.instance_type.as_str();
        let work = self.begin_work("builder", &format!("launching a builder of type {kind} from {}", self.status.base));
        let outcome = self.launch_builder(&work).await;
        let sentence = outcome.as_ref().map(|id| format!("Launched builder {id}")).unwrap_or_default();
        report(work, outcome, sentence)
    }

    async fn launch_builder(&mut self, work: &Work) -> Result<String, BakeError> {
        let place = self.find_place().await?;
        let group = self.create_group(&place).await?;
        let builder = self.launch(&place, &group).await?;
        work.waiting(format!("waiting for {builder} to run"));
        self.await_running(&builder).await?;
        work.waiting(format!("waiting for SSM to reach {builder}"));
        self.await_online(&builder).await?;
        Ok(builder)
    }

    async fn take(&mut self, builder: &str, work: &Work) -> Result<String, BakeError> {
        work.waiting(format!("waiting for {builder} to stop"));
        self.stop(builder).await?;
        self.check_interrupt()?;
        let id = self.create_image(builder).await?;
        work.waiting(format!("waiting for EC2 to finish {id}"));
        self.await_image(&id).await?;
        Ok(id)
    }

    /// Removes what killed bakes of this image left; a bake that may be alive is left alone and is an error.
    async fn remove_remnants(&self) -> Result<(), BakeError> {
        match remnants::remove_dead(self.cloud, self.events, &self.image).await? {
            None => Ok(()),
            Some(alive) => Err(BakeError::UnderWay { image: self.image.clone(), what: alive }),
        }
    }

    /// Removes what must go and says how it ended.
    async fn end(mut self, outcome: Result<String, BakeError>) -> Result<BakedImage, BakeFailed> {
        let log = self.log.path().to_owned();
        if outcome.is_ok() {
            // A finished image stays.
            self.made.retain(|made| !matches!(made, Made::Image(_)));
        }
        let kept_builder = match &outcome {
            Err(_) if self.options.keep_on_error => self.keep_builder(),
            _ => None,
        };
        let left = self.clean_up().await;
        match outcome {
            Ok(ami) => {
                for leftover in &left {
                    self.events.notice(Level::Warning, leftover.to_string());
                }
                Ok(BakedImage { image: self.image, ami, fingerprint: self.status.fingerprint, log: Some(log) })
            }
            Err(error) => {
                self.log.line(&format!("failed: {}", crate::aws::describe(&error)));
                Err(BakeFailed { error, left, kept_builder, log: Some(log) })
            }
        }
    }

    /// Takes builder and group off the list of what has to go; answers with the builder.
    fn keep_builder(&mut self) -> Option<String> {
        let builder = self.made.iter().find_map(|made| match made {
            Made::Builder(id) => Some(id.clone()),
            _ => None,
        })?;
        self.made.retain(|made| matches!(made, Made::Image(_)));
        Some(builder)
    }

    async fn clean_up(&mut self) -> Vec<Leftover> {
        let made = std::mem::take(&mut self.made);
        if made.is_empty() {
            return Vec::new();
        }
        let work = self.begin_work("clean-up", "removing the builder");
        let left = undo::remove_all(self.cloud, made).await;
        match left.first() {
            None => work.done("Removed the builder"),
            Some(first) => work.failed(&first.cause),
        }
        left
    }

    /// Runs a future that may be dropped halfway, unless the user asks to stop first.
    async fn interruptible<T>(&self, work: impl Future<Output = T>) -> Result<T, BakeError> {
        tokio::select! {
            biased;
            () = self.options.interrupt.requested() => Err(BakeError::Interrupted { image: self.image.clone() }),
            outcome = work => Ok(outcome),
        }
    }

    fn check_interrupt(&self) -> Result<(), BakeError> {
        match self.options.interrupt.is_requested() {
            true => Err(BakeError::Interrupted { image: self.image.clone() }),
            false => Ok(()),
        }
    }
}

/// Ends a piece of work as its outcome says.
fn report<T>(work: Work, outcome: Result<T, BakeError>, sentence: String) -> Result<T, BakeError> {
    match outcome {
        Ok(value) => {
            work.done(sentence);
            Ok(value)
        }
        Err(error) => {
            work.failed(&error);
            Err(error)
        }
    }
}

/// Folder of bake logs inside a project folder.
pub fn log_folder(project: &Path) -> PathBuf {
    project.join("results/bake")
}
