//! Lines that could come too often: a state that flaps must not fill the log, and its last word must not be missing.

use std::collections::VecDeque;
use std::time::Duration;

/// The time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets a number of lines of one kind through in any minute. Of those that come too often the newest is kept, and comes
/// with the number of the others as soon as there is room.
#[derive(Debug)]
pub struct Throttle<T> {
    lines: usize,
    /// When the last lines were let through.
    at: VecDeque<Duration>,
    held: Option<T>,
    more: u64,
}

impl<T> Throttle<T> {
    /// At most `lines` in a minute.
    pub fn new(lines: usize) -> Self {
        let lines = lines.max(1);
        Self { lines, at: VecDeque::with_capacity(lines), held: None, more: 0 }
    }

    /// A line that is to be said at `now`, a time since any fixed origin: what to say, with how many more like it there
    /// were since the last line.
    pub fn say(&mut self, now: Duration, line: T) -> Option<(T, u64)> {
        self.more += u64::from(self.held.replace(line).is_some());
        self.due(now)
    }

    /// What was held back and may be said now. To be asked once in a while.
    pub fn due(&mut self, now: Duration) -> Option<(T, u64)> {
        self.held.as_ref()?;
        while self.at.front().is_some_and(|&at| now.saturating_sub(at) >= WINDOW) {
            self.at.pop_front();
        }
        if self.at.len() == self.lines {
            return None;
        }
        self.at.push_back(now);
        let more = std::mem::take(&mut self.more);
        self.held.take().map(|line| (line, more))
    }
}

/// For the end of a line, when others like it were left out before it.
pub fn and_more(lines: u64) -> String {
    if lines == 0 { String::new() } else { format!(" (and {lines} more like it since the last such line)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_flaps_is_said_seldom_and_its_last_word_is_said() {
        let mut throttle = Throttle::new(2);
        let second = Duration::from_secs;
        assert_eq!(throttle.say(second(0), "dark"), Some(("dark", 0)));
        assert_eq!(throttle.say(second(1), "light"), Some(("light", 0)));
        for _ in 0..18 {
            assert_eq!(throttle.say(second(2), "dark"), None);
        }
        assert_eq!(throttle.say(second(3), "light"), None);
        assert_eq!(throttle.due(second(59)), None);
        assert_eq!(throttle.due(second(60)), Some(("light", 18)));
        assert_eq!(throttle.due(second(61)), None);
        assert_eq!(throttle.say(second(61), "dark"), Some(("dark", 0)));
    }

    proptest! {
        #[test]
        fn every_line_is_said_or_counted(lines in 1usize..5, steps in prop::collection::vec((0u64..20_000, any::<bool>()), 1..200)) {
            let mut throttle = Throttle::new(lines);
            let (mut now, mut offered, mut accounted, mut said) = (Duration::ZERO, 0u64, 0u64, Vec::new());
            for (pause_ms, offers) in steps {
                now += Duration::from_millis(pause_ms);
                let out = if offers {
                    offered += 1;
                    throttle.say(now, offered)
                } else {
                    throttle.due(now)
                };
                if let Some((line, more)) = out {
                    prop_assert_eq!(line, offered, "the newest is what is said");
                    accounted += 1 + more;
                    prop_assert_eq!(accounted, offered);
                    said.push(now);
                }
            }
            for window in said.windows(lines + 1) {
                prop_assert!(window[lines] >= window[0] + WINDOW);
            }
            let last = throttle.due(now + WINDOW).map_or(0, |(_, more)| 1 + more);
            prop_assert_eq!(accounted + last, offered);
        }
    }
}
