//! What the readers of formats with few facts find, and the capture that follows from it.

use std::sync::Arc;

use super::capture::Capture;
use super::h5rows::Table;
use super::timing::Timing;
use crate::acquisition::{Acquisition, ClockQuality, Quantity, Region, SourceKind};

/// Where channels lie on the fiber.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Distance of the first channel in metres.
    pub(super) start_m: f64,
    /// Metres from one channel to the next, in the first region.
    pub(super) dx_m: f64,
    /// Regions behind the first.
    pub(super) regions: Arc<[Region]>,
}

impl Places {
    /// Evenly spaced from end to end.
    pub(super) fn even(start_m: f64, dx_m: f64) -> Self {
        Self { start_m, dx_m, regions: Arc::default() }
    }
}

/// What a file says, apart from what has a default.
pub(super) struct Found {
    /// Name of the format and its version.
    pub(super) format: String,
    /// The samples.
    pub(super) table: Table,
    /// When rows were acquired.
    pub(super) timing: Timing,
    /// Where channels lie.
    pub(super) places: Places,
    /// Gauge length in metres.
    pub(super) gauge_length_m: Option<f64>,
    /// Refractive index of the fiber.
    pub(super) refractive_index: Option<f64>,
    /// What a sample measures.
    pub(super) quantity: Quantity,
    /// Physical value of one count, in `unit`.
    pub(super) scale: f64,
    /// Unit of a scaled sample.
    pub(super) unit: String,
    /// Trust in the times.
    pub(super) clock: ClockQuality,
    /// Free text about the fiber.
    pub(super) description: String,
    /// What is odd about the file and was survived.
    pub(super) notes: Vec<String>,
}

impl Found {
    /// Counts without a unit, by a clock that nothing disciplines.
    pub(super) fn new(format: String, table: Table, timing: Timing, places: Places) -> Self {
        Self {
            format,
            table,
            timing,
            places,
            gauge_length_m: None,
            refractive_index: None,
            quantity: Quantity::Counts,
            scale: 1.0,
            unit: String::new(),
            clock: ClockQuality::FreeRunning,
            description: String::new(),
            notes: Vec::new(),
        }
    }

    /// The capture.
    pub(super) fn into_capture(self) -> Capture {
        let Self { table, timing, places, mut notes, .. } = self;
        notes.extend(timing.notes());
        let acquisition = Acquisition {
            epoch: 0,
            prr: timing.rate,
            channels: table.channels,
            dx_m: places.dx_m,
            fiber_start_m: places.start_m,
            regions: places.regions,
            gauge_length_m: self.gauge_length_m,
            wavelength_m: None,
            refractive_index: self.refractive_index,
            sample_format: table.format,
            quantity: self.quantity,
            scale: self.scale,
            unit: self.unit,
            clock: self.clock,
            description: self.description,
            source: SourceKind::Replay,
        };
        Capture {
            piece: String::new(),
            further: Vec::new(),
            format: self.format,
            acquisition,
            total_rows: timing.rows,
            anchors: timing.anchors(),
            jitter_ns: timing.jitter_ns,
            rate_is_measured: timing.rate_is_measured,
            slab_rows: table.slab_rows,
            notes,
            checksummed: false,
            rows: table.rows,
        }
    }
}
