//! The demo.
use super::{AppError, DemoOptions};
/// Runs the daemon on a synthetic interrogator.
///
/// # Errors
/// As [`run`](super::run).
pub fn demo(_options: &DemoOptions) -> Result<(), AppError> {
    Err(AppError::Software("not assembled yet".into()))
}
