//! The project folder: finds it, loads specs from it or from what is built in, and checks them against each other.
//!
//! A project's own file takes precedence over the built-in one of the same name. Everything that is wrong is returned
//! at once, file by file.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ewulf_core::diagnostics::{Diagnostics, did_you_mean};
use ewulf_core::spec::{
    ClusterContext, ClusterSpec, ImageRecipe, ImageReference, JobContext, JobManifest, Loaded, RecipeContext, load_cluster,
    load_image, load_job,
};

use crate::sources::{self, Sources, SourcesError};

use super::failure::{Failure, Kind as FailureKind};

/// Most bytes read of a spec; the loader refuses far smaller ones, with a better message.
const READ_MAX: u64 = 64 << 20;

/// A kind of spec, each with a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Cluster,
    Image,
    Job,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Cluster, Self::Image, Self::Job];

    /// Folder in the project.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Image => "images",
            Self::Job => "jobs",
        }
    }

    /// What a file of this kind is called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Cluster => "cluster spec",
            Self::Image => "image recipe",
            Self::Job => "job manifest",
        }
    }

    /// First key of a file of this kind.
    pub fn key(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Image => "image",
            Self::Job => "job",
        }
    }
}

/// Everything built in that a project may have of its own, by path.
static BUILT_IN: LazyLock<sources::Files> = LazyLock::new(sources::starter_files);

/// A text with its name as the user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Path as the user would type it, or `<images/master.yaml>` for a built-in one.
    pub file: String,
    pub bytes: Vec<u8>,
    /// Folder that relative paths in it start from; `None` for built-in texts.
    pub folder: Option<PathBuf>,
}

/// A project folder, or none: then everything comes from what is built in.
#[derive(Clone, Debug)]
pub struct Project {
    folder: Option<PathBuf>,
}

impl Project {
    /// Takes the folder that the user named, or searches upward from the current one for specs in `clusters/` or `images/`.
    pub fn find(option: Option<&Path>) -> Result<Self, Failure> {
        if let Some(folder) = option {
            if !folder.is_dir() {
                return Err(Failure::invalid(format!("project folder {}: there is no such folder", folder.display()))
                    .hint(format!("ewulf init {}", crate::ui::text::shell_word(&folder.to_string_lossy()))));
            }
            return Ok(Self { folder: Some(folder.to_owned()) });
        }
        let here = std::env::current_dir()
            .map_err(|error| Failure::new(FailureKind::Failed, "the current folder cannot be found").caused_by(Some(&error)))?;
        // An `images` folder alone may hold anything; specs in it make a project.
        let is_project =
            |folder: &&Path| [Kind::Cluster, Kind::Image].iter().any(|kind| !spec_names(&folder.join(kind.folder())).is_empty());
        let found = here.ancestors().find(is_project);
        // Names stay short where they can: a project right here is named by nothing at all.
        Ok(Self { folder: found.map(|found| if found == here { PathBuf::new() } else { found.to_owned() }) })
    }

