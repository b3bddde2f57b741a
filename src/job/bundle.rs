//! The archive that becomes a run's folder: the runner's programs, the plan, sources and small inputs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ewulf_core::names::RelativePath;
use ewulf_core::spec::{InputSource, JobManifest, Member};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::plan::{CONTROL, checked_program, hostfile};
use super::{Group, JobError, Plan};

/// Largest compressed archive: through SSM, 8 MiB already take about 1,400 commands' worth of chunks.
const COMPRESSED_MAX: usize = 8 << 20;
/// Largest archive before compression, so that a wrong path is told before gigabytes are read.
const PLAIN_MAX: u64 = 256 << 20;

/// Folders that are never part of a program: histories and caches.
const LEFT_OUT: [&str; 2] = [".git", "__pycache__"];

/// Folder of the members in that of a run.
const MEMBERS: &str = "members";

/// What carries a run out on the master, by name.
const PROGRAMS: [(&str, &str); 6] = [
    ("run.py", include_str!("programs/run.py")),
    ("launch.py", include_str!("programs/launch.py")),
    ("processes.py", include_str!("programs/processes.py")),
    ("streams.py", include_str!("programs/streams.py")),
    ("rank.sh", include_str!("programs/rank.sh")),
    ("agent.sh", include_str!("programs/agent.sh")),
];
/// What runs with members have besides.
const MEMBERS_PROGRAM: (&str, &str) = ("members.py", include_str!("programs/members.py"));

/// A run's folder as one tar archive.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    pub tar: Vec<u8>,
    /// The archive compressed by gzip.
    pub packed: Vec<u8>,
}

/// Packs everything that a run starts with. `base` is the folder that the manifest's paths are relative to.
pub(super) fn pack(plan: &Plan, base: &Path) -> Result<Bundle, JobError> {
    let (job, has_members) = (plan.job.to_string(), !plan.groups.is_empty());
    let mut archive = Archive { tar: tar::Builder::new(Vec::new()), size: 0, job, has_members };
    archive.add_control(plan)?;
    archive.add_files(&plan.manifest, base)?;
    let tar = archive.tar.into_inner().map_err(in_memory)?;
    let packed = gzip(&tar)?;
    if packed.len() > COMPRESSED_MAX {
        return Err(too_large(plan.job.as_str(), format!("{} MiB compressed", packed.len() >> 20)));
    }
    Ok(Bundle { tar, packed })
}

fn too_large(job: &str, size: String) -> JobError {
    JobError::invalid(
        format!(
            "job {job}: its source and inputs are {size}, and at most {} MiB compressed can be sent to the cluster",
            COMPRESSED_MAX >> 20
        ),
        "put large files where the master can fetch them: `inputs: [{url: s3://…}]` or `https://…`",
    )
}

pub(super) fn gzip(content: &[u8]) -> Result<Vec<u8>, JobError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).and_then(|()| encoder.finish()).map_err(in_memory)
}

fn in_memory(source: io::Error) -> JobError {
    JobError::File { path: PathBuf::from("archive in memory"), doing: "packing", source }
}

