//! The texts that ewulf works from: recipes, templates, the kernels' sources, and a project to start from.
//!
//! A project folder's own come first; what it does not have is taken from the binary, so that ewulf works away from its
//! repository. A template folder or the kernels' crate is taken whole from one of the two, never mixed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "images/"]
struct Images;

#[derive(RustEmbed)]
#[folder = "templates/"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "clusters/"]
struct Clusters;

#[derive(RustEmbed)]
#[folder = "jobs/"]
struct Jobs;

#[derive(RustEmbed)]
#[folder = "src/kernels/"]
struct Kernels;

/// Versions that the kernels are compiled with.
const LOCK: &str = include_str!("../Cargo.lock");

/// Where the kernels' crate is in a project folder, and where its versions are kept.
const KERNELS_FOLDER: &str = "src/kernels";
const LOCK_FILE: &str = "Cargo.lock";

/// Files by their path relative to a folder, with `/` between segments.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error("{path}: it cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: its name is not UTF-8")]
    Name { path: PathBuf },
    #[error("template folder {0}: there is none of that name")]
    NoTemplates(String),
}

/// A text of the project folder or of the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What to call it in messages: its path, or its path inside the binary in angle brackets.
    pub origin: String,
    pub content: Vec<u8>,
}

/// The project folder, if there is one, before what the binary brings.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    project: Option<PathBuf>,
}

impl Sources {
    /// Takes what the project folder has, and the rest from the binary.
    pub fn of(project: impl Into<PathBuf>) -> Self {
        Self { project: Some(project.into()) }
    }

    /// Takes everything from the binary.
    pub fn embedded() -> Self {
        Self { project: None }
    }

    /// Names of the recipes, the project's and the binary's.
    pub fn recipe_names(&self) -> Result<Vec<String>, SourcesError> {
        let mut names: BTreeSet<String> = Images::iter().filter_map(|path| stem(&path)).collect();
        if let Some(folder) = self.folder("images") {
            names.extend(entries(&folder)?.iter().filter_map(|name| stem(name)));
        }
        Ok(names.into_iter().collect())
    }

    /// The recipe of an image, or None if there is none.
    pub fn recipe(&self, image: &str) -> Result<Option<Text>, SourcesError> {
        let name = format!("{image}.yaml");
        if let Some(path) = self.folder("images").map(|folder| folder.join(&name)).filter(|path| path.is_file()) {
            return Ok(Some(Text { origin: path.display().to_string(), content: read(&path)? }));
        }
        let file = Images::get(&name);
        Ok(file.map(|file| Text { origin: format!("<images/{name}>"), content: file.data.into_owned() }))
    }

    /// Names of the template folders that a recipe may list; `bake` holds the bake's own scripts and is not one.
    pub fn template_folders(&self) -> Result<Vec<String>, SourcesError> {
        let embedded = Templates::iter().filter_map(|path| path.split_once('/').map(|(folder, _)| folder.to_owned()));
        let mut names: BTreeSet<String> = embedded.collect();
        if let Some(folder) = self.folder("templates") {
            names.extend(entries(&folder)?.into_iter().filter(|name| folder.join(name).is_dir()));
        }
        names.remove("bake");
        Ok(names.into_iter().collect())
    }

    /// All files of a folder under `templates/`.
    pub fn templates(&self, folder: &str) -> Result<Files, SourcesError> {
        let own = self.folder("templates").map(|templates| templates.join(folder)).filter(|path| path.is_dir());
        if let Some(path) = own {
            return walk(&path);
        }
        let files = below::<Templates>(&format!("{folder}/"));
        match files.is_empty() {
            true => Err(SourcesError::NoTemplates(folder.to_owned())),
            false => Ok(files),
        }
    }

