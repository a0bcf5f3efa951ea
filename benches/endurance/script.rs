//! What is done to the daemon, and when: pure, and the same for the same seed.
//!
//! A script is made of rounds. In a round faults of several origins are played at the same time, those of each one after the other; then
//! everything is set right again, and it is quiet until the accounts have been looked at.

use std::fmt;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::shape::{OTHERS, Shape};

/// Pause between two faults of one origin, ms.
const PAUSE_MS: std::ops::Range<u64> = 200..6000;

/// Whose fault an action plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The interrogator: its driver, its light, its clock.
    Source,
    /// RabbitMQ.
    Broker,
    /// What surrounds the process: who reads its log, signals.
    Process,
    /// Clients of the control API.
    Clients,
}

impl Origin {
    pub const ALL: [Self; 4] = [Self::Source, Self::Broker, Self::Process, Self::Clients];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Broker => "broker",
            Self::Process => "process",
            Self::Clients => "clients",
        }
    }
}

/// How a client reads what it has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Grpc,
    WebSocket,
    Poll,
    /// It asks and never looks.
    Never,
}

/// Clients that come together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    pub jobs: usize,
    /// 0 several channels, 1 a single channel, 2 waterfall.
    pub view: u8,
    pub nfft: usize,
    pub channels: usize,
    pub lines_per_s: u32,
    /// All look at the same.
    pub equal: bool,
    pub reading: Reading,
    /// Reads far too slowly.
    pub slow: bool,
    /// Is cut off instead of ending its job.
    pub vanishes: bool,
    pub ms: u64,
}

/// One thing that is done, for as long as it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// SIGSTOP, and SIGCONT after this time. Afterwards the driver writes all that it owes at once, or declares it lost.
    Stop {
        ms: u64,
        catches_up: bool,
    },
    /// The driver lives and writes nothing.
    Pause {
        ms: u64,
        catches_up: bool,
    },
    /// The driver ends, by SIGKILL or in order, perhaps with its ring, and starts again.
    Restart {
        shape: Shape,
        kill: bool,
        remove: bool,
        ms: u64,
    },
    /// Other parameters in the same ring.
    Epoch {
        variant: u8,
    },
    /// No light by its flag; slots go on or not.
    LightOff {
        ms: u64,
        writes: bool,
    },
    LightFlicker {
        times: u32,
        ms: u64,
    },
    /// No optical power in the samples.
    Dark {
        ms: u64,
    },
    DarkFlicker {
        times: u32,
        ms: u64,
    },
    /// Traces that the driver declares lost.
    Lose {
        traces: u64,
    },
    /// Its clock steps, and steps back after this time.
    StepUtc {
        by_ms: i64,
        ms: u64,
    },
    /// SIGKILL of the broker, and a start after this time.
    KillBroker {
        ms: u64,
    },
    /// SIGSTOP of the broker.
    FreezeBroker {
        ms: u64,
    },
    /// The broker's memory alarm: it accepts nothing.
    BlockBroker {
        ms: u64,
    },
    /// Nobody reads the daemon's log, and the pipe is full.
    StallLog {
        ms: u64,
    },
    /// SIGHUP.
    HangUp,
    Come(Crowd),
}

impl Action {
    pub const fn origin(&self) -> Origin {
        match self {
            Self::KillBroker { .. } | Self::FreezeBroker { .. } | Self::BlockBroker { .. } => Origin::Broker,
            Self::StallLog { .. } | Self::HangUp => Origin::Process,
            Self::Come(_) => Origin::Clients,
            _ => Origin::Source,
        }
    }

