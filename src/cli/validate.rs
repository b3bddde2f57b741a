//! `ewulf validate`: everything that is wrong with specs, without asking any cloud.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::ui::text;

use super::failure::{Exit, Failure, Outcome};
use super::project::{Kind, Project, gather};
use super::session::Session;

/// Checks specs, and says for each mistake where it is and what to write instead.
///
/// Takes cluster specs, image recipes and job manifests; without files, all of the project. Asks no cloud.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf validate
  ewulf validate clusters/prod.yaml jobs/knn.yaml
  ewulf validate --json | jq '.error.diagnostics[]'")]
pub struct Validate {
    /// Specs, recipes and manifests [default: all of the project]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Validate {
    pub fn run(self, session: &Session) -> Outcome {
        let project = session.project()?;
        let files: Vec<(Kind, PathBuf)> = if self.files.is_empty() {
            Kind::ALL.iter().flat_map(|kind| project.files(*kind).into_iter().map(|file| (*kind, file))).collect()
        } else {
            let kinds = self.files.into_iter().map(|file| Ok((kind_of(project, &file)?, file)));
            kinds.collect::<Result<_, Failure>>()?
        };
        if files.is_empty() {
            return Err(Failure::invalid("there is nothing to check: the project has no specs")
                .hint("`ewulf init DIR` writes a project to start from"));
        }
        gather(files.iter().map(|(kind, file)| project.check(*kind, file)))?;
        if session.screen.is_json() {
            session.screen.print_json(&json!({ "valid": files.iter().map(|(_, file)| file).collect::<Vec<_>>() }))?;
        } else {
            let count = text::count(files.len() as u64, "file");
            session.screen.print_line(&format!("{count} checked: no errors."))?;
        }
        Ok(Exit::Done)
    }
}

/// Finds out what kind of spec a file is: by its folder, else by the key it has.
fn kind_of(project: &Project, file: &Path) -> Result<Kind, Failure> {
    let folder = std::path::absolute(file).ok().and_then(|file| Some(file.parent()?.file_name()?.to_owned()));
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| folder.as_deref().is_some_and(|folder| folder == kind.folder())) {
        return Ok(kind);
    }
    let text = project.read(Kind::Cluster, file)?;
    let text = String::from_utf8_lossy(&text.bytes);
    let has_key = |kind: &Kind| {
        text.lines().any(|line| line.strip_prefix(kind.key()).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    // A job names its cluster too, so its own key counts first.
    let kinds = [Kind::Job, Kind::Image, Kind::Cluster];
    Ok(kinds.into_iter().find(has_key).unwrap_or(Kind::Cluster))
}
