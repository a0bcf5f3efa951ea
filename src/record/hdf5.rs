//! A recording in PRODML that is whole at every instant: whatever moment the machine stops at, the file opens, and all its
//! samples are right.
//!
//! A file is made for all rows that it has room for, under the name of its [part](Disk::publish). Then, again and again:
//! samples and times into their places, a sync, and one sector that says how many rows there are. The order is all that
//! there is to it: a number of rows reaches the disk after these rows. It gets its name with the first of them.

use std::io;
use std::sync::Arc;

use crate::block::RawBlock;
use crate::prodml::{ALIGN, Extent, LIVE, Raw, rounded_us};

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Stamps scatter by less than this.
const LEAST_STEP_NS: i64 = 2_000_000;

/// What is done to the file, so that a test can stop it anywhere.
pub(super) trait Disk {
    /// Room for so many bytes in all, or the end there.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// All that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Gives the file its name.
    fn publish(&mut self) -> io::Result<()>;
}

/// A file being written.
pub(super) struct Recording<D> {
    disk: D,
    raw: Raw,
    extent: Extent,
    row_bytes: u64,
    /// The head as it stands in the file, with the rows that readers see.
    head: Vec<u8>,
    shown: u64,
    scratch: Vec<u8>,
}

impl<D: Disk> Recording<D> {
    /// A file of at most `room` rows, of which the first is that row of a block.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn create(mut disk: D, block: &RawBlock, row: usize, room: u64) -> io::Result<Self> {
        let (acquisition, start_ns) = (&block.acquisition, utc_ns(block, row));
        // PRODML has no scale beside the unit: counts are written as counts.
        let counts = (acquisition.scale - 1.0).abs() > f64::EPSILON;
        let raw = Raw::new(Arc::clone(acquisition), start_ns, counts);
        let row_bytes = acquisition.channels as u64 * raw.kind.bytes();
        let times_at = raw.head_bytes();
        let samples_at = (times_at + 8 * room).next_multiple_of(ALIGN);
        let end = samples_at + room * row_bytes;
        let extent = Extent { rows: 0, last_ns: start_ns, room, samples_at, times_at, end };
        disk.set_len(end)?;
        let head = raw.head(&extent);
        disk.write_at(0, &head)?;
        Ok(Self { disk, raw, extent, row_bytes, head, shown: 0, scratch: Vec::new() })
    }

    pub(super) const fn disk(&self) -> &D {
        &self.disk
    }

    /// Rows that there is room for.
    pub(super) const fn free(&self) -> u64 {
        self.extent.room - self.extent.rows
    }

    /// Whether these rows go on where the file ends: nothing is missing, and times go on within half a row.
    ///
    /// A clock that is a little off the declared rate is followed; one that is set is not.
    pub(super) fn goes_on(&self, block: &RawBlock, row: usize) -> bool {
        let prr = self.raw.acquisition.prr;
        if self.extent.rows == 0 {
            return true;
        }
        if row == 0 && block.gap_before > 0 {
            return false;
        }
        let due = self.extent.last_ns.saturating_add(prr.traces_to_ns(1));
        let half = (prr.traces_to_ns(1) / 2).max(LEAST_STEP_NS);
        utc_ns(block, row).abs_diff(due) <= half.unsigned_abs()
    }

    /// Puts some rows of a block behind those that are there; at most as many as are [`free`](Self::free). How many bytes
    /// these are.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn append(&mut self, block: &RawBlock, rows: std::ops::Range<usize>) -> io::Result<u64> {
        let before = self.extent.rows;
        self.scratch.clear();
        rows.clone().for_each(|row| self.scratch.extend_from_slice(block.row(row)));
        if cfg!(target_endian = "big") {
            self.scratch.chunks_exact_mut(self.raw.kind.bytes() as usize).for_each(<[u8]>::reverse);
        }
        self.disk.write_at(self.extent.samples_at + before * self.row_bytes, &self.scratch)?;
        let bytes = self.scratch.len() as u64;
        self.scratch.clear();
        for row in rows.clone() {
            let utc_ns = utc_ns(block, row);
            self.extent.last_ns = utc_ns;
            self.scratch.extend_from_slice(&rounded_us(utc_ns).to_le_bytes());
        }
        self.disk.write_at(self.extent.times_at + 8 * before, &self.scratch)?;
        self.extent.rows += rows.len() as u64;
        Ok(bytes)
    }

    /// Lets readers see what has been put in.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn show(&mut self) -> io::Result<()> {
        if self.shown == self.extent.rows {
            return Ok(());
        }
        let is_first = self.shown == 0;
        let head = self.raw.head(&self.extent);
        self.disk.sync()?;
        self.disk.write_at(LIVE.start as u64, &head[LIVE])?;
        (self.head, self.shown) = (head, self.extent.rows);
        if is_first {
            self.disk.sync()?;
            self.disk.publish()?;
        }
        Ok(())
    }

    /// Ends the file behind its last row; one without rows stays a part.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn finish(mut self) -> io::Result<D> {
        self.show()?;
        let Extent { rows, samples_at, .. } = self.extent;
        if rows == 0 {
            return Ok(self.disk);
        }
        self.disk.sync()?;
        let end = samples_at + rows * self.row_bytes;
        let head = self.raw.head(&Extent { room: rows, end, ..self.extent });
        // What says where the file ends comes last, and then it ends there.
        let sectors = head.chunks(SECTOR).zip(self.head.chunks(SECTOR)).enumerate();
        for (number, (now, _)) in sectors.skip(1).filter(|(_, (now, before))| now != before) {
            self.disk.write_at((number * SECTOR) as u64, now)?;
        }
        self.disk.sync()?;
        self.disk.write_at(0, &head[..SECTOR])?;
        self.disk.sync()?;
        self.disk.set_len(end)?;
        self.disk.sync()?;
        Ok(self.disk)
    }
}

/// UTC of a row by the stamp of its block.
fn utc_ns(block: &RawBlock, row: usize) -> i64 {
    block.utc_ns.saturating_add(block.acquisition.prr.traces_to_ns(row as u64))
}

#[cfg(test)]
#[path = "hdf5_tests.rs"]
mod tests;