    /// How long it takes at least.
    pub fn lasts(&self) -> Duration {
        let ms = match *self {
            Self::Stop { ms, .. }
            | Self::Pause { ms, .. }
            | Self::Restart { ms, .. }
            | Self::LightOff { ms, .. }
            | Self::Dark { ms }
            | Self::StepUtc { ms, .. }
            | Self::KillBroker { ms }
            | Self::FreezeBroker { ms }
            | Self::BlockBroker { ms }
            | Self::StallLog { ms } => ms,
            Self::LightFlicker { times, ms } | Self::DarkFlicker { times, ms } => 2 * u64::from(times) * ms,
            Self::Come(crowd) => crowd.ms,
            Self::Epoch { .. } | Self::Lose { .. } | Self::HangUp => 0,
        };
        Duration::from_millis(ms)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = |catches_up| if catches_up { "then writes all at once" } else { "then declares the traces lost" };
        match self {
            Self::Stop { ms, catches_up } => write!(f, "driver: SIGSTOP for {ms} ms, {}", then(*catches_up)),
            Self::Pause { ms, catches_up } => write!(f, "driver: writes nothing for {ms} ms, {}", then(*catches_up)),
            Self::Restart { shape, kill, remove, ms } => {
                let how = if *kill { "SIGKILL" } else { "ends" };
                let ring = if *remove { ", its ring removed" } else { "" };
                write!(f, "driver: {how}{ring}, after {ms} ms starts with {shape}")
            }
            Self::Epoch { variant } => write!(f, "driver: a new epoch, variant {variant}"),
            Self::LightOff { ms, writes } => {
                write!(f, "light: off for {ms} ms, slots {}", if *writes { "go on" } else { "stop" })
            }
            Self::LightFlicker { times, ms } => write!(f, "light: {times} times off and on, {ms} ms each"),
            Self::Dark { ms } => write!(f, "power: dark samples for {ms} ms"),
            Self::DarkFlicker { times, ms } => write!(f, "power: {times} times dark and back, {ms} ms each"),
            Self::Lose { traces } => write!(f, "driver: declares {traces} traces lost"),
            Self::StepUtc { by_ms, ms } => write!(f, "driver: UTC steps by {by_ms} ms, and back after {ms} ms"),
            Self::KillBroker { ms } => write!(f, "broker: SIGKILL, starts after {ms} ms"),
            Self::FreezeBroker { ms } => write!(f, "broker: frozen for {ms} ms"),
            Self::BlockBroker { ms } => write!(f, "broker: memory alarm for {ms} ms"),
            Self::StallLog { ms } => write!(f, "log: not read for {ms} ms"),
            Self::HangUp => write!(f, "daemon: SIGHUP"),
            Self::Come(c) => {
                let how = if c.slow { ", slowly" } else { "" };
                let end = if c.vanishes { "vanish" } else { "end their jobs" };
                write!(
                    f,
                    "clients: {} jobs, view {}, nfft {}, {} channels, {} lines/s, {}, read by {:?}{how}, {end} after {} ms",
                    c.jobs,
                    c.view,
                    c.nfft,
                    c.channels,
                    c.lines_per_s,
                    if c.equal { "equal" } else { "different" },
                    c.reading,
                    c.ms
                )
            }
        }
    }
}

/// An action and when it begins at the earliest, from the beginning of its round.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub at: Duration,
    pub action: Action,
}

/// The faults of one origin in one round, one after the other, all begun within `span`.
pub fn plan(seed: u64, round: u64, of: Origin, span: Duration) -> Vec<Planned> {
    // Each origin has a random stream of its own: leaving one out changes nothing in the others.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(round * Origin::ALL.len() as u64 + of as u64);
    let mut planned = Vec::new();
    let mut at = Duration::from_millis(rng.random_range(0..2000));
    while at < span {
        let action = match of {
            Origin::Source => source(&mut rng),
            Origin::Broker => broker(&mut rng),
            Origin::Process => process(&mut rng),
            Origin::Clients => Action::Come(crowd(&mut rng)),
        };
        // The last one may not make the round much longer.
        if at + action.lasts() > span + span / 4 && !planned.is_empty() {
            break;
        }
        planned.push(Planned { at, action });
        at += action.lasts() + Duration::from_millis(rng.random_range(PAUSE_MS));
    }
    planned
}

