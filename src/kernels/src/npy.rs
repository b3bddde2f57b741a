//! NumPy arrays from files: one or two dimensions of floats, as kernels and NumPy itself write them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::Array2;

/// A dictionary with a shape of two dimensions is far shorter.
const LONGEST_HEADER: u64 = 1 << 16;

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

/// An array of `<f4` or `<f8` in a file; one dimension is a single column.
#[derive(Debug)]
pub struct Npy {
    path: PathBuf,
    file: File,
    /// Where the first element is.
    begin: u64,
    is_double: bool,
    shape: (usize, usize),
}

impl Npy {
    /// Opens a file, and makes sure that it is as long as its header says.
    pub fn open(path: &Path) -> Result<Self, NpyError> {
        let unreadable = |source| NpyError::Unreadable { path: path.to_owned(), source };
        let other = |found: String| NpyError::Other { path: path.to_owned(), found };
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut beginning = Vec::new();
        file.by_ref().take(LONGEST_HEADER).read_to_end(&mut beginning).map_err(unreadable)?;
        let (header, begin) = header(&beginning).ok_or_else(|| other("no header of a NumPy array".into()))?;
        let shown = || other(format!("the header {:?}", header.trim_end()));
        let (rows, columns) = shape(header).ok_or_else(shown)?;
        let is_c_order = field(header, "fortran_order").is_some_and(|value| value.starts_with("False"));
        let kind = field(header, "descr").filter(|_| is_c_order).ok_or_else(shown)?;
        let is_double = kind.starts_with("'<f8'");
        if !is_double && !kind.starts_with("'<f4'") {
            return Err(shown());
        }
        let expected = (rows as u128) * (columns as u128) * if is_double { 8 } else { 4 };
        let found = u128::from(length) - begin as u128;
        if found != expected {
            return Err(other(format!("{found} bytes of data for {rows} rows of {columns}")));
        }
        Ok(Self { path: path.to_owned(), file, begin: begin as u64, is_double, shape: (rows, columns) })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.shape.0
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.shape.1
    }

    /// Reads some of the rows.
    pub fn read(&mut self, rows: Range<usize>) -> Result<Array2<f64>, NpyError> {
        let size = if self.is_double { 8 } else { 4 };
        let mut bytes = vec![0; rows.len() * self.columns() * size];
        let begin = self.begin + (rows.start * self.columns() * size) as u64;
        let read = self.file.seek(SeekFrom::Start(begin)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| NpyError::Unreadable { path: self.path.clone(), source })?;
        let numbers: Vec<f64> = match self.is_double {
            true => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            false => bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        };
        Ok(Array2::from_shape_vec((rows.len(), self.columns()), numbers).expect("as many bytes were read as the shape takes"))
    }
}

/// Reads a whole array.
pub fn read(path: &Path) -> Result<Array2<f64>, NpyError> {
    let mut array = Npy::open(path)?;
    array.read(0..array.rows())
}

/// The dictionary of versions 1 to 3 as text, and where it ends.
fn header(bytes: &[u8]) -> Option<(&str, usize)> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest))?,
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest))?,
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, bytes.len() - data.len()))
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
    use std::fs;

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &array![[1.5f64, -2.0], [3.25, 1e300]]).unwrap();
        assert_eq!(read(&path).unwrap(), array![[1.5, -2.0], [3.25, 1e300]]);
        assert_eq!(Npy::open(&path).unwrap().read(1..2).unwrap(), array![[3.25, 1e300]]);
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
        assert!(complaint().ends_with("found 15 bytes of data for 2 rows of 1"), "{}", complaint());
    }
}
