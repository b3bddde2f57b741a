//! JSON Schemas of the three kinds of spec, from the types that are parsed; and the check of a tree against one.

use serde_json::Value as Json;

use crate::spec::{ClusterSpec, ImageRecipe, JobManifest};

mod check;
mod shape;
mod wording;

pub(crate) use check::check;

/// Returns the JSON Schema (draft 7) of cluster specs.
pub fn cluster() -> Json {
    schema::<ClusterSpec>("ewulf cluster spec")
}

/// Returns the JSON Schema (draft 7) of image recipes.
pub fn image() -> Json {
    schema::<ImageRecipe>("ewulf image recipe")
}

/// Returns the JSON Schema (draft 7) of job manifests.
pub fn job() -> Json {
    schema::<JobManifest>("ewulf job manifest")
}

fn schema<T: schemars::JsonSchema>(title: &str) -> Json {
    // Draft 7 is what editors' YAML support reads best.
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}
