//! A dataset in chunks: which there are, and the values of a window out of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;

use super::area::{Area, product, runs};
use super::filters::{self, Filter, Spare};
use super::{Each, PIECE, read_exact, read_values};

/// Decompressed bytes of one chunk at most.
const MAX_CHUNK_BYTES: u64 = 256 << 20;
/// Decoded chunks that are kept, and their bytes together at most (but one is always kept).
const KEPT: usize = 64;
const KEPT_BYTES: usize = 32 << 20;
/// No dataset of which parts were never written is this many times as large as its file (zeros by gzip: 1032).
const MAX_COMPRESSION: u64 = 1100;

/// A chunk in the file.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Where its first value lies in the dataset.
    pub(crate) from: Vec<u64>,
    /// Where it begins in the file.
    pub(crate) at: u64,
    /// Its bytes in the file.
    pub(crate) bytes: u64,
    /// Filters that it did not go through, a bit each.
    pub(crate) skipped: u32,
}

/// The chunks of a dataset.
pub(crate) struct Chunks {
    shape: Vec<u64>,
    /// Chunks in every dimension of the dataset.
    grid: Area,
    filters: Vec<Filter>,
    /// Bytes of a decoded chunk.
    decoded_bytes: usize,
    /// By their place in the grid.
    table: Vec<(u64, Chunk)>,
    /// What stands where no chunk was written; `None` when that is not known.
    fill: Option<Vec<u8>>,
    kept: RefCell<VecDeque<(u64, Vec<u8>)>>,
    spare: RefCell<Spare>,
}

