//! The one way to the HDF5 library: every call to it goes through [`guard`], which turns a panic into an error.
//!
//! Reads metadata and row windows through the streaming backend, so that memory stays at one window plus one chunk.
//! Sizes that a file declares are compared with what a file of its length can hold before anything is allocated.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hdf5_pure::{
    AttrValue, ChunkCacheConfig, DType, Dataset, DatasetAccessProperties, Error, File, FormatError, Layout,
};

use super::capture::unusable;
use crate::acquisition::SampleFormat;
use crate::source::SourceError;

/// No compression in use packs zeros tighter than this (deflate: 1032).
const MAX_COMPRESSION: u64 = 1100;
/// Decompressed bytes of one chunk at most.
const MAX_CHUNK_BYTES: u64 = 256 << 20;
/// Bytes of rows that are read at once because they are stored together, at most.
const MAX_TOGETHER: u64 = 32 << 20;
/// Values of a small table (times of blocks, channel lists) at most.
const MAX_TABLE: u64 = 1 << 24;
/// Values of a long column that are read at once.
const COLUMN_WINDOW: u64 = 1 << 20;

/// An open HDF5 file.
pub(super) struct H5 {
    path: PathBuf,
    bytes: u64,
    file: File,
}

/// Attributes of one object, all read at once.
#[derive(Default)]
pub(super) struct Attrs(HashMap<String, AttrValue>);

/// A dataset of samples, of two or three dimensions.
pub(super) struct Samples {
    path: PathBuf,
    dataset: Dataset,
    /// Dimensions as on disk.
    pub(super) shape: Vec<u64>,
    /// How samples are handed on: 8- and 16-bit integers as `i16`, everything else as `f32`.
    pub(super) format: SampleFormat,
    /// Rows of the first dimension that are stored together.
    pub(super) rows_together: usize,
}

/// Calls the library; a panic inside it becomes an error.
fn guard<T>(path: &Path, what: &str, call: impl FnOnce() -> Result<T, Error>) -> Result<T, SourceError> {
    let what = if what.is_empty() { "the root" } else { what };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Error::Format(FormatError::UnexpectedEof { expected, available }))) => Err(unusable(
            path,
            format!("{what}: the file is cut off, or damaged: {expected} bytes are wanted, {available} are there"),
        )),
        Ok(Err(error)) => Err(unusable(path, format!("{what}: {error}"))),
        Err(_) => Err(unusable(path, format!("{what}: the file is damaged in a way the HDF5 reader does not know"))),
    }
}

/// As [`guard`], but something that is not there is `None`.
fn look<T>(path: &Path, what: &str, call: impl FnOnce() -> Result<T, Error>) -> Result<Option<T>, SourceError> {
    guard(path, what, || match call() {
        Ok(value) => Ok(Some(value)),
        Err(Error::Format(FormatError::PathNotFound(_)) | Error::NotADataset(_) | Error::NotAGroup(_)) => Ok(None),
        Err(error) => Err(error),
    })
}

