//! Who runs ewulf, also behind sudo, and where that user's files belong.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The user behind this process: behind `sudo`, if that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
}

impl User {
    /// Finds the invoking user from the environment and /etc/passwd.
    pub fn invoking() -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::from_parts(is_root(), |name| std::env::var_os(name), &passwd)
    }

    fn from_parts(is_root: bool, variable: impl Fn(&str) -> Option<OsString>, passwd: &str) -> Self {
        let number = |name: &str| variable(name).and_then(|value| value.to_str()?.parse::<u32>().ok());
        if let (true, Some(uid), Some(gid)) = (is_root, number("SUDO_UID"), number("SUDO_GID")) {
            let named = variable("SUDO_USER").map(|name| Path::new("/home").join(name));
            let home = home_of(passwd, uid).or(named).unwrap_or_else(|| PathBuf::from("/root"));
            return Self { uid, gid, home };
        }
        let (uid, gid) = std::fs::metadata("/proc/self").map_or((0, 0), |process| (process.uid(), process.gid()));
        let home = variable("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self { uid, gid, home: home.or_else(|| home_of(passwd, uid)).unwrap_or_else(|| PathBuf::from("/")) }
    }

    /// Creates a folder and those above it; what is new belongs to this user, even if root makes it.
    pub fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        // The current folder, as the parent of a relative path, is empty.
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.create_folder(parent)?;
        }
        match std::fs::create_dir(folder) {
            Ok(()) => self.own(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a file or folder that root made to this user.
    pub fn own(&self, path: &Path) -> std::io::Result<()> {
        if is_root() && self.uid != 0 { std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    /// Gives a folder that root made, and all in it, to this user; follows no links.
    pub fn own_all(&self, folder: &Path) -> std::io::Result<()> {
        if !is_root() || self.uid == 0 {
            return Ok(());
        }
        self.own(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { self.own_all(&entry.path())? } else { self.own(&entry.path())? }
        }
        Ok(())
    }
}

/// Whether this process has root's powers.
pub fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Looks a home folder up in the text of /etc/passwd.
fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| PathBuf::from(fields.get(5).copied().unwrap_or("/")))
    })
}

/// Where the local cloud of a user keeps its state, unless told otherwise.
///
/// XDG_STATE_HOME counts only without sudo, which drops it: both ways must find the same folder.
pub fn local_state(option: Option<&Path>) -> PathBuf {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    if let Some(folder) = option {
        return absolute(folder.to_owned());
    }
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("EWULF_LOCAL_STATE") {
        return absolute(folder);
    }
    let behind_sudo = is_root() && std::env::var_os("SUDO_UID").is_some();
    match variable("XDG_STATE_HOME").filter(|_| !behind_sudo) {
        Some(folder) => absolute(folder).join("ewulf/local"),
        None => User::invoking().home.join(".local/state/ewulf/local"),
    }
}

/// Where base images of all local clouds of the machine are kept.
pub fn cache_folder() -> PathBuf {
    match std::env::var_os("EWULF_CACHE").filter(|value| !value.is_empty()) {
        Some(folder) => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        None => PathBuf::from("/var/cache/ewulf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nada:x:1001:1001::/srv/ada:/bin/sh\n";

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn behind_sudo_the_home_is_the_invoking_user_s() {
        let variables = environment(&[("SUDO_UID", "1001"), ("SUDO_GID", "1001"), ("SUDO_USER", "ada"), ("HOME", "/root")]);
        let user = User::from_parts(true, variables, PASSWD);
        assert_eq!(user, User { uid: 1001, gid: 1001, home: "/srv/ada".into() });
    }

    #[test]
    fn without_root_sudo_s_variables_are_nobody_s() {
        let variables = environment(&[("SUDO_UID", "1001"), ("SUDO_GID", "1001"), ("HOME", "/home/eve")]);
        assert_eq!(User::from_parts(false, variables, PASSWD).home, PathBuf::from("/home/eve"));
    }

    #[test]
    fn new_folders_are_made_with_all_above_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deep = folder.path().join("a/b/c");
        User::invoking().create_folder(&deep).expect("the folders are made");
        assert!(deep.is_dir());
    }
}