    /// The folder, empty for the current one; `None` away from any project.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Where results and logs go: the project folder, or the current one.
    pub fn output_folder(&self) -> PathBuf {
        match self.folder() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Recipes, templates and the kernels' sources: the project's own before what is built in.
    pub fn sources(&self) -> Sources {
        match self.folder() {
            Some(folder) if folder.as_os_str().is_empty() => Sources::of("."),
            Some(folder) => Sources::of(folder),
            None => Sources::embedded(),
        }
    }

    /// Names of the specs of a kind, without folder and suffix: the project's own and the built-in ones, sorted.
    pub fn names(&self, kind: Kind) -> Vec<String> {
        let mut names: BTreeSet<String> = self.own_names(kind).into_iter().collect();
        names.extend(BUILT_IN.keys().filter_map(|path| name_in(path, kind.folder())).map(str::to_owned));
        names.into_iter().collect()
    }

    /// Names of the project's own specs of a kind, sorted.
    pub fn own_names(&self, kind: Kind) -> Vec<String> {
        self.folder().map_or_else(Vec::new, |folder| spec_names(&folder.join(kind.folder())))
    }

    /// The files a bare verb takes: the project's own specs of a kind, or the built-in ones away from any project.
    pub fn files(&self, kind: Kind) -> Vec<PathBuf> {
        let own = self.own_names(kind);
        let names = if own.is_empty() && self.folder.is_none() { self.names(kind) } else { own };
        names.iter().map(|name| self.path(kind, name)).collect()
    }

    /// Path of a spec by its name, whether it exists or not.
    pub fn path(&self, kind: Kind, name: &str) -> PathBuf {
        self.folder().unwrap_or(Path::new("")).join(kind.folder()).join(format!("{name}.yaml"))
    }

    /// Reads a file that the user named, from the current folder, the project folder or what is built in.
    pub fn read(&self, kind: Kind, file: &Path) -> Result<Text, Failure> {
        let in_project = self.folder().map(|folder| folder.join(file)).filter(|_| file.is_relative());
        for path in std::iter::once(file.to_owned()).chain(in_project) {
            match read_limited(&path) {
                Ok(bytes) => {
                    let folder = path.parent().map(Path::to_owned);
                    return Ok(Text { file: path.to_string_lossy().into_owned(), bytes, folder });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let failure = Failure::invalid(format!("{} {}: cannot be read", kind.noun(), path.display()));
                    return Err(failure.caused_by(Some(&error)));
                }
            }
        }
        let short = self.folder().and_then(|folder| file.strip_prefix(folder).ok()).unwrap_or(file);
        match short.to_str().and_then(|short| BUILT_IN.get_key_value(short)) {
            Some((short, bytes)) => Ok(Text { file: format!("<{short}>"), bytes: bytes.clone(), folder: None }),
            None => Err(self.no_such_file(kind, file)),
        }
    }

    /// Says which files there are instead of one that is not there.
    fn no_such_file(&self, kind: Kind, file: &Path) -> Failure {
        let known: Vec<String> =
            self.names(kind).iter().map(|name| self.path(kind, name).to_string_lossy().into_owned()).collect();
        let failure = Failure::invalid(format!("{} {}: there is no such file", kind.noun(), file.display()));
        let typed = file.to_string_lossy();
        // People type names, too: `demo` for `clusters/demo.yaml`.
        let as_name = self.names(kind).iter().find(|name| **name == typed).map(|name| self.path(kind, name));
        match as_name.map(|path| format!("did you mean `{}`?", path.display())) {
            Some(hint) => failure.hint(hint),
            None => match did_you_mean(&typed, known.iter().map(String::as_str)) {
                Some(hint) => failure.hint(hint),
                None if known.is_empty() => failure.hint("`ewulf init DIR` writes a project to start from"),
                None => failure.hint(format!("there are {}", known.join(", "))),
            },
        }
    }

    /// Loads a cluster spec and checks that its recipes exist.
    pub fn cluster(&self, file: &Path) -> Result<Loaded<ClusterSpec>, Failure> {
        let text = self.read(Kind::Cluster, file)?;
        let loaded = load_cluster(&text.file, &text.bytes)?;
        loaded.check(&ClusterContext { recipes: &self.names(Kind::Image) })?;
        Ok(loaded)
    }

    /// Loads an image recipe and checks that its templates and kernels exist.
    pub fn image(&self, file: &Path) -> Result<Loaded<ImageRecipe>, Failure> {
        let text = self.read(Kind::Image, file)?;
        let loaded = load_image(&text.file, &text.bytes)?;
        let sources = self.sources();
        let (templates, kernels) = (sources.template_folders()?, sources.kernel_names()?);
        loaded.check(&RecipeContext { templates: &templates, kernels: &kernels })?;
        Ok(loaded)
    }

    /// Loads a job manifest and checks it against the cluster it is to run on: its own, or `cluster`.
    pub fn job(&self, file: &Path, cluster: Option<&str>) -> Result<(Loaded<JobManifest>, Text), Failure> {
        let text = self.read(Kind::Job, file)?;
        let loaded = load_job(&text.file, &text.bytes)?;
        let clusters = self.cluster_names();
        let name = cluster.unwrap_or(loaded.spec.cluster.as_str()).to_owned();
        // A cluster on the command line is no mistake of the manifest.
        let known = cluster.is_none().then_some(clusters.as_slice());
        let spec = self.cluster_named(&name).ok();
        let kernels = spec.as_ref().and_then(|spec| self.kernels_of(&spec.spec));
        let slots = spec.as_ref().map(|spec| spec.spec.slots());
        loaded.check(&JobContext { kernels: kernels.as_deref(), clusters: known, slots })?;
        Ok((loaded, text))
    }

    /// Loads the spec of a cluster by its name: first the file of that name, then any that says it.
    pub fn cluster_named(&self, name: &str) -> Result<Loaded<ClusterSpec>, Failure> {
        let direct = self.path(Kind::Cluster, name);
        let others = self.names(Kind::Cluster).into_iter().filter(|other| other != name);
        let paths = std::iter::once(direct).chain(others.map(|other| self.path(Kind::Cluster, &other)));
        let mut broken = None;
        for path in paths {
            match self.cluster(&path) {
                Ok(loaded) if loaded.spec.cluster == *name => return Ok(loaded),
                Ok(_) => {}
                Err(failure) if !failure.diagnostics.is_empty() && path == self.path(Kind::Cluster, name) => {
                    broken = Some(failure)
                }
                Err(_) => {}
            }
        }
        Err(broken.unwrap_or_else(|| self.no_such_cluster(name)))
    }

    fn no_such_cluster(&self, name: &str) -> Failure {
        let known = self.cluster_names();
        let failure = Failure::invalid(format!("cluster {name}: no spec in clusters/ is of this name"));
        match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(hint) => failure.hint(hint),
            None if known.is_empty() => failure.hint("`ewulf init DIR` writes a project to start from"),
            None => failure.hint(format!("there are {}", known.join(", "))),
        }
    }