    /// The kernels' crate as it is compiled inside an image: its manifest, its sources, and the versions of what it uses.
    pub fn kernels(&self) -> Result<Files, SourcesError> {
        let own = self.folder(KERNELS_FOLDER).filter(|path| path.join("Cargo.toml").is_file());
        let mut files = match &own {
            Some(path) => walk(path)?,
            None => below::<Kernels>(""),
        };
        files.retain(|path, _| !path.starts_with("target/"));
        if !files.contains_key(LOCK_FILE) {
            let lock = match self.folder(LOCK_FILE).filter(|path| own.is_some() && path.is_file()) {
                Some(path) => String::from_utf8_lossy(&read(&path)?).into_owned(),
                None => LOCK.to_owned(),
            };
            files.insert(LOCK_FILE.to_owned(), used_versions(&lock, "ewulf-kernels").into_bytes());
        }
        Ok(files)
    }

    /// Names of the programs that the kernels' crate has.
    pub fn kernel_names(&self) -> Result<Vec<String>, SourcesError> {
        let files = self.kernels()?;
        let mut names: BTreeSet<String> = files
            .keys()
            .filter_map(|path| path.strip_prefix("src/bin/"))
            .filter_map(|path| path.strip_suffix("/main.rs").or(path.strip_suffix(".rs")))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect();
        let manifest = files.get("Cargo.toml").map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        for section in manifest.split("\n[").filter_map(|section| section.strip_prefix("[bin]]")) {
            let name = section.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
            names.extend(name.map(str::to_owned));
        }
        Ok(names.into_iter().collect())
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.project.as_ref().map(|project| project.join(name)).filter(|path| path.exists())
    }
}

/// The files of a new project: recipes, templates, cluster specs and manifests. The kernels stay in the binary.
pub fn starter_files() -> Files {
    let mut files = Files::new();
    let folders = [
        ("images", below::<Images>("")),
        ("templates", below::<Templates>("")),
        ("clusters", below::<Clusters>("")),
        ("jobs", below::<Jobs>("")),
    ];
    for (folder, content) in folders {
        files.extend(content.into_iter().map(|(path, text)| (format!("{folder}/{path}"), text)));
    }
    files
}

/// The embedded files whose path begins with `prefix`, without it.
fn below<E: RustEmbed>(prefix: &str) -> Files {
    E::iter()
        .filter(|path| !is_hidden(path))
        .filter_map(|path| Some((path.strip_prefix(prefix)?.to_owned(), E::get(&path)?.data.into_owned())))
        .collect()
}

/// All files below a folder, in no order that the file system gives.
fn walk(folder: &Path) -> Result<Files, SourcesError> {
    let mut files = Files::new();
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        for name in entries(&folder.join(&prefix))? {
            let relative = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let path = folder.join(&relative);
            // Folders of build output are large, and nothing in them is a source.
            if is_hidden(&relative) || relative == "target" {
                continue;
            }
            match path.is_dir() {
                true => open.push(relative),
                false => {
                    files.insert(relative, read(&path)?);
                }
            }
        }
    }
    Ok(files)
}

/// Whether a segment of the path starts with a dot: traces of editors and version control.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|segment| segment.starts_with('.'))
}

fn entries(folder: &Path) -> Result<Vec<String>, SourcesError> {
    let failed = |source| SourcesError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.push(entry.file_name().into_string().map_err(|_| SourcesError::Name { path: entry.path() })?);
    }
    names.sort();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, SourcesError> {
    std::fs::read(path).map_err(|source| SourcesError::Read { path: path.to_owned(), source })
}

fn stem(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".yaml")?;
    (!stem.contains('/') && !is_hidden(stem)).then(|| stem.to_owned())
}

/// One package of a Cargo.lock.
struct LockedPackage<'a> {
    name: &'a str,
    version: &'a str,
    block: &'a str,
}

impl<'a> LockedPackage<'a> {
    fn parse(block: &'a str) -> Self {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix('"')).unwrap_or_default();
        Self { name: value("name = \""), version: value("version = \""), block }
    }