fn one_of<T: Copy>(rng: &mut ChaCha8Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

fn source(rng: &mut ChaCha8Rng) -> Action {
    let catches_up = rng.random_bool(0.5);
    match rng.random_range(0..14) {
        0 | 1 => Action::Stop { ms: one_of(rng, &[100, 400, 1500, 2000, 4000]), catches_up },
        2 => Action::Pause { ms: one_of(rng, &[100, 300, 700, 4000]), catches_up },
        3..=6 => Action::Restart {
            shape: if rng.random_bool(0.4) { Shape::BASE } else { one_of(rng, &OTHERS) },
            kill: rng.random_bool(0.5),
            remove: rng.random_bool(0.3),
            ms: one_of(rng, &[0, 50, 500, 2500]),
        },
        7 => Action::Epoch { variant: rng.random_range(0..3) },
        8 => Action::LightOff { ms: one_of(rng, &[50, 500, 3000]), writes: rng.random_bool(0.5) },
        9 => Action::LightFlicker { times: rng.random_range(2..12), ms: one_of(rng, &[20, 100, 300]) },
        10 => Action::Dark { ms: one_of(rng, &[200, 1000, 3000]) },
        11 => Action::DarkFlicker { times: rng.random_range(2..12), ms: one_of(rng, &[50, 200, 700]) },
        12 => Action::Lose { traces: one_of(rng, &[1, 17, 1000]) },
        _ => Action::StepUtc {
            by_ms: one_of(rng, &[-3_600_000, -5, 37, 1000, 86_400_000]),
            ms: one_of(rng, &[300, 5000]),
        },
    }
}

fn broker(rng: &mut ChaCha8Rng) -> Action {
    match rng.random_range(0..3) {
        0 => Action::KillBroker { ms: one_of(rng, &[0, 3000, 15_000]) },
        1 => Action::FreezeBroker { ms: one_of(rng, &[1000, 6000, 30_000]) },
        _ => Action::BlockBroker { ms: one_of(rng, &[2000, 8000, 30_000]) },
    }
}

fn process(rng: &mut ChaCha8Rng) -> Action {
    if rng.random_bool(0.6) {
        return Action::StallLog { ms: one_of(rng, &[500, 3000, 12_000]) };
    }
    Action::HangUp
}

fn crowd(rng: &mut ChaCha8Rng) -> Crowd {
    let nfft = one_of(rng, &[128, 256, 512, 1024, 1024, 2048, 8192, 16_384, 65_536]);
    let view = one_of(rng, &[0, 0, 0, 1, 2]);
    Crowd {
        jobs: one_of(rng, &[1, 1, 3, 8, 20]),
        view,
        nfft,
        channels: if view == 1 { 1 } else { one_of(rng, &[2, 10, 50, 99, 200]) },
        lines_per_s: one_of(rng, &[1, 10, 10, 100]),
        equal: rng.random_bool(0.5),
        reading: one_of(rng, &[Reading::Grpc, Reading::Grpc, Reading::WebSocket, Reading::Poll, Reading::Never]),
        slow: rng.random_bool(0.3),
        vanishes: rng.random_bool(0.5),
        ms: one_of(rng, &[500, 5000, 15_000, 40_000]),
    }
}

/// Shows that a script is what it is said to be.
pub fn verify() {
    let span = Duration::from_secs(60);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        for of in Origin::ALL {
            let planned = plan(seed, 3, of, span);
            assert_eq!(planned, plan(seed, 3, of, span), "the same seed gives the same script");
            assert_ne!(planned, plan(seed, 4, of, span), "rounds differ");
            assert_ne!(planned, plan(seed + 1000, 3, of, span), "seeds differ");
            assert!(!planned.is_empty() && planned.iter().all(|p| p.action.origin() == of && p.at < span));
            for pair in planned.windows(2) {
                assert!(pair[1].at >= pair[0].at + pair[0].action.lasts(), "one thing after the other");
            }
            seen.extend(planned.iter().map(|p| std::mem::discriminant(&p.action)).map(|kind| format!("{kind:?}")));
        }
    }
    assert_eq!(seen.len(), 16, "every action occurs");
}