impl Chunks {
    /// The chunks of a dataset of this shape in a file of `bytes` bytes.
    ///
    /// # Errors
    /// When chunks lie outside of the file or the dataset, are too large, or went through a filter that is not known.
    pub(crate) fn new(
        dataset: &[u64],
        element: usize,
        shape: Vec<u64>,
        filters: Vec<Filter>,
        chunks: Vec<Chunk>,
        bytes: u64,
    ) -> Result<Self, String> {
        let decoded = product(&shape).and_then(|n| n.checked_mul(element as u64)).unwrap_or(u64::MAX);
        if shape.len() != dataset.len() || decoded == 0 || decoded > MAX_CHUNK_BYTES {
            return Err(format!(
                "chunks of the shape {shape:?} of {element} bytes each are more than a file of {bytes} bytes can hold or \
                 than {MAX_CHUNK_BYTES} bytes"
            ));
        }
        let skipped = chunks.iter().fold(u32::MAX, |all, chunk| all & chunk.skipped);
        filters::check(&filters, if chunks.is_empty() { 0 } else { skipped }, element)?;
        let cells: Vec<u64> = dataset.iter().zip(&shape).map(|(&size, &edge)| size.div_ceil(edge)).collect();
        let grid = Area::whole(&cells);
        if product(&cells).is_none() {
            return Err(format!("the shape {dataset:?} has more chunks of {shape:?} than can be counted"));
        }
        let mut table = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let stored = if filters.is_empty() { decoded } else { chunk.bytes };
            if chunk.at.checked_add(stored).is_none_or(|end| end > bytes) || stored > 2 * MAX_CHUNK_BYTES {
                return Err(format!(
                    "a chunk of {stored} bytes at byte {} lies beyond the end of the file, which is damaged or cut off",
                    chunk.at
                ));
            }
            // Chunks outside of the shape are left from when the dataset was longer.
            if let Some(cell) = cell_of(&chunk.from, &shape, &cells) {
                table.push((cell, Chunk { bytes: stored, ..chunk }));
            }
        }
        table.sort_by_key(|(cell, _)| *cell);
        table.dedup_by_key(|(cell, _)| *cell);
        let (kept, spare) = (RefCell::default(), RefCell::default());
        Ok(Self { shape, grid, filters, decoded_bytes: decoded as usize, table, fill: None, kept, spare })
    }

    /// Says what stands where no chunk was written.
    pub(crate) fn with_fill(mut self, fill: Option<Vec<u8>>) -> Self {
        self.fill = fill;
        self
    }

    /// Where the first chunk that was never written begins; `None` when all are there.
    pub(crate) fn hole(&self) -> Option<Vec<u64>> {
        let missing = self.table.iter().enumerate().position(|(nth, (cell, _))| nth as u64 != *cell);
        let cell = missing.unwrap_or(self.table.len()) as u64;
        (cell < product(&self.grid.count)?).then(|| self.area(cell).from)
    }

    pub(super) fn shape(&self) -> &[u64] {
        &self.shape
    }

    pub(super) fn is_filtered(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Bytes that a dataset may have whose chunks these are.
    pub(super) fn most_bytes(&self, file_bytes: u64) -> u64 {
        let written = (self.table.len() as u64).saturating_mul(self.decoded_bytes as u64);
        file_bytes.saturating_mul(MAX_COMPRESSION).max(written)
    }

    /// Rows along a dimension up to the last chunk that is there.
    pub(super) fn written(&self, dimension: usize) -> u64 {
        let edge = self.shape.get(dimension).copied().unwrap_or(1);
        let ends = self.table.iter().filter_map(|(_, chunk)| chunk.from.get(dimension)?.checked_add(edge));
        ends.max().unwrap_or(0)
    }

    /// Chunks up to the last one that is there, along each dimension, that are not.
    pub(super) fn never_written(&self) -> u64 {
        let along = |dimension: usize| self.written(dimension).div_ceil(self.shape[dimension].max(1));
        let cells = (0..self.shape.len()).map(along).fold(1, u64::saturating_mul);
        cells.saturating_sub(self.table.len() as u64)
    }

    /// Hands the values of a window, which is within the dataset and not empty, on.
    pub(super) fn read(&self, file: &File, element: usize, window: &Area, each: &mut Each<'_>) -> Result<(), String> {
        // The chunks that the window touches, as a window of the grid.
        let edges = |at: &[u64]| at.iter().zip(&self.shape).map(|(at, edge)| at / edge).collect::<Vec<_>>();
        let last: Vec<u64> = window.from.iter().zip(&window.count).map(|(from, count)| from + count - 1).collect();
        let (from, last) = (edges(&window.from), edges(&last));
        let count = from.iter().zip(&last).map(|(from, last)| last - from + 1).collect();
        let touched = Area { from, count };
        // One cell at a time: cells of a row of the grid follow each other.
        let cells = Area { from: touched.from.clone(), count: touched.count.clone() };
        runs(&touched, &self.grid, &cells, &mut |cell, _, count| {
            (cell..cell + count as u64).try_for_each(|cell| self.read_cell(file, element, cell, window, each))
        })
    }

    fn read_cell(
        &self,
        file: &File,
        element: usize,
        cell: u64,
        window: &Area,
        each: &mut Each<'_>,
    ) -> Result<(), String> {
        let area = self.area(cell);
        let part = area.shared(window);
        if part.is_empty() {
            return Ok(());
        }
        let Ok(nth) = self.table.binary_search_by_key(&cell, |(cell, _)| *cell) else {
            return self.fill(element, &part, &area, window, each);
        };
        let chunk = &self.table[nth].1;
        if self.filters.is_empty() && self.decoded_bytes > PIECE {
            return runs(&part, &area, window, &mut |at, index, count| {
                read_values(file, chunk.at + at * element as u64, element, index, count, each)
            });
        }
        let mut kept = self.kept.borrow_mut();
        if !kept.iter().any(|(other, _)| *other == cell) {
            while kept.len() >= KEPT || (!kept.is_empty() && (kept.len() + 1) * self.decoded_bytes > KEPT_BYTES) {
                kept.pop_front().into_iter().for_each(|(_, values)| self.spare.borrow_mut().give(values));
            }
            let decoded = self.decode(file, element, chunk)?;
            kept.push_back((cell, decoded));
        }
        let Some((_, values)) = kept.iter().find(|(other, _)| *other == cell) else { return Ok(()) };
        runs(&part, &area, window, &mut |at, index, count| {
            let from = at as usize * element;
            each(index, &values[from..from + count * element]);
            Ok(())
        })
    }

    /// A chunk of exactly `decoded_bytes`.
    fn decode(&self, file: &File, element: usize, chunk: &Chunk) -> Result<Vec<u8>, String> {
        let spare = &mut self.spare.borrow_mut();
        let mut stored = spare.take();
        stored.resize(chunk.bytes as usize, 0);
        read_exact(file, chunk.at, &mut stored)?;
        let decoded = filters::decode(&self.filters, chunk.skipped, stored, element, self.decoded_bytes, spare);
        decoded.map_err(|why| format!("the chunk at byte {} is damaged: {why}", chunk.at))
    }

    fn fill(&self, element: usize, part: &Area, area: &Area, window: &Area, each: &mut Each<'_>) -> Result<(), String> {
        let fill = self.fill.as_deref().filter(|fill| fill.len() == element);
        let fill = fill.ok_or("parts were never written, and what stands for them is not known")?;
        runs(part, area, window, &mut |_, index, count| {
            let most = (PIECE / element).max(1);
            let values = fill.repeat(most.min(count));
            for first in (0..count).step_by(most) {
                each(index + first, &values[..most.min(count - first) * element]);
            }
            Ok(())
        })
    }

    /// Where a chunk lies in the dataset. At the dataset's end it reaches beyond.
    fn area(&self, cell: u64) -> Area {
        let mut rest = cell;
        let mut from: Vec<u64> = self
            .grid
            .count
            .iter()
            .rev()
            .zip(self.shape.iter().rev())
            .map(|(cells, edge)| {
                let at = rest % cells;
                rest /= cells;
                at * edge
            })
            .collect();
        from.reverse();
        Area { from, count: self.shape.clone() }
    }
}

/// Place of a chunk in the grid; `None` when it is not in it.
fn cell_of(from: &[u64], edges: &[u64], cells: &[u64]) -> Option<u64> {
    if from.len() != edges.len() {
        return None;
    }
    let dimensions = from.iter().zip(edges).zip(cells);
    dimensions.into_iter().try_fold(0u64, |index, ((&at, &edge), &cells)| {
        let cell = at / edge;
        (at % edge == 0 && cell < cells).then(|| index * cells + cell)
    })
}
