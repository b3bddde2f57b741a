//! `ewulf schema`: the JSON Schema of a kind of spec, for editors.

use ewulf_core::schema;

use super::failure::{Exit, Outcome};
use super::session::Session;

/// Prints the JSON Schema of a kind of spec, for completion and checks in an editor.
///
/// Editors with the YAML language server read the first line of a spec, such as
/// `# yaml-language-server: $schema=cluster.schema.json`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf schema cluster > cluster.schema.json
  ewulf schema image | jq .properties.builder
  ewulf schema job")]
pub struct Schema {
    /// The kind of spec
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// Cluster specs: clusters/*.yaml
    Cluster,
    /// Image recipes: images/*.yaml
    Image,
    /// Job manifests: jobs/*.yaml
    Job,
}

impl Schema {
    pub fn run(self, session: &Session) -> Outcome {
        let schema = match self.kind {
            Kind::Cluster => schema::cluster(),
            Kind::Image => schema::image(),
            Kind::Job => schema::job(),
        };
        session.screen.print_json(&schema)?;
        Ok(Exit::Done)
    }
}