impl H5 {
    /// Opens the file; reads its superblock only.
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let file = guard(path, "open", || File::open_streaming(path))?;
        Ok(Self { path: path.to_owned(), bytes: file.file_size(), file })
    }

    /// Something in this file is not as it should be.
    pub(super) fn unusable(&self, why: impl Into<String>) -> SourceError {
        unusable(&self.path, why)
    }

    /// Attributes of a group (`""` = root); `None` when there is no such group.
    pub(super) fn group_attrs(&self, group: &str) -> Result<Option<Attrs>, SourceError> {
        look(&self.path, group, || {
            if group.is_empty() { self.file.root().attrs() } else { self.file.group(group)?.attrs() }
        })
        .map(|attrs| attrs.map(Attrs))
    }

    /// Attributes of a dataset; `None` when there is no such dataset.
    pub(super) fn dataset_attrs(&self, dataset: &str) -> Result<Option<Attrs>, SourceError> {
        look(&self.path, dataset, || self.file.dataset(dataset)?.attrs()).map(|attrs| attrs.map(Attrs))
    }

    /// Names of the groups within a group (`""` = root), sorted.
    pub(super) fn groups(&self, group: &str) -> Result<Vec<String>, SourceError> {
        let names = look(&self.path, group, || {
            if group.is_empty() { self.file.root().groups() } else { self.file.group(group)?.groups() }
        })?;
        Ok(sorted(names.unwrap_or_default()))
    }

    /// Names of the datasets within a group (`""` = root), sorted.
    pub(super) fn datasets(&self, group: &str) -> Result<Vec<String>, SourceError> {
        let names = look(&self.path, group, || {
            if group.is_empty() { self.file.root().datasets() } else { self.file.group(group)?.datasets() }
        })?;
        Ok(sorted(names.unwrap_or_default()))
    }

    /// Whether there is such a dataset.
    pub(super) fn has(&self, dataset: &str) -> Result<bool, SourceError> {
        Ok(look(&self.path, dataset, || self.file.dataset(dataset))?.is_some())
    }

    /// All values of a small dataset or scalar as doubles; `None` when it is not there.
    pub(super) fn numbers(&self, dataset: &str) -> Result<Option<Vec<f64>>, SourceError> {
        let Some(found) = self.table(dataset, MAX_TABLE)? else { return Ok(None) };
        guard(&self.path, dataset, || found.read_f64()).map(Some)
    }

    /// First value of a small dataset, or of a scalar.
    pub(super) fn number(&self, dataset: &str) -> Result<Option<f64>, SourceError> {
        Ok(self.numbers(dataset)?.and_then(|values| values.first().copied()))
    }

    /// First string of a small dataset, or of a scalar.
    pub(super) fn text(&self, dataset: &str) -> Result<Option<String>, SourceError> {
        let Some(found) = self.table(dataset, 1 << 12)? else { return Ok(None) };
        let texts = guard(&self.path, dataset, || found.read_string())?;
        Ok(texts.into_iter().next().map(|text| tidy(&text)))
    }

    /// How many values a long column has; `None` when it is not there.
    pub(super) fn column_len(&self, dataset: &str) -> Result<Option<u64>, SourceError> {
        let Some(found) = self.table(dataset, u64::MAX)? else { return Ok(None) };
        Ok(Some(self.column_shape(dataset, &found)?.0))
    }

    /// Dimensions of a dataset of numbers; `None` when it is not there or holds something else.
    pub(super) fn shape_of_numbers(&self, dataset: &str) -> Result<Option<Vec<u64>>, SourceError> {
        use DType as D;
        let found = look(&self.path, dataset, || {
            let found = self.file.dataset(dataset)?;
            Ok((found.dtype()?, found.shape()?))
        })?;
        let is_number = |dtype: &D| {
            matches!(dtype, D::I8 | D::U8 | D::I16 | D::U16 | D::I32 | D::U32 | D::I64 | D::U64 | D::F32 | D::F64)
        };
        Ok(found.filter(|(dtype, _)| is_number(dtype)).map(|(_, shape)| shape))
    }

    /// Whether a dataset holds floating-point numbers.
    pub(super) fn is_float(&self, dataset: &str) -> Result<bool, SourceError> {
        let dtype = look(&self.path, dataset, || self.file.dataset(dataset)?.dtype())?;
        Ok(matches!(dtype, Some(DType::F32 | DType::F64)))
    }

    /// Hands all values of a long integer column to `each`, some at a time.
    pub(super) fn column_i64(&self, dataset: &str, each: &mut dyn FnMut(&[i64])) -> Result<(), SourceError> {
        self.each_window(dataset, |found, first| found.read_i64_rows(first, COLUMN_WINDOW), each)
    }

    /// As [`column_i64`](Self::column_i64), for a column of doubles.
    pub(super) fn column_f64(&self, dataset: &str, each: &mut dyn FnMut(&[f64])) -> Result<(), SourceError> {
        self.each_window(dataset, |found, first| found.read_f64_rows(first, COLUMN_WINDOW), each)
    }

    fn each_window<T>(
        &self,
        dataset: &str,
        read: impl Fn(&Dataset, u64) -> Result<Vec<T>, Error>,
        each: &mut dyn FnMut(&[T]),
    ) -> Result<(), SourceError> {
        let Some(found) = self.table(dataset, u64::MAX)? else { return Ok(()) };
        let (_, rows) = self.column_shape(dataset, &found)?;
        let mut first = 0;
        while first < rows {
            let values = guard(&self.path, dataset, || read(&found, first))?;
            if values.is_empty() {
                break;
            }
            each(&values);
            first = first.saturating_add(COLUMN_WINDOW);
        }
        Ok(())
    }

    /// Values of a column, and rows of its first dimension: vectors are written as `[n]`, `[n, 1]` or `[1, n]`.
    fn column_shape(&self, dataset: &str, found: &Dataset) -> Result<(u64, u64), SourceError> {
        let shape = guard(&self.path, dataset, || found.shape())?;
        match shape[..] {
            [count] | [count, 1] => Ok((count, count)),
            // Comes as a whole, because the library reads windows of the first dimension only.
            [1, count] if count <= MAX_TABLE => Ok((count, 1)),
            _ => Err(self.unusable(format!("{dataset} has the shape {shape:?}; it should be one column"))),
        }
    }

    /// A dataset whose declared size the file can hold, of at most `max` values.
    fn table(&self, dataset: &str, max: u64) -> Result<Option<Dataset>, SourceError> {
        let Some(found) = look(&self.path, dataset, || self.file.dataset(dataset))? else { return Ok(None) };
        let count = self.plausible(&found, dataset)?;
        if count > max {
            return Err(self.unusable(format!("{dataset} has {count} values; at most {max} make sense here")));
        }
        Ok(Some(found))
    }

    /// The samples in `dataset`.
    pub(super) fn samples(&self, dataset: &str) -> Result<Option<Samples>, SourceError> {
        let Some(found) = look(&self.path, dataset, || self.file.dataset(dataset))? else { return Ok(None) };
        self.plausible(&found, dataset)?;
        let (shape, dtype, chunk) =
            guard(&self.path, dataset, || Ok((found.shape()?, found.dtype()?, found.chunk_shape()?)))?;
        let format = match dtype {
            DType::I8 | DType::U8 | DType::I16 => SampleFormat::I16,
            DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => {
                SampleFormat::F32
            }
            other => {
                return Err(
                    self.unusable(format!("samples in {dataset} are {other}; they should be integers or floats"))
                );
            }
        };
        // Rows that are stored together are best read together, so that each chunk is decoded once; where that is too
        // much at once, fewer are read, and the cache holds the chunks meanwhile.
        let chunk_rows = chunk.and_then(|c| c.first().copied()).unwrap_or(1).max(1);
        let row_bytes = shape.iter().skip(1).product::<u64>().saturating_mul(8);
        let band_bytes = chunk_rows.saturating_mul(row_bytes);
        let rows_together = if band_bytes <= MAX_TOGETHER { chunk_rows as usize } else { 1 };
        let bytes = band_bytes.clamp(1 << 20, MAX_CHUNK_BYTES) as usize;
        let cache = ChunkCacheConfig::new().with_max_bytes(bytes).with_max_slots(4096);
        let access = DatasetAccessProperties::new().with_chunk_cache(cache);
        let cached = guard(&self.path, dataset, || self.file.dataset_with_options(dataset, access))?;
        Ok(Some(Samples { path: self.path.clone(), dataset: cached, shape, format, rows_together }))
    }

    /// Number of values, when a file of this length can hold that many.
    fn plausible(&self, found: &Dataset, name: &str) -> Result<u64, SourceError> {
        let (shape, element, layout) =
            guard(&self.path, name, || Ok((found.shape()?, found.element_size()?, found.layout()?)))?;
        if matches!(layout, Layout::Virtual) {
            return Err(
                self.unusable(format!("{name} is a virtual dataset: its values lie in other files; play those"))
            );
        }
        let product = |dims: &[u64]| dims.iter().try_fold(element.max(1), |n, &d| n.checked_mul(d));
        let (most, chunk) = match &layout {
            Layout::Chunked { chunk_shape, .. } => {
                (self.bytes.saturating_mul(MAX_COMPRESSION), product(chunk_shape).unwrap_or(u64::MAX))
            }
            _ => (self.bytes, 0),
        };
        if matches!(layout, Layout::Chunked { .. }) {
            // The library takes the lengths in the chunk index on trust and allocates them.
            let chunks = guard(&self.path, name, || found.chunks())?;
            let inside = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= self.bytes);
            if let Some(chunk) = chunks.iter().find(|chunk| !inside(chunk.address, chunk.storage_size)) {
                return Err(self.unusable(format!(
                    "{name}: a chunk of {} bytes at byte {} lies beyond the end of the file",
                    chunk.storage_size, chunk.address
                )));
            }
        }
        // The library notices a wrong length when it reads all rows together, and not when it reads a few of them.
        if let Layout::Contiguous { size, .. } | Layout::Compact { size } = layout
            && product(&shape) != Some(size)
        {
            return Err(self.unusable(format!(
                "{name} declares the shape {shape:?} of {element} bytes each, but {size} bytes are stored"
            )));
        }
        match product(&shape) {
            Some(bytes) if bytes <= most && chunk <= MAX_CHUNK_BYTES => Ok(bytes / element.max(1)),
            _ => Err(self.unusable(format!(
                "{name} declares the shape {shape:?} of {element} bytes each: more than a file of {} bytes can hold",
                self.bytes
            ))),
        }
    }
}

