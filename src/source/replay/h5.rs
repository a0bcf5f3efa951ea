//! The one way to the HDF5 library: every call to it goes through [`guard`], which turns a panic into an error.
//!
//! The library reads metadata, attributes and texts, and tells where values are; the values are read by
//! [`stored`](super::stored), a window at a time. Sizes that a file declares are compared with what a file of its length can hold before anything is
//! allocated.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hdf5_pure::{ChunkIndex, Dataset, Datatype, DatatypeByteOrder, Error, File, FormatError, Group, Layout};

use super::capture::unusable;
pub(super) use super::h5attrs::Attrs;
use super::h5attrs::tidy;
use super::h5file::FileSource;
use super::h5links::Groups;
pub(super) use super::h5samples::Samples;
use super::stored::{Area, Chunk, Chunks, Filter, Kind, Number, Place, Sample, Stored};
use crate::source::{Finding, SourceError};

/// Values of a small table (times of blocks, channel lists) at most.
const MAX_TABLE: u64 = 1 << 24;
/// Texts of a table at most, and their bytes.
const MAX_TEXTS: u64 = 1 << 12;
const MAX_TEXT_BYTES: u64 = 1 << 24;
/// Values of a long column that are handed on at once.
const COLUMN_WINDOW: u64 = 1 << 20;

/// An open HDF5 file.
pub(super) struct H5 {
    path: PathBuf,
    file: File,
    source: FileSource,
}

/// Values of a dataset, how they are written, and the name of the dataset.
pub(super) struct Numbers {
    path: PathBuf,
    name: String,
    stored: Stored,
    number: Number,
}

/// Calls the library; a panic inside it becomes an error.
fn guard<T>(path: &Path, what: &str, call: impl FnOnce() -> Result<T, Error>) -> Result<T, SourceError> {
    let what = if what.is_empty() { "the root" } else { what };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(unusable(path, format!("{what}: {}", plain(&error)))),
        Err(_) => Err(unusable(path, format!("{what}: the file is damaged in a way the HDF5 reader does not know"))),
    }
}

