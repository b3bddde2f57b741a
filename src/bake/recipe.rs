//! What a recipe stands for: its rendered tree, scripts and sources, and the fingerprint over all of them.

use ewulf_core::spec::{Base, ImageRecipe};
use sha2::{Digest, Sha256};

use super::render::{self, RenderError, Tree};
use crate::sources::{Files, Sources};

/// Parameter that Debian keeps pointing at its newest image (ec2.md 7.17).
const DEBIAN_13: &str = "/aws/service/debian/release/13/latest/amd64";
/// Hexadecimal digits of a fingerprint: 128 bits.
const FINGERPRINT_DIGITS: usize = 32;
/// Template folder that holds the provisioning scripts.
const SCRIPTS_FOLDER: &str = "bake";

/// Everything that goes into an image, read and rendered: nothing of it can fail any more once a builder runs.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub recipe: ImageRecipe,
    pub tree: Tree,
    pub scripts: Files,
    /// Empty if the recipe wants no kernel.
    pub kernels: Files,
}

impl Prepared {
    pub fn new(recipe: &ImageRecipe, sources: &Sources) -> Result<Self, RenderError> {
        let kernels = match recipe.kernels.is_empty() {
            true => Files::new(),
            false => sources.kernels()?,
        };
        Ok(Self {
            recipe: recipe.clone(),
            tree: render::tree(recipe, sources)?,
            scripts: sources.templates(SCRIPTS_FOLDER)?,
            kernels,
        })
    }

    /// Hash of all that decides what is in the image; `base` is the id of the AMI that it starts from.
    pub fn fingerprint(&self, base: &str) -> String {
        let mut hash = Sha256::new();
        let mut part = |name: &str, content: &[u8]| {
            // Lengths first, so that no two lists of parts read the same.
            for bytes in [name.as_bytes(), content] {
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes);
            }
        };
        part("base", base.as_bytes());
        part("recipe", &recipe_bytes(&self.recipe));
        for (path, file) in &self.tree {
            part(&format!("tree/{path}"), &file.content);
        }
        for (folder, files) in [("scripts", &self.scripts), ("kernels", &self.kernels)] {
            for (path, content) in files {
                part(&format!("{folder}/{path}"), content);
            }
        }
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        digits[..FINGERPRINT_DIGITS].to_owned()
    }
}

/// The recipe without what only decides where it is baked.
fn recipe_bytes(recipe: &ImageRecipe) -> Vec<u8> {
    let mut value = serde_json::to_value(recipe).expect("a recipe has text keys and finite numbers, and serialises without fail");
    if let Some(builder) = value.get_mut("builder").and_then(serde_json::Value::as_object_mut) {
        builder.retain(|key, _| key == "root_volume");
    }
    value.to_string().into_bytes()
}

/// How the AMI that a recipe starts from is found.
pub(super) enum BaseSource<'a> {
    Parameter(&'a str),
    Ami(&'a str),
}

pub(super) fn base_source(recipe: &ImageRecipe) -> BaseSource<'_> {
    match &recipe.base {
        Base::Debian13 => BaseSource::Parameter(DEBIAN_13),
        Base::Parameter(reference) => BaseSource::Parameter(reference.ssm_parameter.as_str()),
        Base::Ami(reference) => BaseSource::Ami(reference.ami.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(project: &std::path::Path, yaml: &str) -> Prepared {
        let text = format!("image: test\nbuilder: {{instance_type: c7i.large}}\n{yaml}");
        let recipe = ewulf_core::spec::load_image("test.yaml", text.as_bytes())
            .map_err(|error| format!("{error:?}"))
            .expect("a valid recipe")
            .spec;
        Prepared::new(&recipe, &Sources::of(project)).expect("it can be rendered")
    }

    fn write(folder: &std::path::Path, path: &str, text: &str) {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    #[test]
    fn the_same_inputs_have_the_same_fingerprint_wherever_they_lie() {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let prints = folders.each_ref().map(|folder| {
            write(folder.path(), "src/kernels/Cargo.toml", "[package]\nname = \"ewulf-kernels\"\n");
            write(folder.path(), "src/kernels/src/lib.rs", "");
            write(folder.path(), "src/kernels/target/debug/junk", "junk");
            prepared(folder.path(), "kernels: [pi]\n").fingerprint("ami-1")
        });
        assert_eq!(prints[0], prints[1]);
        assert_eq!(prints[0].len(), FINGERPRINT_DIGITS);
    }

    #[test]
    fn every_input_changes_the_fingerprint() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "templates/web/etc/motd.tera", "{{ image }}");
        write(folder.path(), "src/kernels/Cargo.toml", "[package]\nname = \"ewulf-kernels\"\n");
        let yaml = "kernels: [pi]\ntemplates: [web]\n";
        let mut prints = vec![prepared(folder.path(), yaml).fingerprint("ami-1")];
        prints.push(prepared(folder.path(), yaml).fingerprint("ami-2"));
        prints.push(prepared(folder.path(), &format!("{yaml}packages: [less]\n")).fingerprint("ami-1"));
        write(folder.path(), "templates/web/etc/motd.tera", "{{ image }}!");
        prints.push(prepared(folder.path(), yaml).fingerprint("ami-1"));
        write(folder.path(), "src/kernels/src/lib.rs", "// changed");
        prints.push(prepared(folder.path(), yaml).fingerprint("ami-1"));
        write(folder.path(), "templates/bake/prepare.sh", "true");
        prints.push(prepared(folder.path(), yaml).fingerprint("ami-1"));
        let distinct: std::collections::BTreeSet<&String> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len(), "{prints:?}");
    }

    #[test]
    fn every_script_that_the_binary_brings_is_valid_shell() {
        let sources = Sources::embedded();
        let mut scripts: Vec<(String, Vec<u8>)> = sources.templates("bake").expect("scripts").into_iter().collect();
        for folder in sources.template_folders().expect("folders") {
            let files = sources.templates(&folder).expect("files");
            scripts.extend(files.into_iter().filter(|(path, _)| path.starts_with("opt/ewulf/libexec/")));
        }
        assert!(scripts.len() > 10, "{}", scripts.len());
        for (path, content) in scripts {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), content).expect("it can be written");
            let output = std::process::Command::new("bash").arg("-n").arg(file.path()).output().expect("bash runs");
            assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    #[test]
    fn the_type_of_the_builder_is_no_part_of_the_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let print = |builder: &str| {
            let text = format!("image: test\nbuilder: {builder}\n");
            let recipe =
                ewulf_core::spec::load_image("x", text.as_bytes()).map_err(|error| format!("{error:?}")).expect("valid").spec;
            Prepared::new(&recipe, &Sources::of(folder.path())).expect("it can be rendered").fingerprint("ami-1")
        };
        assert_eq!(print("{instance_type: c7i.large}"), print("{instance_type: c7i.2xlarge}"));
        assert_ne!(print("{instance_type: c7i.large}"), print("{instance_type: c7i.large, root_volume: 32GiB}"));
    }
}