/// Words as a file that `mapfile -d ''` reads: each ended by NUL, so that any text survives.
fn nul_terminated(words: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<u8> {
    words.into_iter().flat_map(|word| [word.as_ref().as_bytes(), b"\0"].concat()).collect()
}

struct Archive {
    tar: tar::Builder<Vec<u8>>,
    size: u64,
    job: String,
    has_members: bool,
}

/// What the runner has to know of each member, in order.
fn members(plan: &Plan) -> Result<Vec<u8>, JobError> {
    let member = |member: &Member| {
        let program = checked_program(plan.manifest.member_argv(member))?;
        Ok(serde_json::json!({ "title": member.to_string(), "program": program }))
    };
    let members: Vec<serde_json::Value> = plan.manifest.members().iter().map(member).collect::<Result<_, JobError>>()?;
    Ok(serde_json::to_vec(&members).expect("texts are JSON"))
}

impl Archive {
    fn add_control(&mut self, plan: &Plan) -> Result<(), JobError> {
        let environment = plan.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let json = serde_json::to_vec(plan).expect("a plan is made of texts and numbers");
        let programs = PROGRAMS.into_iter().chain(self.has_members.then_some(MEMBERS_PROGRAM));
        let programs = programs.map(|(name, text)| (name.to_owned(), 0o755, text.into()));
        let files: [(String, u32, Vec<u8>); 4] = [
            ("plan.json".to_owned(), 0o644, json),
            ("hostfile".to_owned(), 0o644, plan.hostfile().into()),
            ("program".to_owned(), 0o644, nul_terminated(&plan.program)),
            ("environment".to_owned(), 0o644, nul_terminated(environment)),
        ];
        let groups = plan.groups.iter().enumerate();
        let hostfiles = groups.map(|(index, group)| (Group::hostfile(index), 0o644, hostfile(&group.nodes).into()));
        let members = match self.has_members {
            true => Some(("members.json".to_owned(), 0o644, members(plan)?)),
            false => None,
        };
        self.folder(CONTROL)?;
        let mut all = programs.chain(files).chain(hostfiles).chain(members);
        all.try_for_each(|(name, mode, content)| self.file(&format!("{CONTROL}/{name}"), mode, &content))
    }

    fn add_files(&mut self, manifest: &JobManifest, base: &Path) -> Result<(), JobError> {
        if let Some(source) = &manifest.source {
            let root = canonical(&base.join(source.as_str()))?;
            if !root.is_dir() {
                return Err(JobError::invalid(
                    format!("source {}: it is no folder", root.display()),
                    "name the folder that the program lies in: `source: ./program`",
                ));
            }
            self.tree(&root, &root, "", &mut BTreeSet::new())?;
        }
        for input in &manifest.inputs {
            if let InputSource::Path(path) = &input.from {
                self.input(&base.join(path.as_str()), &input.to)?;
            }
        }
        Ok(())
    }

    fn input(&mut self, path: &Path, to: &RelativePath) -> Result<(), JobError> {
        let path = canonical(path)?;
        if path.is_dir() {
            self.folder(to.as_str())?;
            self.tree(&path, &path, to.as_str(), &mut BTreeSet::new())
        } else {
            self.copy(&path, to.as_str())
        }
    }

    /// Adds what is in `folder`, below `prefix`. Links are followed as long as they stay inside `root`.
    fn tree(&mut self, root: &Path, folder: &Path, prefix: &str, above: &mut BTreeSet<PathBuf>) -> Result<(), JobError> {
        if !above.insert(folder.to_owned()) {
            return Err(JobError::invalid(
                format!("folder {}: it contains itself by a link", folder.display()),
                "remove the link",
            ));
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|source| reading(folder, source))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.contains('\n')) else {
                return Err(JobError::invalid(
                    format!("file {}: its name is not plain text", entry.path().display()),
                    "rename it",
                ));
            };
            if LEFT_OUT.contains(&name) || (prefix.is_empty() && name == CONTROL) {
                continue;
            }
            if self.has_members && prefix.is_empty() && name == MEMBERS {
                return Err(JobError::invalid(
                    format!("file {}: a run with members keeps their folders under this name", entry.path().display()),
                    "rename it",
                ));
            }
            let real = canonical(&entry.path())?;
            if !real.starts_with(root) {
                return Err(JobError::invalid(
                    format!("file {}: it is a link that leaves {}", entry.path().display(), root.display()),
                    "copy what it points to into the folder, or name it under `inputs`",
                ));
            }
            let target = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if real.is_dir() {
                self.folder(&target)?;
                self.tree(root, &real, &target, above)?;
            } else {
                self.copy(&real, &target)?;
            }
        }
        above.remove(folder);
        Ok(())
    }

    fn copy(&mut self, path: &Path, target: &str) -> Result<(), JobError> {
        let facts = fs::metadata(path).map_err(|source| reading(path, source))?;
        if !facts.is_file() {
            return Err(JobError::invalid(format!("file {}: it is neither a file nor a folder", path.display()), "leave it out"));
        }
        if self.size + facts.len() > PLAIN_MAX {
            return Err(too_large(&self.job, format!("over {} MiB", PLAIN_MAX >> 20)));
        }
        let content = fs::read(path).map_err(|source| reading(path, source))?;
        // What may be executed here may be executed there; all else of a mode is this machine's own.
        let mode = if facts.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        self.file(target, mode, &content)
    }

    fn file(&mut self, target: &str, mode: u32, content: &[u8]) -> Result<(), JobError> {
        self.size += content.len() as u64;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        self.tar.append_data(&mut header, target, content).map_err(in_memory)
    }

    fn folder(&mut self, target: &str) -> Result<(), JobError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        self.tar.append_data(&mut header, format!("{target}/"), io::empty()).map_err(in_memory)
    }
}

fn canonical(path: &Path) -> Result<PathBuf, JobError> {
    path.canonicalize().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => JobError::invalid(
            format!("file {}: there is none of this name", path.display()),
            "paths of a manifest are relative to the folder that it lies in",
        ),
        _ => reading(path, source),
    })
}

