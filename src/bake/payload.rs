//! What a builder is sent: one archive with the rendered tree and the kernels' sources.

use super::recipe::Prepared;

/// Writes the archive: `tree.tar` with the files of the image, and `kernels/` with the crate. The same inputs give the same bytes.
pub(super) fn payload(prepared: &Prepared) -> Vec<u8> {
    let tree = prepared.tree.iter().map(|(path, file)| (path.clone(), file.content.as_slice(), file.mode));
    let tree = archive(tree);
    let kernels = prepared.kernels.iter().map(|(path, content)| (format!("kernels/{path}"), content.as_slice(), 0o644));
    archive(std::iter::once(("tree.tar".to_owned(), tree.as_slice(), 0o644)).chain(kernels))
}

/// An archive of files without folders of their own: unpacking makes those that are missing and touches no other.
fn archive<'a>(files: impl Iterator<Item = (String, &'a [u8], u32)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, &path, content).expect("a path without `..` fits an archive in memory");
    }
    builder.into_inner().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Sources;

    #[test]
    fn the_archive_holds_the_tree_with_modes_and_the_kernels_crate() {
        let sources = Sources::embedded();
        let text = sources.recipe("worker").expect("readable").expect("it is there");
        let recipe = ewulf_core::spec::load_image("x", &text.content).map_err(|error| format!("{error:?}")).expect("valid").spec;
        let prepared = Prepared::new(&recipe, &sources).expect("it can be rendered");
        let bytes = payload(&prepared);
        assert_eq!(bytes, payload(&prepared), "the same inputs give the same bytes");
        let mut outer = tar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        for entry in outer.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a path").display().to_string();
            if name == "tree.tar" {
                let mut inner = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut inner).expect("readable");
                let mut tree = tar::Archive::new(inner.as_slice());
                let boot = tree.entries().expect("entries").map(|entry| entry.expect("an entry"));
                let boot =
                    boot.into_iter().find(|entry| entry.path().expect("a path").ends_with("node-boot")).expect("node-boot");
                assert_eq!(boot.header().mode().expect("a mode"), 0o755);
            }
            names.push(name);
        }
        assert_eq!(names.first().map(String::as_str), Some("tree.tar"));
        assert!(names.iter().any(|name| name == "kernels/Cargo.toml") && names.iter().any(|name| name == "kernels/Cargo.lock"));
    }
}