impl Samples {
    /// Appends rows `first .. first + rows` of the first dimension to `out`, in [`format`](Self::format).
    pub(super) fn append(&self, first: u64, rows: u64, out: &mut Vec<u8>) -> Result<(), SourceError> {
        let before = out.len();
        match self.format {
            SampleFormat::I16 => {
                let values = guard(&self.path, "read samples", || self.dataset.read_i16_rows(first, rows))?;
                out.extend_from_slice(bytemuck::cast_slice(&values));
            }
            SampleFormat::F32 | SampleFormat::Iq16 => {
                let values = guard(&self.path, "read samples", || self.dataset.read_f32_rows(first, rows))?;
                out.extend_from_slice(bytemuck::cast_slice(&values));
            }
        }
        let expected = (rows * self.row_values()) as usize * self.format.bytes();
        if out.len() - before != expected {
            let why = format!("{} bytes of samples from row {first} on, expected {expected}", out.len() - before);
            return Err(unusable(&self.path, why));
        }
        Ok(())
    }

    /// Values in one row of the first dimension.
    pub(super) fn row_values(&self) -> u64 {
        self.shape.iter().skip(1).product()
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Attrs {
    /// A number, also when it is written as text; not NaN.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.numbers(name).first().copied().filter(|value| !value.is_nan())
    }

    /// A whole number, not rounded through a double.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            AttrValue::I64(v) => Some(*v),
            AttrValue::U64(v) => i64::try_from(*v).ok(),
            _ => self.number(name).filter(|v| v.fract() == 0.0 && v.abs() < 1e15).map(|v| v as i64),
        }
    }

    /// One number or all of an array.
    pub(super) fn numbers(&self, name: &str) -> Vec<f64> {
        use AttrValue as A;
        let all = |values: &mut dyn Iterator<Item = f64>| values.collect();
        match self.0.get(name) {
            Some(A::F32(v)) => vec![f64::from(*v)],
            Some(A::F64(v)) => vec![*v],
            Some(A::I8(v)) => vec![f64::from(*v)],
            Some(A::I16(v)) => vec![f64::from(*v)],
            Some(A::I32(v)) => vec![f64::from(*v)],
            Some(A::I64(v)) => vec![*v as f64],
            Some(A::U8(v)) => vec![f64::from(*v)],
            Some(A::U16(v)) => vec![f64::from(*v)],
            Some(A::U32(v)) => vec![f64::from(*v)],
            Some(A::U64(v)) => vec![*v as f64],
            Some(A::F32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::F64Array(v)) => v.clone(),
            Some(A::I8Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I16Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I64Array(v)) => all(&mut v.iter().map(|&v| v as f64)),
            Some(A::U8Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U16Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U64Array(v)) => all(&mut v.iter().map(|&v| v as f64)),
            _ => self.texts(name).iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// A text; empty ones and `NaN` count as not there.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next().filter(|text| !text.is_empty() && text != "NaN")
    }

    /// One text or all of an array.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        use AttrValue as A;
        let all = match self.0.get(name) {
            Some(
                A::String(v)
                | A::AsciiString(v)
                | A::VarLenString(v)
                | A::VarLenAsciiString(v)
                | A::StringSized { value: v, .. }
                | A::AsciiStringSized { value: v, .. },
            ) => std::slice::from_ref(v),
            Some(
                A::StringArray(v)
                | A::AsciiStringArray(v)
                | A::VarLenStringArray(v)
                | A::VarLenAsciiStringArray(v)
                | A::VarLenAsciiCharArray(v)
                | A::StringArraySized { values: v, .. }
                | A::AsciiStringArraySized { values: v, .. },
            ) => v.as_slice(),
            _ => &[],
        };
        all.iter().map(|text| tidy(text)).collect()
    }

    /// Names of all attributes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is such an attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

fn tidy(text: &str) -> String {
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