    /// Names of the clusters that specs describe, the built-in ones too; specs that cannot be loaded have none.
    pub fn cluster_names(&self) -> Vec<String> {
        let names = self.names(Kind::Cluster).into_iter().filter_map(|spec| self.described_by(&spec));
        names.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Names of the clusters that may be meant where none is named: the built-in ones only if the project has no own. A spec
    /// that cannot be loaded counts by its file's name, since what it describes may be meant as well.
    pub fn own_cluster_names(&self) -> Vec<String> {
        let own = self.own_names(Kind::Cluster);
        if own.is_empty() {
            return self.cluster_names();
        }
        let names = own.into_iter().map(|spec| self.described_by(&spec).unwrap_or(spec));
        names.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Name of the cluster that a spec describes, if it can be loaded.
    fn described_by(&self, spec: &str) -> Option<String> {
        let text = self.read(Kind::Cluster, &self.path(Kind::Cluster, spec)).ok()?;
        Some(load_cluster(&text.file, &text.bytes).ok()?.spec.cluster.to_string())
    }

    /// Kernels that every image of a cluster has; `None` if an image is given by its id, so that nobody knows.
    fn kernels_of(&self, spec: &ClusterSpec) -> Option<Vec<String>> {
        let references = std::iter::once(&spec.master.image).chain(spec.workers.iter().map(|group| &group.image));
        if references.into_iter().any(|reference| matches!(reference, ImageReference::Ami(_))) {
            return None;
        }
        let mut common: Option<BTreeSet<String>> = None;
        for recipe in spec.recipes() {
            let loaded = self.image(&self.path(Kind::Image, recipe.as_str())).ok()?;
            let kernels: BTreeSet<String> = loaded.spec.kernels.iter().map(ToString::to_string).collect();
            common = Some(match common {
                Some(common) => common.intersection(&kernels).cloned().collect(),
                None => kernels,
            });
        }
        common.map(|names| names.into_iter().collect())
    }

    /// Loads one file of a kind for its diagnostics alone.
    pub fn check(&self, kind: Kind, file: &Path) -> Result<(), Failure> {
        match kind {
            Kind::Cluster => self.cluster(file).map(drop),
            Kind::Image => self.image(file).map(drop),
            Kind::Job => self.job(file, None).map(drop),
        }
    }
}

impl From<SourcesError> for Failure {
    fn from(error: SourcesError) -> Self {
        Self::of(FailureKind::InvalidInput, &error)
    }
}

/// Names of the specs in a folder, without suffix, sorted; none if it cannot be read.
fn spec_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.path().is_file()).filter_map(|entry| entry.file_name().into_string().ok());
    let visible = files.filter(|name| !name.starts_with('.'));
    let mut names: Vec<String> = visible.filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned())).collect();
    names.sort();
    names
}

/// Name of a spec by its path, if it lies in `folder` itself.
fn name_in<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".yaml")?;
    (!name.contains('/')).then_some(name)
}

/// Reads a file, but never more than would be refused anyway.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Joins what several specs have to say; the last failure without places to point at wins.
pub fn gather(outcomes: impl IntoIterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let mut diagnostics: Vec<Diagnostics> = Vec::new();
    let mut others: Vec<Failure> = Vec::new();
    for failure in outcomes.into_iter().filter_map(Result::err) {
        if failure.diagnostics.is_empty() {
            others.push(failure);
        } else {
            diagnostics.extend(failure.diagnostics);
        }
    }
    if let Some(mut failure) = others.pop() {
        failure.causes.extend(others.into_iter().map(|other| other.message));
        failure.diagnostics = diagnostics;
        return Err(failure);
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics.into()) }
}