    /// Whether an entry of a dependency list means it: `name`, `name version` or `name version (source)`.
    fn is_meant(&self, dependency: &str) -> bool {
        let mut words = dependency.split(' ');
        words.next() == Some(self.name) && words.next().is_none_or(|version| version == self.version)
    }

    fn dependencies(&self) -> impl Iterator<Item = &'a str> {
        let list = self.block.split_once("dependencies = [").map_or("", |(_, list)| list);
        list.lines().take_while(|line| !line.starts_with(']')).map(|line| line.trim().trim_matches(['"', ',']))
    }
}

/// Cuts a Cargo.lock down to one package and everything it can use, so that other packages' versions do not matter.
fn used_versions(lock: &str, package: &str) -> String {
    let mut blocks = lock.split("\n[[package]]\n");
    let head = blocks.next().unwrap_or_default();
    let packages: Vec<LockedPackage<'_>> = blocks.map(LockedPackage::parse).collect();
    let meant =
        |dependency: &str| -> Vec<usize> { (0..packages.len()).filter(|index| packages[*index].is_meant(dependency)).collect() };
    let mut used: BTreeSet<usize> = BTreeSet::new();
    let mut open = meant(package);
    while let Some(index) = open.pop() {
        if used.insert(index) {
            open.extend(packages[index].dependencies().flat_map(meant));
        }
    }
    let kept = used.iter().map(|index| format!("\n\n[[package]]\n{}", packages[*index].block.trim_end()));
    std::iter::once(head.trim_end().to_owned()).chain(kept).chain(std::iter::once("\n".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_brings_a_master_and_a_worker_with_all_that_their_recipes_name() {
        let sources = Sources::embedded();
        assert_eq!(sources.recipe_names().expect("recipes"), ["master", "worker"]);
        let folders = sources.template_folders().expect("folders");
        assert_eq!(folders, ["common", "master", "worker"]);
        let kernels = sources.kernel_names().expect("kernels");
        for kernel in ["knn", "pi", "primitives"] {
            assert!(kernels.iter().any(|name| name == kernel), "{kernel} is missing in {kernels:?}");
        }
    }

    #[test]
    fn a_project_folder_comes_before_the_binary_and_is_not_mixed_with_it() {
        let project = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(project.path().join("templates/worker/etc")).expect("a folder");
        std::fs::write(project.path().join("templates/worker/etc/motd"), "mine").expect("a file");
        let sources = Sources::of(project.path());
        let files = sources.templates("worker").expect("files");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["etc/motd"]);
        assert!(sources.templates("common").expect("files").contains_key("opt/ewulf/libexec/node-boot"));
        assert!(matches!(sources.templates("nothing"), Err(SourcesError::NoTemplates(_))));
    }

    #[test]
    fn the_kernels_lock_has_what_they_use_and_nothing_else() {
        let lock = "version = 4\n\n[[package]]\nname = \"ewulf\"\nversion = \"1\"\ndependencies = [\n \"tera\",\n]\n\n\
                    [[package]]\nname = \"ewulf-kernels\"\nversion = \"1\"\ndependencies = [\n \"mpi 0.8.2\",\n]\n\n\
                    [[package]]\nname = \"mpi\"\nversion = \"0.7.0\"\n\n[[package]]\nname = \"mpi\"\nversion = \"0.8.2\"\n\n\
                    [[package]]\nname = \"tera\"\nversion = \"1\"\n";
        let used = used_versions(lock, "ewulf-kernels");
        assert!(used.starts_with("version = 4\n"));
        assert!(used.contains("0.8.2") && used.contains("ewulf-kernels"));
        assert!(!used.contains("0.7.0") && !used.contains("tera") && !used.contains("\"ewulf\""));
    }

    #[test]
    fn a_new_project_has_specs_recipes_templates_and_manifests() {
        let files = starter_files();
        for path in ["images/worker.yaml", "templates/common/opt/ewulf/libexec/node-boot"] {
            assert!(files.contains_key(path), "{path} is missing");
        }
        assert!(files.keys().all(|path| !path.starts_with("src/")));
    }
}