/// What the library says, in words that help.
fn plain(error: &Error) -> String {
    match error {
        Error::Format(FormatError::UnexpectedEof { .. }) => "the file ends too early: it is cut off or damaged".into(),
        Error::Format(FormatError::UnsupportedExternalStorage) => {
            "its values are in another file (external storage), which fiberd does not read; repack with `h5repack`"
                .into()
        }
        Error::Format(FormatError::InvalidLayoutVersion(version)) => format!(
            "it is stored in a way that fiberd cannot read (data layout {version} of HDF5 2); repack with \
             `h5repack --low=0 --high=1`"
        ),
        other => other.to_string(),
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
        let source = FileSource::open(path)?;
        let file = guard(path, "open", || File::from_source(source.clone()))?;
        Ok(Self { path: path.to_owned(), file, source })
    }

    /// What is odd about the file as such.
    pub(super) fn notes(&self) -> Vec<Finding> {
        self.source.in_use().map(Finding::note).into_iter().collect()
    }

    /// Something in this file is not as it should be.
    pub(super) fn unusable(&self, why: impl Into<String>) -> SourceError {
        unusable(&self.path, why)
    }

    /// Attributes of a group (`""` = root); `None` when there is no such group.
    pub(super) fn group_attrs(&self, group: &str) -> Result<Option<Attrs>, SourceError> {
        self.at(group, |group| self.group(group)?.attrs()).map(|attrs| attrs.map(Attrs))
    }

    /// Attributes of a dataset; `None` when there is no such dataset.
    pub(super) fn dataset_attrs(&self, dataset: &str) -> Result<Option<Attrs>, SourceError> {
        self.at(dataset, |dataset| self.file.dataset(dataset)?.attrs()).map(|attrs| attrs.map(Attrs))
    }

    /// Names of the groups within a group (`""` = root), sorted.
    pub(super) fn groups(&self, group: &str) -> Result<Vec<String>, SourceError> {
        Ok(sorted(self.at(group, |group| self.group(group)?.groups())?.unwrap_or_default()))
    }

    /// Names of the datasets within a group (`""` = root), sorted.
    pub(super) fn datasets(&self, group: &str) -> Result<Vec<String>, SourceError> {
        Ok(sorted(self.at(group, |group| self.group(group)?.datasets())?.unwrap_or_default()))
    }

    /// Whether there is such a dataset.
    pub(super) fn has(&self, dataset: &str) -> Result<bool, SourceError> {
        Ok(self.dataset(dataset)?.is_some())
    }

    fn group(&self, group: &str) -> Result<Group, Error> {
        if group.is_empty() { Ok(self.file.root()) } else { self.file.group(group) }
    }

    /// Calls the library for a path, also when there are soft links on it; what is not there is `None`.
    fn at<T>(&self, path: &str, call: impl Fn(&str) -> Result<T, Error>) -> Result<Option<T>, SourceError> {
        let found = look(&self.path, path, || call(path));
        if path.is_empty() || matches!(found, Ok(Some(_))) {
            return found;
        }
        let superblock = self.file.superblock();
        let groups = Groups {
            file: &self.source.file(),
            bytes: self.source.bytes(),
            base: superblock.base_address.get(),
            address_bytes: usize::from(superblock.offset_size),
            length_bytes: usize::from(superblock.length_size),
            root: superblock.root_group_address,
        };
        match groups.follow(path) {
            Ok(Some(real)) if real != path => look(&self.path, path, || call(&real)),
            Ok(_) => found,
            Err(why) => Err(self.unusable(format!("{path}: {why}"))),
        }
    }

    /// All values of a small dataset or scalar as doubles; `None` when it is not there.
    pub(super) fn numbers(&self, dataset: &str) -> Result<Option<Vec<f64>>, SourceError> {
        let Some(found) = self.values(dataset)? else { return Ok(None) };
        let count = found.count();
        if count > MAX_TABLE {
            return Err(self.unusable(format!("{dataset} has {count} values; at most {MAX_TABLE} make sense here")));
        }
        found.all(&Area::whole(found.shape())).map(Some)
    }

    /// First value of a small dataset, or of a scalar.
    pub(super) fn number(&self, dataset: &str) -> Result<Option<f64>, SourceError> {
        Ok(self.numbers(dataset)?.and_then(|values| values.first().copied()))
    }

    /// First string of a small dataset, or of a scalar.
    pub(super) fn text(&self, dataset: &str) -> Result<Option<String>, SourceError> {
        let Some(found) = self.dataset(dataset)? else { return Ok(None) };
        let (shape, element) = guard(&self.path, dataset, || Ok((found.shape()?, found.element_size()?)))?;
        let count = shape.iter().try_fold(1, |n: u64, &d| n.checked_mul(d)).unwrap_or(u64::MAX);
        if count > MAX_TEXTS || count.saturating_mul(element) > MAX_TEXT_BYTES {
            return Err(self.unusable(format!("{dataset} has {count} texts; at most {MAX_TEXTS} make sense here")));
        }
        let texts = guard(&self.path, dataset, || found.read_string())?;
        Ok(texts.into_iter().next().map(|text| tidy(&text)))
    }

    /// How many values a long column has; `None` when it is not there.
    pub(super) fn column_len(&self, dataset: &str) -> Result<Option<u64>, SourceError> {
        let Some(found) = self.values(dataset)? else { return Ok(None) };
        Ok(Some(found.shape()[self.column(&found)?]))
    }

    /// Whether a dataset holds floating-point numbers.
    pub(super) fn is_float(&self, dataset: &str) -> Result<bool, SourceError> {
        Ok(self.values(dataset)?.is_some_and(|found| found.number.kind == Kind::Float))
    }

    /// Dimensions of a dataset of numbers; `None` when it is not there or holds something else.
    pub(super) fn shape_of_numbers(&self, dataset: &str) -> Result<Option<Vec<u64>>, SourceError> {
        let Some(found) = self.dataset(dataset)? else { return Ok(None) };
        let (shape, datatype) = guard(&self.path, dataset, || Ok((found.shape()?, found.datatype()?)))?;
        Ok(number_of(&datatype).is_ok().then_some(shape))
    }

    /// Hands all values of a long integer column to `each`, some at a time.
    pub(super) fn column_i64(&self, dataset: &str, each: &mut dyn FnMut(&[i64])) -> Result<(), SourceError> {
        self.each_window(dataset, each)
    }

    /// As [`column_i64`](Self::column_i64), for a column of doubles.
    pub(super) fn column_f64(&self, dataset: &str, each: &mut dyn FnMut(&[f64])) -> Result<(), SourceError> {
        self.each_window(dataset, each)
    }

    fn each_window<T: Sample + Default>(&self, dataset: &str, each: &mut dyn FnMut(&[T])) -> Result<(), SourceError> {
        let Some(found) = self.values(dataset)? else { return Ok(()) };
        let long = self.column(&found)?;
        let rows = found.shape()[long];
        let mut window = Area::whole(found.shape());
        for first in (0..rows).step_by(COLUMN_WINDOW as usize) {
            (window.from[long], window.count[long]) = (first, COLUMN_WINDOW.min(rows - first));
            each(&found.all(&window)?);
        }
        Ok(())
    }

    /// The long dimension of a column: vectors are written as `[n]`, `[n, 1]` or `[1, n]`.
    fn column(&self, found: &Numbers) -> Result<usize, SourceError> {
        match found.shape()[..] {
            [_] | [_, 1] => Ok(0),
            [1, _] => Ok(1),
            ref other => Err(self.unusable(format!("{} has the shape {other:?}; it should be one column", found.name))),
        }
    }

    /// The samples in `dataset`.
    pub(super) fn samples(&self, dataset: &str) -> Result<Option<Samples>, SourceError> {
        Ok(self.values(dataset)?.map(Samples::new))
    }

    /// A dataset of the library.
    fn dataset(&self, name: &str) -> Result<Option<Dataset>, SourceError> {
        self.at(name, |name| self.file.dataset(name))
    }

    /// The numbers in a dataset, of which the file can hold as many as it declares.
    pub(super) fn values(&self, name: &str) -> Result<Option<Numbers>, SourceError> {
        let Some(found) = self.dataset(name)? else { return Ok(None) };
        let (shape, datatype) = guard(&self.path, name, || Ok((found.shape()?, found.datatype()?)))?;
        let wrong = |why: String| self.unusable(format!("{name}: {why}"));
        let number = number_of(&datatype).map_err(wrong)?;
        let place = self.place(&found, name, &shape, number.size)?;
        let stored = Stored::new(self.source.file(), self.source.bytes(), shape, number.size, place).map_err(wrong)?;
        Ok(Some(Numbers { path: self.path.clone(), name: name.to_owned(), stored, number }))
    }

    fn place(&self, found: &Dataset, name: &str, shape: &[u64], element: usize) -> Result<Place, SourceError> {
        let wrong = |why: String| self.unusable(format!("{name}: {why}"));
        match guard(&self.path, name, || found.layout())? {
            Layout::Compact { .. } => guard(&self.path, name, || found.read_raw()).map(Place::Inline),
            Layout::Contiguous { address: Some(at), size } => {
                let needed = shape.iter().try_fold(element as u64, |n, &d| n.checked_mul(d));
                if needed.is_none_or(|needed| needed > size) {
                    let why = format!("the shape {shape:?} of {element} bytes each, but {size} bytes are stored");
                    return Err(wrong(why));
                }
                Ok(Place::Run(at))
            }
            Layout::Contiguous { address: None, .. } => {
                // The library knows whether they are in another file; of no rows, so that it makes no memory of the shape.
                guard(&self.path, name, || found.read_raw_rows(0, 0))?;
                if shape.contains(&0) {
                    return Ok(Place::Inline(Vec::new()));
                }
                Err(wrong("no values were written yet".into()))
            }
            Layout::Chunked { index: ChunkIndex::BTreeV2, .. } => Err(wrong(
                "its chunks are found by a B-tree of version 2 (it can grow in two dimensions), which fiberd cannot \
                 read; repack with `h5repack --low=0 --high=1`"
                    .into(),
            )),
            Layout::Chunked { chunk_shape, .. } => {
                let chunks = self.chunks(found, name, shape, element, chunk_shape).map_err(|error| match error {
                    ChunksError::Known(error) => error,
                    ChunksError::Wrong(why) => wrong(why),
                })?;
                Ok(Place::Chunks(chunks))
            }
            Layout::Virtual => Err(wrong(
                "a virtual dataset: its values are in other files; open those, or repack with `h5repack`".into(),
            )),
            other => Err(wrong(format!("a layout that fiberd cannot read ({other})"))),
        }
    }

    fn chunks(
        &self,
        found: &Dataset,
        name: &str,
        dataset: &[u64],
        element: usize,
        shape: Vec<u64>,
    ) -> Result<Chunks, ChunksError> {
        let (chunks, filters) = guard(&self.path, name, || Ok((found.chunks()?, found.filter_pipeline())))?;
        let chunk = |c: hdf5_pure::Chunk| Chunk {
            from: c.offset,
            at: c.address,
            bytes: c.storage_size,
            skipped: c.filter_mask,
        };
        let filter = |f: hdf5_pure::Filter| Filter { id: f.id, name: f.name, parameters: f.client_data };
        let filters = filters.into_iter().map(filter).collect();
        let chunks = chunks.into_iter().map(chunk).collect();
        let chunks = Chunks::new(dataset, element, shape, filters, chunks, self.source.bytes())?;
        let Some(hole) = chunks.hole() else { return Ok(chunks) };
        // What stands where nothing was written is known to the library only.
        let row = hole.first().copied().unwrap_or(0);
        let row_values = dataset.iter().skip(1).try_fold(1, |n: u64, &d| n.checked_mul(d));
        let nth =
            hole.iter().zip(dataset).skip(1).fold(0, |n: u64, (&at, &size)| n.saturating_mul(size).saturating_add(at));
        let fill = if row_values.is_some_and(|n| n <= MAX_TABLE) {
            let row = guard(&self.path, name, || found.read_raw_rows(row, 1)).unwrap_or_default();
            row.chunks_exact(element).nth(nth as usize).map(<[u8]>::to_vec)
        } else {
            None
        };
        Ok(chunks.with_fill(fill))
    }
}

