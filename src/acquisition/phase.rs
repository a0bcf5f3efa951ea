//! Whether there is signal: the state machine of [`SignalMonitor`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Acquisition;

/// Why there is no signal. The wording is shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DarkReason {
    /// The daemon has just begun to look.
    Starting,
    /// The hardware interface is not there.
    NoInterface(String),
    /// The hardware interface is there, but this user may not open it.
    NotPermitted(String),
    /// The hardware interface is there, but what it says cannot be used.
    Refused(String),
    /// The timestamps cannot be nanoseconds of UTC.
    WrongTime(&'static str),
    /// The producer's heartbeat has stopped.
    NoHeartbeat,
    /// The producer lives and reports light, but has never written a slot.
    NoSlots,
    /// The producer lives, but no trace has come.
    NoTraces,
    /// The producer says that there is no light.
    LightOff,
    /// The producer writes slots, but has never said that there is light.
    NeverLit,
    /// Traces come, but there is no optical power in them.
    Dark,
}

impl DarkReason {
    /// The reason in words for everybody: files and devices of this machine are for its operators, who find them in the
    /// log.
    pub fn for_everybody(&self) -> String {
        match self {
            Self::NoInterface(_) => "the hardware interface is not there".into(),
            Self::NotPermitted(_) => "the hardware interface may not be opened by the daemon's user".into(),
            Self::Refused(why) => without_paths(why),
            other => other.to_string(),
        }
    }

    /// Short and stable, for programs: `no_interface`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NoInterface(_) => "no_interface",
            Self::NotPermitted(_) => "not_permitted",
            Self::Refused(_) => "refused",
            Self::WrongTime(_) => "wrong_time",
            Self::NoHeartbeat => "no_heartbeat",
            Self::NoSlots => "no_slots",
            Self::NoTraces => "no_traces",
            Self::LightOff => "light_off",
            Self::NeverLit => "never_lit",
            Self::Dark => "dark",
        }
    }
}

/// `text` with every word that holds an absolute path left out.
fn without_paths(text: &str) -> String {
    let holds_path = |word: &str| {
        word.match_indices('/').any(|(at, _)| {
            let before = word[..at].chars().next_back();
            !before.is_some_and(char::is_alphanumeric) && word[at + 1..].starts_with(char::is_alphanumeric)
        })
    };
    let words: Vec<_> = text.split_whitespace().map(|word| if holds_path(word) { "…" } else { word }).collect();
    words.join(" ")
}

impl fmt::Display for DarkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => write!(f, "looking for the interrogator"),
            Self::NoInterface(what) | Self::NotPermitted(what) | Self::Refused(what) => write!(f, "{what}"),
            Self::WrongTime(what) => write!(f, "{what}"),
            Self::NoHeartbeat => write!(f, "the producer's heartbeat has stopped"),
            Self::NoSlots => write!(
                f,
                "the producer lives and reports light, but has never written a slot: is slots_written advanced?"
            ),
            Self::NoTraces => write!(f, "no new traces"),
            Self::LightOff => write!(f, "the interrogator reports no light"),
            Self::NeverLit => write!(
                f,
                "the interrogator reports no light; it writes slots, but bit 1 of its state has never been set"
            ),
            Self::Dark => write!(f, "optical power below the dark threshold"),
        }
    }
}

/// Whether there is signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// No signal; the daemon looks again by itself.
    WaitingForFiber(DarkReason),
    /// Traces flow.
    Acquiring(Arc<Acquisition>),
    /// Light, but no data for longer than usual and not yet for long enough to call it lost.
    Stalled(Arc<Acquisition>),
    /// The daemon is stopping or the replay has ended: frames that are made are still sent.
    Draining,
}

impl Phase {
    /// Every [`name`](Self::name), in the order of a day.
    pub const NAMES: [&'static str; 4] = ["waiting for fiber", "acquiring", "stalled", "draining"];

    /// The words for people and programs: `waiting for fiber`, `acquiring`, `stalled`, `draining`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::WaitingForFiber(_) => "waiting for fiber",
            Self::Acquiring(_) => "acquiring",
            Self::Stalled(_) => "stalled",
            Self::Draining => "draining",
        }
    }

    /// The acquisition, while there is one.
    pub const fn acquisition(&self) -> Option<&Arc<Acquisition>> {
        match self {
            Self::Acquiring(a) | Self::Stalled(a) => Some(a),
            Self::WaitingForFiber(_) | Self::Draining => None,
        }
    }
}

