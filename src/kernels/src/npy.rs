//! NumPy arrays from files: one or two dimensions of floats, as kernels and NumPy itself write them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ndarray::Array2;

/// An array that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The file could not be read.
    #[error("{} could not be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: expected a NumPy array of float32 or float64 with one or two dimensions in C order, found {found}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
}

/// Reads an array of `<f4` or `<f8`; one dimension becomes a single column.
pub fn read(path: &Path) -> Result<Array2<f64>, NpyError> {
    let bytes = fs::read(path).map_err(|source| NpyError::Unreadable { path: path.to_owned(), source })?;
    parse(&bytes).map_err(|found| NpyError::Other { path: path.to_owned(), found })
}

/// The array in a file's bytes, or what is there instead.
fn parse(bytes: &[u8]) -> Result<Array2<f64>, String> {
    let (header, data) = header(bytes).ok_or("no header of a NumPy array")?;
    let (rows, columns) = shape(header).ok_or_else(|| format!("the header {:?}", header.trim_end()))?;
    let is_c_order = field(header, "fortran_order").is_some_and(|value| value.starts_with("False"));
    let numbers: Vec<f64> = match field(header, "descr") {
        Some(kind) if is_c_order && kind.starts_with("'<f4'") => {
            data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        Some(kind) if is_c_order && kind.starts_with("'<f8'") => {
            data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }
        _ => return Err(format!("the header {:?}", header.trim_end())),
    };
    let found = numbers.len();
    Array2::from_shape_vec((rows, columns), numbers).map_err(|_| format!("{found} numbers for {rows} rows of {columns}"))
}

/// The dictionary of versions 1 to 3 as text, and what follows it.
fn header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest))?,
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest))?,
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// What follows a key of the dictionary.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    Some(rest.trim_start())
}

/// Rows and columns, if there are one or two dimensions.
fn shape(header: &str) -> Option<(usize, usize)> {
    let (sizes, _) = field(header, "shape")?.strip_prefix('(')?.split_once(')')?;
    let sizes: Vec<&str> = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).collect();
    match sizes[..] {
        [rows] => Some((rows.parse().ok()?, 1)),
        [rows, columns] => Some((rows.parse().ok()?, columns.parse().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::write_npy;
    use ndarray::array;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &array![[1.5f64, -2.0], [3.25, 1e300]]).unwrap();
        assert_eq!(read(&path).unwrap(), array![[1.5, -2.0], [3.25, 1e300]]);
        write_npy(&path, &array![0.5f32, 4.0, 3.5]).unwrap();
        assert_eq!(read(&path).unwrap(), array![[0.5], [4.0], [3.5]]);
        write_npy(&path, &ndarray::Array1::<f32>::zeros(0)).unwrap();
        assert_eq!(read(&path).unwrap().dim(), (0, 1));
    }

    #[test]
    fn other_files_say_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let complaint = || read(&path).unwrap_err().to_string();
        fs::write(&path, "movie,user\n").unwrap();
        assert!(complaint().ends_with("found no header of a NumPy array"), "{}", complaint());
        write_npy(&path, &array![1i64]).unwrap();
        assert!(complaint().contains("'descr': '<i8'"), "{}", complaint());
        write_npy(&path, &array![1f64, 2.0]).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(complaint().ends_with("found 1 numbers for 2 rows of 1"), "{}", complaint());
    }
}
