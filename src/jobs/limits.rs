//! What is done when jobs meet a limit: in this order, jobs that nobody has looked at since their start end, readers may
//! be behind by less, and no further job is started. On tokio (`das-io-N`).

use tracing::info;

use super::cost::Cost;
use super::registry::How;
use super::{Jobs, Shared};
use crate::refusal::Refusal;
use crate::status::FindingKind;

impl Jobs {
    /// Logs that a job was refused, once in a while for each reason.
    pub fn say_refused(&self, refusal: &Refusal) {
        if let Some(unsaid) = self.shared.refusals.turn(refusal.code()) {
            info!(reason = refusal.code(), since_last_line = unsaid, ?refusal, "a job was refused");
        }
    }

    /// Ends jobs that nobody has looked at since their start, while a limit is met.
    pub(super) async fn make_room(&self, cost: &Cost) {
        loop {
            let Some(id) = self.registry().spared(self.now(), cost) else { return };
            if !self.end(&id, How::Completed, "nobody had looked at it, and another job needed its room").await {
                return;
            }
            self.shared.status.counters.jobs.ended_for_room.add(1);
            info!(job = id, "a job that nobody had looked at made room for another");
        }
    }

    /// Tells what has become of values as float16.
    pub(super) fn tell_tally(&self) {
        let (tally, counters) = (&self.shared.tally, &self.shared.status.counters.narrowed_for_jobs);
        counters.zeros.raise_to(tally.zeros());
        counters.infinities.raise_to(tally.infinities());
        counters.poor_frames.raise_to(tally.poor_frames());
    }

    /// Lets readers be behind by what there is memory for.
    pub(super) fn share_memory(&self) {
        let (bytes, share) = self.registry().memory();
        let Shared { status, share: of_feeds, .. } = &*self.shared;
        let was_short = of_feeds.get() < 1.0;
        of_feeds.set(share);
        status.counters.jobs.memory_bytes.set(bytes as f64);
        status.counters.jobs.reader_share.set(share);
        match (was_short, share < 1.0) {
            (false, true) => {
                let why = "the jobs' readers together could hold more memory than jobs may take";
                info!(percent = (100.0 * share) as u32, "readers of jobs may be behind by less than usual: {why}");
                status.found(FindingKind::ReadersShortened, "", why);
            }
            (true, false) => {
                info!("readers of jobs may be behind by as much as usual again");
                status.take_back_all(FindingKind::ReadersShortened);
            }
            _ => {}
        }
    }
}