fn reading(path: &Path, source: io::Error) -> JobError {
    JobError::File { path: path.to_owned(), doing: "reading", source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use jiff::Timestamp;

    use super::super::tests::{cluster, manifest};
    use super::*;

    fn packed(yaml: &str, base: &Path) -> Result<BTreeMap<String, (u32, Vec<u8>)>, JobError> {
        let plan = Plan::new(&manifest(yaml), &cluster(&[2, 2]), Timestamp::UNIX_EPOCH, 1)?;
        let bundle = pack(&plan, base)?;
        let mut archive = tar::Archive::new(bundle.tar.as_slice());
        let entries = archive.entries().unwrap().map(Result::unwrap).map(|mut entry| {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            (path, (entry.header().mode().unwrap(), content))
        });
        Ok(entries.collect())
    }

    #[test]
    fn words_of_any_content_stay_apart() {
        let files = packed("args: {a: \"x y\\nz\", b: '$(id)', c: '', d: \"it's\"}", Path::new(".")).unwrap();
        let expected = "/opt/ewulf/bin/pi\0--a\0x y\nz\0--b\0$(id)\0--c\0\0--d\0it's\0";
        assert_eq!(String::from_utf8(files[".ewulf/program"].1.clone()).unwrap(), expected);
        assert_eq!(files[".ewulf/run.py"].0, 0o755);
        assert_eq!(files[".ewulf/hostfile"].1, b"10.42.0.4 slots=2\n10.42.0.5 slots=2\n");
    }

    #[test]
    fn members_have_words_of_their_own_and_their_groups_a_hostfile() {
        let files = packed("{args: {seed: 1}, sweep: {grid: {samples: [5, \"$(id)\"]}}, split: 2}", Path::new(".")).unwrap();
        let members: serde_json::Value = serde_json::from_slice(&files[".ewulf/members.json"].1).unwrap();
        let expected = serde_json::json!([
            {"title": "--samples 5", "program": ["/opt/ewulf/bin/pi", "--samples", "5", "--seed", "1"]},
            {"title": "--samples $(id)", "program": ["/opt/ewulf/bin/pi", "--samples", "$(id)", "--seed", "1"]},
        ]);
        assert_eq!(members, expected);
        assert_eq!(files[".ewulf/hostfile-1"].1, b"10.42.0.4 slots=2\n");
        assert_eq!(files[".ewulf/hostfile-2"].1, b"10.42.0.5 slots=2\n");
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("program/members")).unwrap();
        assert!(packed("{source: program, folds: 2}", base.path()).unwrap_err().to_string().contains("run with members"));
        assert!(packed("{source: program}", base.path()).is_ok());
    }

    #[test]
    fn sources_and_inputs_lie_where_the_manifest_says() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("program/.git")).unwrap();
        fs::create_dir_all(base.path().join("program/data")).unwrap();
        fs::write(base.path().join("program/.git/config"), "x").unwrap();
        fs::write(base.path().join("program/my.py"), "print()").unwrap();
        fs::write(base.path().join("program/tool"), "#!").unwrap();
        fs::set_permissions(base.path().join("program/tool"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("../my.py", base.path().join("program/data/link.py")).unwrap();
        fs::write(base.path().join("ratings.csv"), "1,2,3").unwrap();
        let yaml = "{source: program, inputs: [{path: ratings.csv, to: in/r.csv}]}";
        let files = packed(yaml, base.path()).unwrap();
        assert_eq!(files["my.py"], (0o644, b"print()".to_vec()));
        assert_eq!(files["data/link.py"].1, b"print()");
        assert_eq!(files["tool"].0, 0o755);
        assert_eq!(files["in/r.csv"].1, b"1,2,3");
        assert!(!files.keys().any(|path| path.contains(".git")));
    }

    #[test]
    fn links_out_of_a_folder_and_into_itself_are_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("program")).unwrap();
        symlink("/etc/passwd", base.path().join("program/secret")).unwrap();
        let message = packed("source: program", base.path()).unwrap_err().to_string();
        assert!(message.contains("secret: it is a link that leaves"), "{message}");
        fs::remove_file(base.path().join("program/secret")).unwrap();
        symlink(".", base.path().join("program/again")).unwrap();
        let message = packed("source: program", base.path()).unwrap_err().to_string();
        assert!(message.contains("contains itself"), "{message}");
    }

    #[test]
    fn what_is_missing_or_too_large_is_named() {
        let base = tempfile::tempdir().unwrap();
        let message = packed("inputs: [{path: nothing.csv}]", base.path()).unwrap_err().to_string();
        assert!(message.ends_with("nothing.csv: there is none of this name"), "{message}");
        // Noise does not compress.
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()
        });
        fs::write(base.path().join("noise"), noise.take(1_200_000).flatten().collect::<Vec<u8>>()).unwrap();
        let error = packed("inputs: [{path: noise}]", base.path()).unwrap_err();
        assert!(error.to_string().contains("at most 8 MiB"), "{error}");
        assert!(error.hint().unwrap().contains("s3://"));
    }
}
