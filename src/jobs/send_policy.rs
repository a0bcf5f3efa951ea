//! Which frames of a job are worth sending to the broker. Pure: the time is passed in.
//!
//! A broker says of each frame whether a queue wanted it. While none does, only a probe goes out now and then, so that a
//! queue that is bound later is found: about one a second for a job, its streams in turn. A job that watches a deep queue
//! sends as little. As long as nobody has said otherwise, frames are wanted.

use std::time::Duration;

/// From one probe of a job to the next.
pub const PROBE: Duration = Duration::from_secs(1);

/// Whether a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is.
    Go,
    /// No queue is bound.
    Unwanted,
    /// A queue that the job watches is deep.
    Throttled,
}

/// See the module.
#[derive(Debug)]
pub struct SendPolicy {
    streams: Vec<Way>,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    wanted: bool,
    /// When the next frame may go while most may not.
    next: Duration,
}

impl SendPolicy {
    /// That of a job with so many streams.
    pub fn new(streams: usize) -> Self {
        Self { streams: vec![Way { wanted: true, next: Duration::ZERO }; streams] }
    }

    /// Whether the frame of `stream` that is there at `now` is sent.
    pub fn pass(&mut self, stream: usize, now: Duration, throttled: bool) -> Pass {
        let unwanted = self.unwanted();
        let Some(way) = self.streams.get_mut(stream) else { return Pass::Unwanted };
        if way.wanted && !throttled {
            return Pass::Go;
        }
        if now >= way.next {
            way.next = now + if way.wanted { PROBE } else { PROBE * unwanted };
            return Pass::Go;
        }
        if way.wanted { Pass::Throttled } else { Pass::Unwanted }
    }

    /// No queue wanted a frame of `stream`.
    pub fn came_back(&mut self, stream: usize, now: Duration) {
        let Some(way) = self.streams.get_mut(stream) else { return };
        if way.wanted {
            // One after the other, also when all come back at once.
            (way.wanted, way.next) = (false, now + PROBE * (stream as u32 + 1));
        }
    }

    /// A queue took a frame of `stream`. Most bind all streams of a job, so the others are tried at once.
    pub fn found(&mut self, stream: usize) {
        let Some(way) = self.streams.get_mut(stream) else { return };
        if !std::mem::replace(&mut way.wanted, true) {
            self.streams.iter_mut().for_each(|way| way.next = Duration::ZERO);
        }
    }

    fn unwanted(&self) -> u32 {
        self.streams.iter().filter(|way| !way.wanted).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: Duration = Duration::from_millis(20);

    /// Frames of all streams for `seconds`; which queues are bound does not change. How many went, by stream.
    fn play(policy: &mut SendPolicy, from: Duration, seconds: u64, bound: &[bool], throttled: bool) -> Vec<u64> {
        let mut sent = vec![0; bound.len()];
        let mut now = from;
        while now < from + Duration::from_secs(seconds) {
            for (stream, &bound) in bound.iter().enumerate() {
                if policy.pass(stream, now, throttled) == Pass::Go {
                    sent[stream] += 1;
                    if bound { policy.found(stream) } else { policy.came_back(stream, now) }
                }
            }
            now += LINE;
        }
        sent
    }

    proptest! {
        #[test]
        fn what_is_wanted_goes_whole_and_the_rest_is_probed_about_once_a_second(
            bound in prop::collection::vec(any::<bool>(), 1..4), seconds in 10u64..60,
        ) {
            let mut policy = SendPolicy::new(bound.len());
            let sent = play(&mut policy, Duration::ZERO, seconds, &bound, false);
            for (sent, bound) in sent.iter().zip(&bound) {
                prop_assert!(!bound || *sent == seconds * 50);
            }
            let probes: u64 = sent.iter().zip(&bound).filter(|(_, bound)| !**bound).map(|(sent, _)| *sent).sum();
            let unbound = bound.iter().filter(|bound| !**bound).count() as u64;
            prop_assert!(unbound == 0 || (seconds - 4..=seconds + 2 * unbound).contains(&probes), "{} in {}", probes, seconds);

            // A queue that is bound now is found within three probes, and then gets everything.
            let all = vec![true; bound.len()];
            let from = Duration::from_secs(1000);
            play(&mut policy, from, 4, &all, false);
            let later = play(&mut policy, from + Duration::from_secs(4), 2, &all, false);
            prop_assert!(later.iter().all(|sent| *sent == 100));
        }

        #[test]
        fn a_job_that_is_throttled_sends_a_frame_a_second(seconds in 5u64..60, streams in 1usize..4) {
            let mut policy = SendPolicy::new(streams);
            let sent = play(&mut policy, Duration::ZERO, seconds, &vec![true; streams], true);
            prop_assert!(sent.iter().all(|sent| *sent == seconds), "{:?}", sent);
            let after = play(&mut policy, Duration::from_secs(seconds), 1, &vec![true; streams], false);
            prop_assert!(after.iter().all(|sent| *sent == 50));
        }
    }

    #[test]
    fn reasons_are_told_apart() {
        let (mut policy, now) = (SendPolicy::new(2), Duration::from_secs(9));
        assert_eq!([policy.pass(0, now, true), policy.pass(0, now, true)], [Pass::Go, Pass::Throttled]);
        policy.came_back(0, now);
        assert_eq!((policy.pass(0, now, false), policy.pass(1, now, false)), (Pass::Unwanted, Pass::Go));
        assert_eq!(policy.pass(7, now, false), Pass::Unwanted);
    }
}
