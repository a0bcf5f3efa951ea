//! Standing views of which no line comes although the traces for it were due: their lines or windows are longer than what
//! comes without a break, or than the capture that is replayed.

use tracing::warn;

use super::Engine;
use crate::acquisition::SourceKind;
use crate::frame::Stream;
use crate::status::FindingKind;
use crate::units::Rational;

impl Engine {
    /// Says so of each view, and takes it back with its first line. `ended`: no more traces will come.
    pub(super) fn look_for_silent_views(&mut self, ended: bool) {
        let seen = self.next_trace.saturating_sub(self.first_trace);
        let Some(plans) = self.plans.as_mut().filter(|_| seen > 0) else { return };
        let prr = plans.output.prr;
        // A daemon that is stopped has done nothing wrong.
        let ended = ended && plans.output.source == SourceKind::Replay;
        for view in plans.views.iter_mut().filter(|view| !view.is_of_jobs()) {
            let Some(stream) = view.streams().next().cloned() else { continue };
            let needed = needed(&stream, prr);
            let silent = !view.has_lines() && (ended || seen > needed.saturating_mul(2));
            if view.say_silent(silent) == silent {
                continue;
            }
            if silent {
                let why = format!(
                    "{needed} traces without a break make its first line (line period {} s, nfft {}), and of {seen} traces \
                     none did",
                    stream.line_period_s, stream.nfft
                );
                warn!(view = stream.name, %why, "no line of this view has come");
                self.findings.found(FindingKind::ViewSilent, &stream.name, why);
            } else {
                self.findings.take_back(FindingKind::ViewSilent, &stream.name);
            }
        }
    }
}

/// Traces behind which a line has ended for certain, with a whole window.
fn needed(stream: &Stream, prr: Rational) -> u64 {
    let period = stream.line_period_s.to_f64() * prr.to_f64();
    (period.ceil() as u64).max(stream.nfft as u64)
}
