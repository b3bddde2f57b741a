//! Templates to files: the tree that an image receives, rendered from the recipe.
//!
//! A template that uses a variable nobody gave is an error that names file, line and variable; nothing is ever left empty.

use std::collections::{BTreeMap, BTreeSet};

use ewulf_core::spec::{ImageRecipe, Scalar};
use tera::{Context, Tera};

use super::variables::undefined;
use crate::sources::{Sources, SourcesError};

/// Ending of files that are rendered; any other file is copied as it is.
const TEMPLATE_ENDING: &str = ".tera";

/// One file that an image receives, owner root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    pub content: Vec<u8>,
    /// 0755 for what starts with `#!`, 0644 for the rest.
    pub mode: u32,
}

/// Files by absolute path without the leading slash.
pub type Tree = BTreeMap<String, TreeFile>;

/// Templates that cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error("template {template}: line {line} uses `{variable}`, which the recipe of image `{image}` does not give")]
    Undefined { template: String, line: usize, variable: String, image: String },
    #[error("template {template}: it is not UTF-8, and so cannot be rendered; without the ending .tera it is copied as it is")]
    NotText { template: String },
    #[error("template {template}: it cannot be rendered")]
    Tera {
        template: String,
        #[source]
        source: Box<tera::Error>,
    },
    #[error("image {image}: variable `{variable}` is already the recipe's own {variable}; give it another name")]
    Reserved { image: String, variable: String },
}

/// Renders all template folders of a recipe into one tree; a later folder's file replaces an earlier one's.
pub fn tree(recipe: &ImageRecipe, sources: &Sources) -> Result<Tree, RenderError> {
    let context = context(recipe)?;
    let mut tree = Tree::new();
    for folder in &recipe.templates {
        for (path, content) in sources.templates(folder.as_str())? {
            let (target, content) = match path.strip_suffix(TEMPLATE_ENDING) {
                Some(target) => (target.to_owned(), render(&format!("{folder}/{path}"), content, &context, recipe)?),
                None => (path, content),
            };
            let mode = if content.starts_with(b"#!") { 0o755 } else { 0o644 };
            tree.insert(target, TreeFile { content, mode });
        }
    }
    Ok(tree)
}

/// The variables of a recipe's templates: its lists, and what it gives under `variables`.
fn context(recipe: &ImageRecipe) -> Result<Context, RenderError> {
    let mut context = Context::new();
    context.insert("image", recipe.image.as_str());
    context.insert("packages", &recipe.packages);
    context.insert("kernels", &recipe.kernels);
    context.insert("units", &recipe.enable);
    for (name, value) in &recipe.variables {
        if context.contains_key(name.as_str()) {
            return Err(RenderError::Reserved { image: recipe.image.to_string(), variable: name.to_string() });
        }
        match value {
            Scalar::Bool(value) => context.insert(name.as_str(), value),
            Scalar::Integer(value) => context.insert(name.as_str(), value),
            Scalar::Number(value) => context.insert(name.as_str(), value),
            Scalar::Text(value) => context.insert(name.as_str(), value.as_str()),
        }
    }
    Ok(context)
}

fn render(template: &str, content: Vec<u8>, context: &Context, recipe: &ImageRecipe) -> Result<Vec<u8>, RenderError> {
    let text = String::from_utf8(content).map_err(|_| RenderError::NotText { template: template.to_owned() })?;
    let failed = |source| RenderError::Tera { template: template.to_owned(), source: Box::new(source) };
    let mut tera = Tera::default();
    // Files of a system are not HTML.
    tera.autoescape_on(Vec::new());
    tera.add_raw_template(template, &text).map_err(failed)?;
    let known: BTreeSet<String> = known(context);
    if let Some((line, variable)) = undefined(&text, &known).into_iter().next() {
        return Err(RenderError::Undefined { template: template.to_owned(), line, variable, image: recipe.image.to_string() });
    }
    Ok(tera.render(template, context).map_err(failed)?.into_bytes())
}

fn known(context: &Context) -> BTreeSet<String> {
    match context.clone().into_json() {
        serde_json::Value::Object(variables) => variables.keys().cloned().collect(),
        _ => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(yaml: &str) -> ImageRecipe {
        let text = format!("image: test\nbuilder: {{instance_type: c7i.large}}\n{yaml}");
        ewulf_core::spec::load_image("test.yaml", text.as_bytes())
            .map_err(|error| format!("{error:?}"))
            .expect("a valid recipe")
            .spec
    }

    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let sources = Sources::of(folder.path());
        (folder, sources)
    }

    #[test]
    fn a_rendered_file_lies_where_its_template_says_and_scripts_are_executable() {
        let (_folder, sources) = project(&[
            ("templates/web/etc/greeting.tera", "hello {{ who }} from {{ image }}\n"),
            ("templates/web/opt/run", "#!/bin/sh\necho '{{ not rendered }}'\n"),
        ]);
        let tree = tree(&recipe("templates: [web]\nvariables: {who: world}\n"), &sources).expect("a tree");
        assert_eq!(tree["etc/greeting"], TreeFile { content: b"hello world from test\n".to_vec(), mode: 0o644 });
        assert_eq!(tree["opt/run"].mode, 0o755);
        assert!(tree["opt/run"].content.ends_with(b"{{ not rendered }}'\n"));
    }

    #[test]
    fn an_undefined_variable_is_named_with_its_template_and_line() {
        let (_folder, sources) = project(&[("templates/web/etc/conf.tera", "a = 1\nb = {{ mpi_version }}\n")]);
        let error = tree(&recipe("templates: [web]\n"), &sources).expect_err("the variable is not given");
        assert_eq!(
            error.to_string(),
            "template web/etc/conf.tera: line 2 uses `mpi_version`, which the recipe of image `test` does not give"
        );
    }

    #[test]
    fn an_undefined_variable_in_a_condition_is_an_error_too() {
        let (_folder, sources) = project(&[("templates/web/a.tera", "{% if tuned %}x{% endif %}")]);
        assert!(matches!(tree(&recipe("templates: [web]\n"), &sources), Err(RenderError::Undefined { line: 1, .. })));
    }

    #[test]
    fn a_later_folder_replaces_the_files_of_an_earlier_one() {
        let (_folder, sources) = project(&[("templates/one/etc/x", "1"), ("templates/two/etc/x", "2")]);
        let tree = tree(&recipe("templates: [one, two]\n"), &sources).expect("a tree");
        assert_eq!(tree["etc/x"].content, b"2");
    }

    #[test]
    fn a_variable_cannot_take_the_name_of_the_recipes_own() {
        let (_folder, sources) = project(&[]);
        let error = tree(&recipe("variables: {image: other}\n"), &sources).expect_err("the name is taken");
        assert!(matches!(error, RenderError::Reserved { .. }));
    }

    #[test]
    fn the_recipes_that_the_binary_brings_can_be_rendered() {
        let sources = Sources::embedded();
        for name in ["master", "worker"] {
            let text = sources.recipe(name).expect("readable").expect("it is there");
            let recipe = ewulf_core::spec::load_image(&text.origin, &text.content)
                .map_err(|error| format!("{error:?}"))
                .expect("valid")
                .spec;
            let tree = tree(&recipe, &sources).expect("a tree");
            assert_eq!(tree["opt/ewulf/libexec/node-boot"].mode, 0o755);
        }
    }
}