/// What the capture thread saw.
#[derive(Clone, Debug)]
pub enum Event {
    /// The source has nothing, and says why.
    Lost(DarkReason),
    /// A block arrived; `power` is the variance over the channels of one of its traces, in squared counts.
    Block {
        /// The acquisition it belongs to.
        acquisition: Arc<Acquisition>,
        /// Variance over channels, squared raw counts.
        power: f64,
    },
    /// The source is there, but nothing came.
    Quiet,
    /// The daemon is stopping, or the source has ended for good.
    Stopping,
}

/// When signal counts as gone, and when it counts as back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalLimits {
    /// No trace for this long means waiting for fiber; at least 20 pulse periods are always granted.
    pub no_trace: Duration,
    /// No trace for this long means stalled.
    pub stall: Duration,
    /// Power below this (variance over channels, squared counts) is dark; 0 switches the test off.
    pub dark_power: f64,
    /// Power must rise to `dark_power` times this factor before dark ends.
    pub light_factor: f64,
    /// Darkness must last this long before it counts.
    pub dark_hold: Duration,
}

impl Default for SignalLimits {
    fn default() -> Self {
        Self {
            no_trace: Duration::from_millis(500),
            stall: Duration::from_millis(150),
            dark_power: 0.0,
            light_factor: 2.0,
            dark_hold: Duration::from_millis(500),
        }
    }
}

/// The state machine behind [`Phase`]. Times are durations since any fixed origin, never running backwards.
#[derive(Debug)]
pub struct SignalMonitor {
    limits: SignalLimits,
    phase: Phase,
    last_block: Duration,
    dark_since: Option<Duration>,
}

impl SignalMonitor {
    /// Begins in [`Phase::WaitingForFiber`].
    pub fn new(limits: SignalLimits) -> Self {
        Self {
            limits,
            phase: Phase::WaitingForFiber(DarkReason::Starting),
            last_block: Duration::ZERO,
            dark_since: None,
        }
    }

    /// The present phase.
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Takes an event in; `Some` when the phase has changed.
    ///
    /// `now` must not be earlier than in the call before. A change of the reason alone, while waiting, is a change too:
    /// an operator needs to see that the producer came back although the light did not.
    pub fn on(&mut self, now: Duration, event: Event) -> Option<&Phase> {
        let next = self.next(now, event);
        if next == self.phase {
            return None;
        }
        self.phase = next;
        Some(&self.phase)
    }

    fn next(&mut self, now: Duration, event: Event) -> Phase {
        if self.phase == Phase::Draining {
            return Phase::Draining;
        }
        match event {
            Event::Stopping => Phase::Draining,
            Event::Lost(reason) => {
                self.dark_since = None;
                Phase::WaitingForFiber(reason)
            }
            Event::Block { acquisition, power } => {
                self.last_block = now;
                self.with_power(now, acquisition, power)
            }
            Event::Quiet => self.quiet(now),
        }
    }

    fn with_power(&mut self, now: Duration, acquisition: Arc<Acquisition>, power: f64) -> Phase {
        let waiting_in_the_dark = matches!(self.phase, Phase::WaitingForFiber(DarkReason::Dark));
        let needed = if waiting_in_the_dark {
            self.limits.dark_power * self.limits.light_factor
        } else {
            self.limits.dark_power
        };
        // NaN power (float input gone wrong) is not light; without a threshold there is no test.
        if self.limits.dark_power <= 0.0 || power >= needed {
            self.dark_since = None;
            return Phase::Acquiring(acquisition);
        }
        let since = *self.dark_since.get_or_insert(now);
        let waiting = matches!(self.phase, Phase::WaitingForFiber(_));
        if waiting || now.saturating_sub(since) >= self.limits.dark_hold {
            Phase::WaitingForFiber(DarkReason::Dark)
        } else {
            Phase::Acquiring(acquisition)
        }
    }

