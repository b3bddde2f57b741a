//! Results from a cluster to a local folder, through the answers of commands alone.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use tokio::task::JoinSet;

use super::answer::{self, LeftFile, Packed};
use super::plan::digest;
use super::runner::{checked, odd_answer, refused};
use super::scripts;
use super::{JobError, MASTER, RunHandle, Runner};
use crate::aws::{CallError, Script};
use crate::events::Work;

/// Largest compressed archive of results: some thousand commands.
const LIMIT: u64 = 16 << 20;
/// Commands in flight at once: an agent runs five (ec2.md 7.10).
const PARALLEL: usize = 4;
/// Packing may have to compress a gibibyte.
const PACKING: Duration = Duration::from_secs(600);

/// Names in a run's local folder that are ewulf's own.
const OWN: [&str; 2] = ["receipt.json", "output.log"];

/// What came back of a run.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Paths relative to the local folder.
    pub files: Vec<String>,
    pub left: Vec<LeftFile>,
    /// Files left beyond those that are named.
    pub more_left: u64,
    /// Output patterns that nothing matched.
    pub missing: Vec<String>,
    /// The runner's `failure.json`, if there is one.
    pub failure: Option<Vec<u8>>,
    /// The runner's `members.jsonl`: a line for each member that has ended.
    pub members: Vec<u8>,
    /// Bytes of the whole log on the cluster; the local one is its end.
    pub log_bytes: u64,
}

impl Runner {
    /// Fetches the results of a run into `folder`.
    pub(super) async fn fetch(&self, handle: &RunHandle, folder: &Path, work: &Work) -> Result<Fetched, JobError> {
        let plan = &handle.plan;
        let script = Script::new(format!("results of {}", plan.run), scripts::results(&plan.folder, LIMIT)).timeout(PACKING);
        let outcome = self.cloud.run_on_one(&handle.master, &script).await.map_err(|source| refused(&plan.run, source))?;
        let answer = checked(outcome, "packing results", MASTER)?;
        let (packed, mut content) = answer::packed(&answer).map_err(|error| odd_answer(MASTER, "packing results", &error))?;
        self.fetch_rest(handle, &packed, &mut content, work).await?;
        if digest(&content) != packed.sha256 {
            let message = "what arrived is not what was sent".to_owned();
            return Err(JobError::Node { node: MASTER.to_owned(), doing: "fetching results", message });
        }
        let mut fetched = unpack(&content, folder)?;
        fetched.left.extend(packed.left);
        fetched.more_left = packed.more_left;
        fetched.missing = packed.missing;
        fetched.log_bytes = packed.log_bytes;
        Ok(fetched)
    }

    async fn fetch_rest(&self, handle: &RunHandle, packed: &Packed, content: &mut Vec<u8>, work: &Work) -> Result<(), JobError> {
        let offsets: Vec<usize> = (content.len()..packed.bytes).step_by(scripts::CHUNK).collect();
        for group in offsets.chunks(PARALLEL) {
            let mut tasks = JoinSet::new();
            for offset in group.iter().copied() {
                let text = scripts::chunk(&handle.plan.folder, &packed.archive, offset);
                let script = Script::new(format!("results of {} from {offset}", handle.plan.run), text);
                let (cloud, master, run) = (self.cloud.clone(), handle.master.clone(), handle.plan.run.clone());
                tasks.spawn(async move {
                    let outcome = cloud.run_on_one(&master, &script).await.map_err(|source| refused(&run, source))?;
                    let answer = checked(outcome, "fetching results", MASTER)?;
                    let chunk = answer::chunk(&answer).map_err(|error| odd_answer(MASTER, "fetching results", &error))?;
                    Ok::<_, JobError>((offset, chunk))
                });
            }
            let mut chunks = Vec::with_capacity(PARALLEL);
            while let Some(done) = tasks.join_next().await {
                let gone = |error: tokio::task::JoinError| CallError::unexpected("SendCommand", MASTER, error.to_string());
                chunks.push(done.map_err(|error| refused(&handle.plan.run, gone(error)))??);
            }
            chunks.sort_by_key(|(offset, _)| *offset);
            chunks.iter().for_each(|(_, chunk)| content.extend_from_slice(chunk));
            work.progress(content.len() as u64, packed.bytes as u64, "bytes");
        }
        Ok(())
    }
}

/// Unpacks an archive of results: `files/…` becomes the run's local folder, `run/…` is the runner's.
fn unpack(archive: &[u8], folder: &Path) -> Result<Fetched, JobError> {
    let failed = |source| JobError::File { path: folder.to_owned(), doing: "unpacking results", source };
    let mut fetched = Fetched::default();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let mut content = Vec::new();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        entry.read_to_end(&mut content).map_err(failed)?;
        match (path.strip_prefix("run"), path.strip_prefix("files")) {
            (Ok(own), _) if own == Path::new("failure.json") => fetched.failure = Some(content),
            (Ok(own), _) if own == Path::new("members.jsonl") => fetched.members = content,
            (Ok(own), _) if own == Path::new("output.log") => write(folder, own, &content)?,
            (_, Ok(path)) => match plain(path) {
                Some(name) if OWN.contains(&name.as_str()) => {
                    let why = "a file of that name is ewulf's own".to_owned();
                    fetched.left.push(LeftFile { path: name, bytes: content.len() as u64, why });
                }
                Some(name) => {
                    write(folder, Path::new(&name), &content)?;
                    fetched.files.push(name);
                }
                None => {}
            },
            _ => {}
        }
    }
    fetched.files.sort();
    Ok(fetched)
}

/// A path as text, if it goes down from where it starts and nowhere else.
fn plain(path: &Path) -> Option<String> {
    let down = path.components().all(|component| matches!(component, Component::Normal(_)));
    path.to_str().filter(|text| down && !text.is_empty()).map(str::to_owned)
}

/// Writes a file of the local folder of a run, whole or not at all.
pub(super) fn write(folder: &Path, name: &Path, content: &[u8]) -> Result<(), JobError> {
    let path = folder.join(name);
    let temporary = PathBuf::from(format!("{}.part", path.display()));
    let written = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&temporary)?.write_all(content)?;
        fs::rename(&temporary, &path)
    };
    written().map_err(|source| JobError::File { path: path.clone(), doing: "writing", source })
}

#[cfg(test)]
mod tests {
    use super::super::bundle::gzip;
    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            // As a hostile archive would: the checked way refuses such paths.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        gzip(&builder.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn results_land_in_the_runs_folder_and_nowhere_else() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("results/run");
        let packed = archive(&[
            ("run/output.log", "[0] x\n"),
            ("run/failure.json", "{}"),
            ("files/summary.json", "{}"),
            ("files/deep/er.npy", "1"),
            ("files/receipt.json", "forged"),
            ("files/../../escaped", "x"),
            ("other/thing", "x"),
        ]);
        let fetched = unpack(&packed, &folder).unwrap();
        assert_eq!(fetched.files, ["deep/er.npy", "summary.json"]);
        assert_eq!(fs::read_to_string(folder.join("output.log")).unwrap(), "[0] x\n");
        assert_eq!(fetched.failure.as_deref(), Some(b"{}".as_slice()));
        assert_eq!(fetched.left[0].path, "receipt.json");
        assert!(!folder.join("receipt.json").exists() && !base.path().join("escaped").exists() && !folder.join("thing").exists());
    }
}
