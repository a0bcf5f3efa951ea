//! The first and the last line of a run.

use tracing::info;

use super::supervisor::Ending;
use super::{AppError, RunOptions};
use crate::acquisition::SourceKind;
use crate::config::{BrokerConfig, Config};
use crate::status::Status;

/// What runs here, with what, and where it can be reached.
pub(super) fn started(config: &Config, options: &RunOptions, source: SourceKind) {
    let file = options.file.as_ref().map_or_else(|| "built-in".to_owned(), |file| file.display().to_string());
    let views: Vec<_> = config.views.iter().map(|view| view.name.as_str()).collect();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        commit = option_env!("FIBERD_COMMIT").unwrap_or("unknown"),
        config = file,
        site = config.site,
        source = source.name(),
        views = views.join(" "),
        http = %config.http.listen,
        broker = config.broker.as_ref().map_or_else(|| "none".to_owned(), BrokerConfig::address),
        "fiberd starts"
    );
}

/// What came of it. The account of frames is whole here: made = confirmed + unroutable + refused + unconfirmed + dropped,
/// when there is a broker.
pub(super) fn stopped(status: &Status, ending: &Ending) {
    let c = &status.counters;
    info!(
        reason = ending.reason,
        exit_code = ending.outcome.as_ref().map_or_else(AppError::exit_code, |()| 0),
        run_s = status.uptime_s(),
        traces = c.traces.get(),
        gaps = c.gaps.get(),
        gap_traces = c.gap_traces.get(),
        traces_dropped = c.traces_dropped_no_block.get(),
        lines = c.lines.get(),
        frames_made = c.frames_made.get(),
        frames_confirmed = c.frames_confirmed.get(),
        frames_unroutable = c.frames_unroutable.get(),
        frames_refused = c.frames_refused.get(),
        frames_unconfirmed = c.frames_unconfirmed.get(),
        frames_dropped = c.frames_dropped_at_egress.get(),
        log_lines_lost = c.log_lines_lost.get(),
        "fiberd has stopped"
    );
}