    fn quiet(&self, now: Duration) -> Phase {
        let Some(acquisition) = self.phase.acquisition() else {
            return self.phase.clone();
        };
        let silent = now.saturating_sub(self.last_block);
        let twenty_pulses = Duration::from_secs_f64(20.0 / acquisition.prr.to_f64());
        if silent >= self.limits.no_trace.max(twenty_pulses) {
            Phase::WaitingForFiber(DarkReason::NoTraces)
        } else if silent >= self.limits.stall.max(twenty_pulses) {
            Phase::Stalled(Arc::clone(acquisition))
        } else {
            self.phase.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rational;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn block(acquisition: &Arc<Acquisition>, power: f64) -> Event {
        Event::Block { acquisition: Arc::clone(acquisition), power }
    }

    fn limits() -> SignalLimits {
        SignalLimits { dark_power: 100.0, ..SignalLimits::default() }
    }

    #[test]
    fn silence_first_stalls_then_waits_and_one_block_brings_it_back() {
        let a = Arc::new(Acquisition::example());
        let mut m = SignalMonitor::new(limits());
        assert_eq!(m.on(ms(0), block(&a, 1e6)), Some(&Phase::Acquiring(a.clone())));
        assert_eq!(m.on(ms(100), Event::Quiet), None);
        assert_eq!(m.on(ms(150), Event::Quiet), Some(&Phase::Stalled(a.clone())));
        assert_eq!(m.on(ms(499), Event::Quiet), None);
        assert_eq!(m.on(ms(500), Event::Quiet), Some(&Phase::WaitingForFiber(DarkReason::NoTraces)));
        assert_eq!(m.on(ms(9000), Event::Quiet), None);
        assert_eq!(m.on(ms(9001), block(&a, 1e6)), Some(&Phase::Acquiring(a)));
    }

    #[test]
    fn slow_pulses_are_granted_twenty_periods() {
        let a = Arc::new(Acquisition { prr: Rational::new(10, 1).unwrap(), ..Acquisition::example() });
        let mut m = SignalMonitor::new(limits());
        m.on(ms(0), block(&a, 1e6));
        assert_eq!(m.on(ms(1900), Event::Quiet), None);
        assert!(m.on(ms(2000), Event::Quiet).is_some());
    }

    #[test]
    fn power_has_hysteresis_and_a_hold_off() {
        let a = Arc::new(Acquisition::example());
        let mut m = SignalMonitor::new(limits());
        m.on(ms(0), block(&a, 1e6));
        assert_eq!(m.on(ms(20), block(&a, 1.0)), None, "a dip shorter than the hold-off is not darkness");
        assert_eq!(m.on(ms(40), block(&a, 1e6)), None);
        m.on(ms(60), block(&a, 1.0));
        assert_eq!(m.on(ms(560), block(&a, 1.0)), Some(&Phase::WaitingForFiber(DarkReason::Dark)));
        assert_eq!(m.on(ms(580), block(&a, 150.0)), None, "above the threshold, below the way back");
        assert_eq!(m.on(ms(600), block(&a, f64::NAN)), None, "NaN is not light");
        assert_eq!(m.on(ms(620), block(&a, 200.0)), Some(&Phase::Acquiring(a)));
    }

    #[test]
    fn paths_stay_inside_and_other_slashes_do_not_matter() {
        let cases = [
            ("ring header: 2000 Hz asked, 1000 Hz found", "ring header: 2000 Hz asked, 1000 Hz found"),
            ("/dev/shm/fiberd.ring: too short", "… too short"),
            ("cannot map '/dev/uio0' now", "cannot map … now"),
            ("file:/etc/x in nstrain/s at 1/2", "… in nstrain/s at 1/2"),
        ];
        for (given, wanted) in cases {
            assert_eq!(DarkReason::Refused(given.into()).for_everybody(), wanted);
        }
    }

    #[test]
    fn draining_is_final() {
        let a = Arc::new(Acquisition::example());
        let mut m = SignalMonitor::new(limits());
        assert!(m.on(ms(0), Event::Stopping).is_some());
        assert_eq!(m.on(ms(1), block(&a, 1e6)), None);
        assert_eq!(m.on(ms(2), Event::Lost(DarkReason::LightOff)), None);
    }

    proptest! {
        /// Whatever power does, the phase changes at most once in any hold-off.
        #[test]
        fn never_flaps_on_power(powers in prop::collection::vec(0.0f64..400.0, 1..400)) {
            let a = Arc::new(Acquisition::example());
            let mut m = SignalMonitor::new(limits());
            let mut went_dark = Vec::new();
            for (i, &power) in powers.iter().enumerate() {
                let now = ms(20 * i as u64);
                let changed = m.on(now, block(&a, power));
                if i > 0 && matches!(changed, Some(Phase::WaitingForFiber(_))) {
                    went_dark.push(now);
                }
            }
            for pair in went_dark.windows(2) {
                prop_assert!(pair[1].saturating_sub(pair[0]) >= limits().dark_hold);
            }
        }
    }
}
