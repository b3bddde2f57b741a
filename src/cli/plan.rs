//! `ewulf plan`: what would change.

use std::path::PathBuf;

use super::cluster::{self, SavedPlan};
use super::connect::CloudOptions;
use super::failure::{Exit, Failure, Kind, Outcome};
use super::session::Session;
use crate::ui;

/// Shows what would change to bring clusters to their specs; changes nothing.
///
/// Without a file, every spec of the project is planned. `+` is created, `~` changed, `±` replaced, `-` removed; each
/// line says why, and what the change does to whoever is working on the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf plan
  ewulf plan clusters/prod.yaml
  ewulf plan clusters/prod.yaml --out monday.plan && ewulf apply monday.plan
  ewulf plan --detailed-exitcode      exits with 2 if anything would change")]
pub struct Plan {
    /// Cluster specs [default: all of clusters/]
    files: Vec<PathBuf>,
    /// Exit with 2 if anything would change
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan of one spec; `ewulf apply FILE` carries out exactly that
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    cloud: CloudOptions,
}

impl Plan {
    pub async fn run(self, session: &Session) -> Outcome {
        let specs = cluster::specs(session.project()?, &self.files, &self.cloud)?;
        if self.out.is_some() && specs.len() != 1 {
            return Err(Failure::invalid(format!("--out saves the plan of one spec, and there are {}", specs.len()))
                .hint("name the spec: ewulf plan clusters/demo.yaml --out FILE"));
        }
        let mut pending = false;
        let mut documents = Vec::new();
        for spec in &specs {
            let cloud = session.connect_for(&spec.spec, &session.events()).await?;
            let planned = cluster::plan(session, &cloud, &spec.spec).await?;
            pending |= !planned.plan.is_empty() || !planned.plan.blockers.is_empty();
            if session.screen.is_json() {
                documents.push(cluster::plan_document(&planned.plan));
            } else {
                session.screen.print(&ui::plan::render(&planned.plan, session.screen.style()))?;
            }
            if let Some(out) = &self.out {
                SavedPlan::new(spec.spec.clone(), planned.plan).write(out)?;
                session.screen.tell(&format!("Saved the plan; carry it out with: ewulf apply {}", out.display()));
            }
            session.tell_calls(&cloud);
        }
        if session.screen.is_json() {
            session.screen.print_json(&documents)?;
        }
        Ok(if self.detailed_exitcode && pending { Exit::ChangesPending } else { Exit::Done })
    }
}

impl SavedPlan {
    /// Writes the plan where `ewulf apply` reads it.
    fn write(&self, file: &std::path::Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::of(Kind::Failed, &error))?;
        std::fs::write(file, text).map_err(|error| {
            Failure::new(Kind::Failed, format!("{}: the plan cannot be written", file.display())).caused_by(Some(&error))
        })
    }
}
