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
        traces = c.capture.traces.get(),
        gaps = c.capture.gaps.get(),
        gap_traces = c.capture.gap_traces.get(),
        traces_dropped = c.capture.traces_dropped_no_block.get(),
        lines = c.pipeline.lines.get(),
        frames_made = c.egress.frames_made.get(),
        frames_confirmed = c.publish.frames_confirmed.get(),
        frames_unroutable = c.publish.frames_unroutable.get(),
        frames_refused = c.publish.frames_refused.get(),
        frames_unconfirmed = c.publish.frames_unconfirmed.get(),
        frames_dropped = c.egress.frames_dropped.get(),
        log_lines_lost = c.log.lines_lost.get(),
        "fiberd has stopped"
    );
}
