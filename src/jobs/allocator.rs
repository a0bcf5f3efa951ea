//! Memory that ended jobs have freed goes back to the system. Two hundred displays come and go within a minute, and the
//! C library's allocator keeps what they took for whoever comes next: hundreds of megabytes for months.

use std::time::Duration;

/// So long the number of jobs has not changed, so that connections and buffers are gone as well.
const SETTLED: Duration = Duration::from_secs(5);

/// Decides when memory is worth giving back. Pure.
#[derive(Debug, Default)]
pub(super) struct GiveBack {
    /// Most jobs at once since the last time.
    most: usize,
    jobs: usize,
    changed: Duration,
}

impl GiveBack {
    /// `jobs` are there at `now`. Whether half of them or more have ended since the last time, and all is quiet.
    pub(super) fn is_due(&mut self, now: Duration, jobs: usize) -> bool {
        if jobs != self.jobs {
            (self.jobs, self.changed) = (jobs, now);
        }
        self.most = self.most.max(jobs);
        let due = jobs <= self.most / 2 && self.most > 0 && now.saturating_sub(self.changed) >= SETTLED;
        if due {
            self.most = jobs;
        }
        due
    }
}

/// Hands free pages of the allocator to the system. Takes milliseconds, in which whoever allocates may wait.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(super) fn give_back() {
    // SAFETY: `malloc_trim` may be called at any time by any thread; it touches only pages that nobody has.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) const fn give_back() {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However jobs come and go: never more often than they settle, and never forgotten when they are gone.
        #[test]
        fn whoever_is_gone_has_given_back(steps in prop::collection::vec((0u64..4000, 0usize..50), 1..60)) {
            let (mut give_back, mut now, mut given) = (GiveBack::default(), Duration::ZERO, None);
            for (ms, jobs) in steps {
                now += Duration::from_millis(ms);
                if give_back.is_due(now, jobs) {
                    prop_assert!(given.is_none_or(|last| now >= last + SETTLED));
                    given = Some(now);
                }
            }
            let owed = give_back.most > 0;
            let (at_once, settled) = (give_back.is_due(now, 0), give_back.is_due(now + SETTLED, 0));
            prop_assert_eq!(at_once || settled, owed);
            prop_assert!(!give_back.is_due(now + 2 * SETTLED, 0), "once is enough");
        }
    }
}