/// Why chunks cannot be read: an error that names the file, or what is wrong with them.
enum ChunksError {
    Known(SourceError),
    Wrong(String),
}

impl From<SourceError> for ChunksError {
    fn from(error: SourceError) -> Self {
        Self::Known(error)
    }
}

impl From<String> for ChunksError {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// How numbers of this type are written.
fn number_of(datatype: &Datatype) -> Result<Number, String> {
    let number = |size: u32, order: &DatatypeByteOrder, kind| match order {
        DatatypeByteOrder::LittleEndian => Ok(Number { size: size as usize, big_endian: false, kind }),
        DatatypeByteOrder::BigEndian => Ok(Number { size: size as usize, big_endian: true, kind }),
        DatatypeByteOrder::Vax => Err("numbers of a VAX, which fiberd cannot read".to_owned()),
    };
    match datatype {
        Datatype::FixedPoint { size: size @ 1..=8, byte_order, layout } => {
            let (bits, offset) = (u32::from(layout.bit_precision), u32::from(layout.bit_offset));
            if bits == 0 || bits + offset > size * 8 {
                return Err(format!("integers of {bits} bits from bit {offset} on in {size} bytes"));
            }
            number(*size, byte_order, Kind::Whole { signed: layout.signed, bits, offset })
        }
        Datatype::FloatingPoint { size, byte_order, layout } => {
            let known =
                matches!((size, layout.exponent_size, layout.mantissa_size), (2, 5, 10) | (4, 8, 23) | (8, 11, 52));
            if !known {
                return Err(format!("floats of {size} bytes that are not those of IEEE 754"));
            }
            number(*size, byte_order, Kind::Float)
        }
        // Booleans, as h5py writes them.
        Datatype::Enumeration { base_type, .. } if matches!(**base_type, Datatype::FixedPoint { .. }) => {
            number_of(base_type)
        }
        Datatype::Compound { members, .. } if members.len() == 2 => {
            Err("pairs of numbers (complex values); it should be integers or floats".into())
        }
        _ => Err("no numbers; it should be integers or floats".into()),
    }
}

impl Numbers {
    /// Dimensions, as on disk.
    pub(super) fn shape(&self) -> &[u64] {
        self.stored.shape()
    }

    /// Values in all.
    fn count(&self) -> u64 {
        // Fits, because the values fit into the file.
        self.shape().iter().product()
    }

    /// How they are written.
    pub(super) const fn number(&self) -> Number {
        self.number
    }

    /// Where they are.
    pub(super) const fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands the bytes of a window on, as [`Stored::read`].
    pub(super) fn read(&self, window: &Area, each: &mut dyn FnMut(usize, &[u8])) -> Result<(), SourceError> {
        self.stored.read(window, each).map_err(|why| unusable(&self.path, format!("{}: {why}", self.name)))
    }

    /// All values of a window.
    pub(super) fn all<T: Sample + Default>(&self, window: &Area) -> Result<Vec<T>, SourceError> {
        let mut values = vec![T::default(); window.count.iter().product::<u64>() as usize];
        self.read(window, &mut |index, bytes| {
            let mut into = values[index..].iter_mut();
            self.number.each(bytes, |value| {
                if let Some(into) = into.next() {
                    *into = value;
                }
            });
        })?;
        Ok(values)
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
