//! Checks of a spec against what else there is; the caller looks, and hands in names.

use super::cluster::{ClusterSpec, ImageReference};
use super::image::ImageRecipe;
use super::job::{JobManifest, Program, Ranks};
use super::load::Loaded;
use crate::diagnostics::{Diagnostic, Diagnostics, did_you_mean};

/// What a cluster spec may refer to.
#[derive(Clone, Copy, Debug)]
pub struct ClusterContext<'a> {
    /// Names of the recipes in `images/`.
    pub recipes: &'a [String],
}

/// What an image recipe may refer to.
#[derive(Clone, Copy, Debug)]
pub struct RecipeContext<'a> {
    /// Names of the folders in `templates/`.
    pub templates: &'a [String],
    /// Names of the kernels that the sources have.
    pub kernels: &'a [String],
}

/// What a job manifest may refer to; `None` where that is not known, and so not checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobContext<'a> {
    /// Names of the kernels in the cluster's images.
    pub kernels: Option<&'a [String]>,
    /// Names of the clusters in `clusters/`.
    pub clusters: Option<&'a [String]>,
    /// Slots of the cluster the job is to run on.
    pub slots: Option<u64>,
}

impl Loaded<ClusterSpec> {
    /// Checks that every recipe exists.
    ///
    /// # Errors
    /// One diagnostic for each node or group whose recipe does not.
    pub fn check(&self, context: &ClusterContext<'_>) -> Result<(), Diagnostics> {
        let groups = self.spec.workers.iter().enumerate().map(|(index, group)| (format!("/workers/{index}/image"), &group.image));
        let references = std::iter::once(("/master/image".to_owned(), &self.spec.master.image)).chain(groups);
        let missing = references.filter_map(|(path, reference)| match reference {
            ImageReference::Recipe(name) => self.missing(&path, "recipe", "images/", name.as_str(), context.recipes),
            ImageReference::Ami(_) => None,
        });
        self.report(missing.collect())
    }
}

impl Loaded<ImageRecipe> {
    /// Checks that every template folder and kernel exists.
    ///
    /// # Errors
    /// One diagnostic for each that does not.
    pub fn check(&self, context: &RecipeContext<'_>) -> Result<(), Diagnostics> {
        let templates = self.spec.templates.iter().enumerate().filter_map(|(index, name)| {
            self.missing(&format!("/templates/{index}"), "template folder", "templates/", name.as_str(), context.templates)
        });
        let kernels = self.spec.kernels.iter().enumerate().filter_map(|(index, name)| {
            self.missing(&format!("/kernels/{index}"), "kernel", "the kernels' sources", name.as_str(), context.kernels)
        });
        self.report(templates.chain(kernels).collect())
    }
}

impl Loaded<JobManifest> {
    /// Checks that the cluster and the kernels exist, and that there are slots for all ranks.
    ///
    /// # Errors
    /// One diagnostic for each that is missing.
    pub fn check(&self, context: &JobContext<'_>) -> Result<(), Diagnostics> {
        let mut list: Vec<Diagnostic> = Vec::new();
        if let Some(clusters) = context.clusters {
            list.extend(self.missing("/cluster", "cluster", "clusters/", self.spec.cluster.as_str(), clusters));
        }
        if let Some(kernels) = context.kernels {
            let steps =
                self.spec.prepare.iter().enumerate().map(|(index, step)| (format!("/prepare/{index}/kernel"), &step.program));
            let programs = std::iter::once(("/kernel".to_owned(), &self.spec.program)).chain(steps);
            list.extend(programs.filter_map(|(path, program)| match program {
                Program::Kernel(name) => self.missing(&path, "kernel", "the cluster's images", name.as_str(), kernels),
                Program::Command(_) => None,
            }));
        }
        if let (Some(slots), Ranks::Count(ranks)) = (context.slots, self.spec.ranks)
            && u64::from(ranks) > slots
            && !self.spec.oversubscribe
        {
            list.push(
                self.error("/ranks", format!("job asks for {ranks} ranks, and its cluster has {slots} slots"))
                    .hint("write `ranks: all`, add workers, or let ranks share cores by `oversubscribe: true`".to_owned())
                    .note("a slot is a real core of a node"),
            );
        }
        if let (Some(slots), Ranks::All, Some(split)) = (context.slots, self.spec.ranks, self.spec.split)
            && u64::from(split) > slots
        {
            list.push(
                self.error("/split", format!("`split` gives each member {split} ranks, and its cluster has {slots} slots"))
                    .hint(format!("write `split: {slots}` or less, or add workers"))
                    .note("a slot is a real core of a node"),
            );
        }
        self.report(list)
    }
}

impl<T> Loaded<T> {
    /// Says that a name is not among those there are, or nothing if it is.
    fn missing(&self, path: &str, what: &str, place: &str, name: &str, known: &[String]) -> Option<Diagnostic> {
        if known.iter().any(|known| known == name) {
            return None;
        }
        let quoted: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let listed = match quoted.is_empty() {
            true => format!("{place}: there is none yet"),
            false => format!("there are {}", quoted.join(", ")),
        };
        let hint = did_you_mean(name, known.iter().map(String::as_str)).unwrap_or(listed);
        Some(self.error(path, format!("no {what} `{name}` in {place}")).hint(hint))
    }
}
