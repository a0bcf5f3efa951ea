//! The colour map of all pictures, on screen and in files.

/// A colour, red, green and blue from 0 to 255.
pub type Rgb = [u8; 3];

/// Dark blue over green to yellow, in the manner of viridis: brighter is always more. `level` from 0 to 1.
pub fn map(level: f32) -> Rgb {
    const ANCHORS: [[f32; 3]; 5] =
        [[40.0, 5.0, 70.0], [60.0, 80.0, 140.0], [32.0, 145.0, 140.0], [95.0, 200.0, 95.0], [255.0, 232.0, 40.0]];
    let at = level.clamp(0.0, 1.0) * (ANCHORS.len() - 1) as f32;
    let left = (at as usize).min(ANCHORS.len() - 2);
    let share = at - left as f32;
    std::array::from_fn(|i| (ANCHORS[left][i] + (ANCHORS[left + 1][i] - ANCHORS[left][i]) * share).round() as u8)
}

/// Where traces are missing. Red, which the map does not have.
pub const GAP: Rgb = [150, 30, 60];
