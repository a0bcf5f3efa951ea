//! Values of lanes as streams show them. Pure.

use crate::frame::{Stream, ValueKind, View};

/// Values of some channels of a lane as the stream has them.
pub(super) fn fill(stream: &Stream, out: &mut [f32], values: &[f32], values_per_channel: usize, offset: usize) {
    if stream.view == View::Waterfall {
        let energies = values.iter().skip(offset).step_by(values_per_channel);
        for (value, &energy) in out.iter_mut().zip(energies) {
            *value = show(energy, stream.value);
        }
    } else {
        out.copy_from_slice(values);
    }
}

/// A band energy as the view wants it shown.
fn show(energy: f32, kind: ValueKind) -> f32 {
    match kind {
        ValueKind::Power => energy,
        ValueKind::Amplitude => energy.sqrt(),
        // The ratio of two floats may be too large for one.
        ValueKind::Decibel { reference } => {
            (10.0 * (f64::from(energy.max(f32::MIN_POSITIVE)) / reference).log10()) as f32
        }
    }
}
