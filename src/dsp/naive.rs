//! The definitions, in f64 and without haste.

use super::common_mode::CommonMode;

/// The offset of one trace.
pub fn common_mode(mode: CommonMode, trace: &[f64]) -> f64 {
    let n = trace.len();
    match mode {
        _ if n == 0 => 0.0,
        CommonMode::Keep => 0.0,
        CommonMode::Mean => trace.iter().sum::<f64>() / n as f64,
        CommonMode::Median => {
            let mut sorted = trace.to_vec();
            sorted.sort_by(f64::total_cmp);
            f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2])
        }
    }
}
