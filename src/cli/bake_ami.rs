//! `ewulf bake-ami`: recipes to images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ewulf_core::spec::ImageRecipe;
use serde_json::json;

use crate::bake::{self, BakeError, BakeFailed, BakedImage, Bakery, Options};
use crate::ui::Table;

use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind as FailureKind, Outcome};
use super::images;
use super::project::{Kind, Project};
use super::session::Session;

/// Bakes images from their recipes, side by side; those that are there already are left alone.
///
/// Without files, every recipe of the project, and those that its cluster specs name. A failed or interrupted bake
/// removes all it made. The whole output of each bake is kept in results/bake/.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf bake-ami
  ewulf bake-ami images/worker.yaml --cloud aws --region eu-central-1
  ewulf bake-ami images/worker.yaml --force --on-error keep")]
pub struct BakeAmi {
    /// Image recipes [default: all of the project]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What happens to the builder of a bake that failed
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    on_error: OnError,
    /// Bake even what is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    cloud: CloudOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    /// Remove it, with everything else that the bake made
    #[default]
    Unwind,
    /// Leave it running, to look at
    Keep,
}

impl BakeAmi {
    pub async fn run(self, session: &Session) -> Outcome {
        let project = session.project()?;
        let recipes = recipes(project, &self.files)?;
        let (kind, region) = self.cloud.or_of_specs(project)?;
        let events = session.event_stream();
        let cloud = session.connect(kind, &region, &events).await?;
        session.announce_interrupt(&events);
        let bakery = Bakery { cloud, events, sources: project.sources() };
        let mut options = Options::new(bake::log_folder(&project.output_folder()), session.interrupt.clone());
        options.keep_on_error = self.on_error == OnError::Keep;
        options.force = self.force;
        let results = bakery.bake_all(&recipes, &options).await?;
        session.tell_calls(&bakery.cloud);
        let mut images = Vec::new();
        let mut failures = Vec::new();
        for result in results {
            match result {
                Ok(image) => images.push(image),
                Err(failed) => failures.push(Failure::from(failed)),
            }
        }
        show(session, &images)?;
        let mut failures = failures.into_iter();
        match failures.next() {
            Some(first) => Err(joined(first, failures)),
            None => Ok(Exit::Done),
        }
    }
}

/// The recipes that are meant, each once.
fn recipes(project: &Project, files: &[PathBuf]) -> Result<Vec<ImageRecipe>, Failure> {
    if files.is_empty() {
        let names = wanted(project);
        if names.is_empty() {
            return Err(Failure::invalid("there is no image recipe").hint("`ewulf init DIR` writes a project to start from"));
        }
        return images::recipes(project, &names);
    }
    let mut recipes: Vec<ImageRecipe> = Vec::new();
    let outcomes: Vec<Result<(), Failure>> = files
        .iter()
        .map(|file| {
            let recipe = load(project, file)?;
            if !recipes.iter().any(|other| other.image == recipe.image) {
                recipes.push(recipe);
            }
            Ok(())
        })
        .collect();
    super::project::gather(outcomes)?;
    Ok(recipes)
}

/// Loads a recipe by its file, or by its name if that is no file.
fn load(project: &Project, file: &Path) -> Result<ImageRecipe, Failure> {
    let name = file.to_string_lossy();
    let by_name = project.names(Kind::Image).contains(&name.to_string()) && !file.exists();
    let path = if by_name { project.path(Kind::Image, &name) } else { file.to_owned() };
    Ok(project.image(&path)?.spec)
}

/// Names of the project's own recipes and of those its cluster specs name; all built-in ones away from any project.
fn wanted(project: &Project) -> Vec<String> {
    if project.folder().is_none() {
        return project.names(Kind::Image);
    }
    let mut names: BTreeSet<String> = project.own_names(Kind::Image).into_iter().collect();
    for file in project.files(Kind::Cluster) {
        if let Ok(loaded) = project.cluster(&file) {
            names.extend(loaded.spec.recipes().iter().map(ToString::to_string));
        }
    }
    names.into_iter().collect()
}

fn show(session: &Session, images: &[BakedImage]) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.print_json_line(&json!({ "event": "finished", "images": images }))?;
        return Ok(());
    }
    if images.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["IMAGE", "AMI", "BAKED", "LOG"]);
    for image in images {
        let baked = if image.log.is_some() { "now" } else { "before" };
        let log = image.log.as_ref().map(|log| log.display().to_string()).unwrap_or_default();
        table.row([image.image.clone(), image.ami.clone(), baked.to_owned(), log]);
    }
    session.screen.print_table(&table)?;
    Ok(())
}

impl From<BakeError> for Failure {
    fn from(error: BakeError) -> Self {
        let hint = error.hint();
        let failure = match error {
            BakeError::Call(call) => return call.into(),
            BakeError::Base { ref source, .. } | BakeError::Lost { ref source, .. } => {
                let below = Self::from(source.clone());
                Self { hints: below.hints, ..Self::of(below.kind, &error) }
            }
            // EC2 took the builder's launch and said later what was wrong with it.
            BakeError::BuilderEnded { code: Some(ref code), .. } => Self::of_state_reason(code, &error),
            BakeError::Interrupted { .. } => Self::of(FailureKind::Interrupted, &error),
            BakeError::Render(_) => Self::of(FailureKind::InvalidInput, &error),
            _ => Self::of(FailureKind::Failed, &error),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<BakeFailed> for Failure {
    fn from(failed: BakeFailed) -> Self {
        let BakeFailed { error, left, kept_builder, log: _ } = failed;
        let mut failure = Self::from(error);
        for leftover in left {
            failure = failure.hint(format!("remove by hand: {leftover}"));
        }
        match kept_builder {
            Some(id) => failure.hint(format!("look at its builder: ewulf ssh {id} --user root")),
            None => failure,
        }
    }
}

/// Makes one failure of several: the first decides the kind, the others are told below it.
pub(super) fn joined(mut first: Failure, others: impl Iterator<Item = Failure>) -> Failure {
    for other in others {
        first.causes.push(other.message);
        first.causes.extend(other.causes);
        for hint in other.hints {
            if !first.hints.contains(&hint) {
                first.hints.push(hint);
            }
        }
    }
    first
}
