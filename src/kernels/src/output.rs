//! Files that a kernel leaves behind: whole or not at all.
//!
//! Owns atomic writing, JSON documents and NumPy arrays (format version 1.0 of NEP 1, little-endian, C order). May not
//! know what they hold.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ndarray::{ArrayRef, Dimension};
use serde::Serialize;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be written", path.display())]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    /// Names the file that failed.
    pub fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

/// Writes a file through a temporary one beside it, so that a reader sees the old content, or all of the new.
pub fn write_atomically(path: &Path, content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), OutputError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let attempt = || {
        let mut writer = BufWriter::with_capacity(1 << 18, File::create(&partial)?);
        content(&mut writer)?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&partial, path)
    };
    attempt().map_err(|source| {
        // The first error is the one worth telling; a leftover is named after its file and harmless.
        let _ = fs::remove_file(&partial);
        OutputError::new(path, source)
    })
}

/// Writes a value as indented JSON, with a final newline.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), OutputError> {
    write_atomically(path, |writer| {
        serde_json::to_writer_pretty(&mut *writer, value)?;
        writer.write_all(b"\n")
    })
}

/// A type of element that NumPy files hold.
pub trait NpyElement: Copy {
    /// NumPy's name of the type, with byte order.
    const DESCRIPTION: &'static str;
    /// As many bytes as an element has.
    type Bytes: AsRef<[u8]>;
    /// The element's bytes in that order.
    fn bytes(self) -> Self::Bytes;
}

macro_rules! npy_elements {
    ($($element:ty = $description:literal),*) => { $(
        impl NpyElement for $element {
            const DESCRIPTION: &'static str = $description;
            type Bytes = [u8; size_of::<$element>()];
            fn bytes(self) -> Self::Bytes {
                self.to_le_bytes()
            }
        }
    )* };
}
npy_elements!(i64 = "<i8", f32 = "<f4", f64 = "<f8");

/// Writes an array as a `.npy` file that `numpy.load` reads.
pub fn write_npy<T: NpyElement, D: Dimension>(path: &Path, array: &ArrayRef<T, D>) -> Result<(), OutputError> {
    let header = npy_header(T::DESCRIPTION, array.shape());
    write_atomically(path, |writer| {
        writer.write_all(&header)?;
        array.iter().try_for_each(|element| writer.write_all(element.bytes().as_ref()))
    })
}

/// Magic, version and description, padded so that the data starts at a multiple of 64 bytes.
fn npy_header(description: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let dictionary = format!("{{'descr': '{description}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let fixed = b"\x93NUMPY\x01\x00".len() + size_of::<u16>();
    let total = (fixed + dictionary.len() + 1).next_multiple_of(64);
    let padded = format!("{dictionary:width$}\n", width = total - fixed - 1);
    let length = u16::try_from(padded.len()).expect("a few sizes of at most 20 digits are far below 64 KiB");
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(length.to_le_bytes());
    header.extend(padded.into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn npy_bytes_are_those_that_numpy_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &array![[1i64, -1, 3], [4, 5, 6]]).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,3,), }"));
        assert_eq!(bytes[127], b'\n');
        assert_eq!(bytes.len(), 128 + 6 * 8);
        assert_eq!(bytes[136..144], (-1i64).to_le_bytes());
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_json(&path, &1).unwrap();
        let error = write_atomically(&path, |_| Err(io::Error::other("disk full"))).unwrap_err();
        assert!(error.to_string().contains("summary.json could not be written"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
