//! `ewulf init`: a project to start from.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::sources;
use crate::ui::text;

use super::failure::{Exit, Failure, Kind, Outcome};
use super::session::Session;
use super::user::User;

/// What runs leave in a project and nobody commits.
const GITIGNORE: &str = "/results/\n/.ewulf/\n";

/// Writes a project to start from: cluster specs, image recipes, templates and jobs.
///
/// Everything written is a copy of what is built in, to be changed freely; what is not changed may be removed again,
/// since the built-in file of the same name stands in for it. Files that exist are never overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ewulf init my-cluster
  cd my-cluster && ewulf validate && sudo ewulf apply clusters/demo.yaml")]
pub struct Init {
    /// The folder; made if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Init {
    pub fn run(self, session: &Session) -> Outcome {
        let mut files = sources::starter_files();
        files.insert(".gitignore".to_owned(), GITIGNORE.into());
        let taken: Vec<&str> =
            files.keys().map(String::as_str).filter(|path| self.folder.join(path).symlink_metadata().is_ok()).collect();
        if !taken.is_empty() {
            let shown = taken.iter().take(3).copied().collect::<Vec<_>>().join(", ");
            let more = if taken.len() > 3 { format!(" and {} more", taken.len() - 3) } else { String::new() };
            return Err(Failure::invalid(format!("{}: would overwrite {shown}{more}", self.folder.display()))
                .hint("choose a folder without them; nothing was written"));
        }
        let user = User::invoking();
        for (path, content) in &files {
            write(&user, &self.folder.join(path), content).map_err(|error| {
                let path = self.folder.join(path);
                Failure::new(Kind::Failed, format!("{}: cannot be written", path.display())).caused_by(Some(&error))
            })?;
        }
        if session.screen.is_json() {
            let paths: Vec<&String> = files.keys().collect();
            session.screen.print_json(&json!({ "folder": self.folder, "files": paths }))?;
            return Ok(Exit::Done);
        }
        let folder = text::shell_word(&self.folder.to_string_lossy());
        let count = text::count(files.len() as u64, "file");
        session.screen.print_line(&format!("Wrote {count} to {folder}. What next:"))?;
        session.screen.print(&format!(
            "  cd {folder}\n  ewulf validate                          check all specs\n  sudo ewulf bake-ami                     bake \
             the images\n  sudo ewulf apply clusters/demo.yaml     bring three nodes up on this machine\n"
        ))?;
        Ok(Exit::Done)
    }
}

/// Writes a new file and the folders above it; all of them belong to `user`, and an existing file is an error.
fn write(user: &User, path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        user.create_folder(folder)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    user.own(path)
}
