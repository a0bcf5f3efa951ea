//! Says a thing once in a while, whatever happens how often: a log must not be filled from outside.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For each reason, when it was last said and how often it came since. Reasons are words of the code, so there are few.
#[derive(Debug)]
pub struct LogLimit {
    every: Duration,
    said: Mutex<HashMap<&'static str, Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    unsaid: u64,
}

impl LogLimit {
    /// One line for each reason in the time `every`.
    pub fn new(every: Duration) -> Self {
        Self { every, said: Mutex::default() }
    }

    /// One line for each reason and minute.
    pub fn minute() -> Self {
        Self::new(Duration::from_secs(60))
    }

    /// Whether `reason` is to be said now: then how often it came since it was said the last time.
    pub fn turn(&self, reason: &'static str) -> Option<u64> {
        self.turn_at(reason, Instant::now())
    }

    fn turn_at(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = said.get_mut(reason) else {
            said.insert(reason, Said { at: now, unsaid: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < self.every {
            last.unsaid += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_in_a_while_with_how_often_it_came() {
        let (limit, start) = (LogLimit::new(Duration::from_secs(60)), Instant::now());
        let turn = |reason, s| limit.turn_at(reason, start + Duration::from_secs(s));
        assert_eq!([turn("a", 0), turn("a", 1), turn("b", 1), turn("a", 59)], [Some(0), None, Some(0), None]);
        assert_eq!([turn("a", 60), turn("a", 61), turn("b", 61)], [Some(2), None, Some(0)]);
    }
}
