//! The values of an HDF5 dataset, as they are stored: any window of any layout, whichever filters it went through.
//!
//! The HDF5 library tells where values, chunks and filters are; from there on bytes are read and decoded here, because it
//! reads windows of the first dimension only and knows few filters. Memory is bounded by one chunk and a small cache of
//! chunks, never by the size of the dataset. Nothing that the file declares is believed before
//! [`Stored::new`] has compared it with the file. Errors are sentences without the name of the file.

mod area;
mod bits;
mod bitshuffle;
mod blosc;
mod chunks;
mod filters;
mod lz;
mod numbers;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

pub(super) use area::Area;
use area::{product, runs};
pub(super) use chunks::{Chunk, Chunks};
pub(super) use filters::Filter;
pub(super) use numbers::{Kind, Number, Sample};

/// Bytes that are read from a file at once.
const PIECE: usize = 1 << 20;

/// Where the values of a dataset are.
pub(super) enum Place {
    /// In the header: all of them.
    Inline(Vec<u8>),
    /// One after the other from this byte of the file on.
    Run(u64),
    /// In chunks.
    Chunks(Chunks),
}

/// An open dataset.
pub(super) struct Stored {
    file: Arc<File>,
    shape: Vec<u64>,
    /// Bytes of a value.
    element: usize,
    place: Place,
}

/// What takes values: the index of the first within the window, row by row, and their bytes.
type Each<'a> = dyn FnMut(usize, &[u8]) + 'a;

impl Stored {
    /// A dataset of values of `element` bytes each.
    ///
    /// # Errors
    /// When the file of `bytes` bytes cannot hold what is said to be in it.
    pub(super) fn new(
        file: Arc<File>,
        bytes: u64,
        shape: Vec<u64>,
        element: usize,
        place: Place,
    ) -> Result<Self, String> {
        let size = product(&shape).and_then(|n| n.checked_mul(element.max(1) as u64));
        let fits = |most: u64| size.is_some_and(|size| size <= most);
        let held = match &place {
            Place::Inline(values) => fits(values.len() as u64),
            Place::Run(at) => at.checked_add(size.unwrap_or(u64::MAX)).is_some_and(|end| end <= bytes),
            Place::Chunks(chunks) => fits(chunks.most_bytes(bytes)),
        };
        if held && element > 0 {
            Ok(Self { file, shape, element, place })
        } else {
            Err(format!(
                "the shape {shape:?} of {element} bytes each is more than a file of {bytes} bytes can hold; \
                 it may be cut off"
            ))
        }
    }

    /// Dimensions.
    pub(super) fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Edges of a chunk that must be decoded as a whole; `None` when any part can be read alone.
    pub(super) fn decoded_together(&self) -> Option<&[u64]> {
        match &self.place {
            Place::Chunks(chunks) if chunks.is_filtered() => Some(chunks.shape()),
            _ => None,
        }
    }

    /// How many rows along a dimension have been written: chunks behind them are not there.
    pub(super) fn written(&self, dimension: usize) -> u64 {
        let all = self.shape.get(dimension).copied().unwrap_or(1);
        match &self.place {
            Place::Chunks(chunks) => chunks.written(dimension).min(all),
            _ => all,
        }
    }

    /// Chunks before the last ones that were never written.
    pub(super) fn never_written(&self) -> u64 {
        match &self.place {
            Place::Chunks(chunks) => chunks.never_written(),
            _ => 0,
        }
    }

    /// Hands the values of a window on, in pieces, each value once and in no particular order.
    ///
    /// # Errors
    /// When the window is not within the dataset, or what is stored cannot be read or decoded.
    pub(super) fn read(&self, window: &Area, each: &mut Each<'_>) -> Result<(), String> {
        if !window.is_within(&self.shape) {
            return Err(format!("rows {:?} + {:?} are not in the shape {:?}", window.from, window.count, self.shape));
        }
        if window.is_empty() {
            return Ok(());
        }
        match &self.place {
            Place::Chunks(chunks) => chunks.read(&self.file, self.element, window, each),
            Place::Inline(values) => runs(window, &Area::whole(&self.shape), window, &mut |at, index, count| {
                let from = at as usize * self.element;
                let bytes = values.get(from..from + count * self.element).ok_or("values are missing")?;
                each(index, bytes);
                Ok(())
            }),
            Place::Run(start) => runs(window, &Area::whole(&self.shape), window, &mut |at, index, count| {
                read_values(&self.file, start + at * self.element as u64, self.element, index, count, each)
            }),
        }
    }
}

/// Hands on `count` values that stand one after the other in the file.
fn read_values(
    file: &File,
    at: u64,
    element: usize,
    index: usize,
    count: usize,
    each: &mut Each<'_>,
) -> Result<(), String> {
    let most = (PIECE / element).max(1);
    let mut buffer = vec![0; most.min(count) * element];
    for first in (0..count).step_by(most) {
        let piece = &mut buffer[..most.min(count - first) * element];
        read_exact(file, at + (first * element) as u64, piece)?;
        each(index + first, piece);
    }
    Ok(())
}

fn read_exact(file: &File, at: u64, into: &mut [u8]) -> Result<(), String> {
    file.read_exact_at(into, at).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            format!("the file ends before byte {}: it is cut off", at + into.len() as u64)
        }
        _ => format!("bytes from {at} on cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests;
