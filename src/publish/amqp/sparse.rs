//! Log lines that could come in any number: one for each reason and minute, with the number of those that were not
//! written. Pure: the time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// From a line to the next with the same reason.
const PERIOD: Duration = Duration::from_secs(60);

/// See the module. Reasons are those of the program's text, so there are few.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    last: HashMap<&'static str, (Instant, u64)>,
}

impl Sparse {
    /// Whether a line for `reason` is written at `now`, and then how many were not since the last.
    pub(super) fn line(&mut self, reason: &'static str, now: Instant) -> Option<u64> {
        match self.last.get_mut(reason) {
            Some((at, unwritten)) if now.duration_since(*at) < PERIOD => {
                *unwritten += 1;
                None
            }
            known => {
                let unwritten = known.map_or(0, |(_, unwritten)| *unwritten);
                self.last.insert(reason, (now, 0));
                Some(unwritten)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_reason_and_minute_says_how_many_there_were() {
        let (mut sparse, now) = (Sparse::default(), Instant::now());
        let at = |s: u64| now + Duration::from_secs(s);
        assert_eq!([0, 1, 59, 60].map(|s| sparse.line("a", at(s))), [Some(0), None, None, Some(2)]);
        assert_eq!((sparse.line("b", at(1)), sparse.line("a", at(61))), (Some(0), None));
    }
}
