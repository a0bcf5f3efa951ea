//! Whether a scene can be played: every problem at once, each with its key, the value, and what would be right.

use super::scene::{Format, Kind, OutputQuantity, Scene, SceneError, Source};
use crate::units::Rational;

/// Largest number of channels, as in the ring.
const MAX_CHANNELS: usize = 1_000_000;

struct Problems(Vec<String>);

impl Problems {
    /// Notes `key = value` when it does not hold.
    fn unless(&mut self, holds: bool, key: &str, value: impl std::fmt::Display, right: &str) {
        if !holds {
            self.0.push(format!("{key} = {value}: must be {right}"));
        }
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.unless(value.is_finite() && value > 0.0, key, value, "a positive number");
    }

    fn not_negative(&mut self, key: &str, value: f64) {
        self.unless(value.is_finite() && value >= 0.0, key, value, "zero or a positive number");
    }
}

impl Kind {
    /// The keys that mean something to this kind, beside `kind`, `seed`, `start_s`, `duration_s` and `repeat_every_s`.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Walker => &[
                "place_m",
                "speed_m_per_s",
                "strength_nstrain",
                "frequency_hz",
                "strike_period_s",
                "reach_m",
                "wave_speed_m_per_s",
            ],
            Self::Digging => {
                &["place_m", "strength_nstrain", "frequency_hz", "strike_period_s", "reach_m", "wave_speed_m_per_s"]
            }
            Self::Vehicle => {
                &["place_m", "speed_m_per_s", "strength_nstrain", "frequency_hz", "reach_m", "wave_speed_m_per_s"]
            }
            Self::Train => &[
                "place_m",
                "speed_m_per_s",
                "strength_nstrain",
                "frequency_hz",
                "reach_m",
                "wave_speed_m_per_s",
                "length_m",
            ],
            Self::Pump => &["place_m", "strength_nstrain", "frequency_hz", "reach_m", "wave_speed_m_per_s"],
            Self::Quake => &["place_m", "strength_nstrain", "frequency_hz", "wave_speed_m_per_s"],
            Self::Break => &["place_m"],
            Self::Tone => &["channel_min", "channel_max", "strength_nstrain", "frequency_hz"],
        }
    }
}

impl Scene {
    /// Checks every value.
    ///
    /// # Errors
    /// [`SceneError::Invalid`] with all problems.
    pub fn validate(&self) -> Result<(), SceneError> {
        let mut p = Problems(Vec::new());
        self.check_fiber(&mut p);
        self.check_interrogator(&mut p);
        let n = &self.noise;
        p.not_negative("noise.receiver_rad_per_sqrt_hz", n.receiver_rad_per_sqrt_hz);
        p.not_negative("noise.laser_rad_per_sqrt_hz_at_1hz", n.laser_rad_per_sqrt_hz_at_1hz);
        p.positive("noise.laser_corner_hz", n.laser_corner_hz);
        p.not_negative("noise.dark_counts", n.dark_counts);
        for (index, source) in self.sources().iter().enumerate() {
            self.check_source(&mut p, index, source);
        }
        for (i, pulled) in self.pulled.iter().enumerate() {
            p.not_negative(&format!("pulled[{i}].from_s"), pulled.from_s);
            p.unless(
                pulled.to_s.is_finite() && pulled.to_s > pulled.from_s,
                &format!("pulled[{i}].to_s"),
                pulled.to_s,
                &format!("later than from_s = {}", pulled.from_s),
            );
        }
        for (i, lost) in self.lost.iter().enumerate() {
            p.not_negative(&format!("lost[{i}].at_s"), lost.at_s);
            p.unless(lost.traces > 0, &format!("lost[{i}].traces"), lost.traces, "at least 1");
        }
        if p.0.is_empty() { Ok(()) } else { Err(SceneError::Invalid(p.0)) }
    }

    fn check_fiber(&self, p: &mut Problems) {
        let f = &self.fiber;
        let right = format!("1 … {MAX_CHANNELS}");
        p.unless((1..=MAX_CHANNELS).contains(&f.channels), "fiber.channels", f.channels, &right);
        p.positive("fiber.dx_m", f.dx_m);
        p.positive("fiber.gauge_length_m", f.gauge_length_m);
        p.unless(f.start_m.is_finite(), "fiber.start_m", f.start_m, "a number");
        p.not_negative("fiber.attenuation_db_per_km", f.attenuation_db_per_km);
        let nm = f.wavelength_nm;
        p.unless((100.0..=10_000.0).contains(&nm), "fiber.wavelength_nm", nm, "100 … 10000, e.g. 1550");
        let n = f.refractive_index;
        p.unless((1.0..=4.0).contains(&n), "fiber.refractive_index", n, "1 … 4, e.g. 1.468");
    }

    fn check_interrogator(&self, p: &mut Problems) {
        let i = &self.interrogator;
        let rate_ok = |hz: f64| (0.1..=1e6).contains(&hz) && Rational::from_f64(hz).is_some();
        for (key, hz) in [("prr_hz", i.prr_hz), ("prr_min_hz", i.prr_min_hz), ("prr_max_hz", i.prr_max_hz)] {
            p.unless(rate_ok(hz), &format!("interrogator.{key}"), hz, "a rate between 0.1 and 1000000 Hz");
        }
        p.unless(
            i.prr_min_hz <= i.prr_max_hz,
            "interrogator.prr_max_hz",
            i.prr_max_hz,
            &format!("at least prr_min_hz = {}", i.prr_min_hz),
        );
        p.unless(
            (1..=65_536).contains(&i.traces_per_slot),
            "interrogator.traces_per_slot",
            i.traces_per_slot,
            "1 … 65536",
        );
        let iq = i.sample_format == Format::Iq16;
        p.unless(
            !iq || i.quantity == OutputQuantity::Phase,
            "interrogator.quantity",
            "\"strain_rate\"",
            "left out with sample_format = \"iq16\", which is always the optical field",
        );
        if let Some(rad) = i.count_rad {
            p.positive("interrogator.count_rad", rad);
            let right = "left out unless samples are phase";
            p.unless(!iq && i.quantity == OutputQuantity::Phase, "interrogator.count_rad", rad, right);
        }
        if let Some(rate) = i.count_nstrain_per_s {
            p.positive("interrogator.count_nstrain_per_s", rate);
            let right = "left out unless samples are strain rate";
            p.unless(!iq && i.quantity == OutputQuantity::StrainRate, "interrogator.count_nstrain_per_s", rate, right);
        }
        let a = i.iq_amplitude_counts;
        p.unless((1.0..=32_767.0).contains(&a), "interrogator.iq_amplitude_counts", a, "1 … 32767, e.g. 3000");
    }

    fn check_source(&self, p: &mut Problems, index: usize, s: &Source) {
        let key = |name: &str| format!("source[{index}] ({:?}).{name}", s.kind).to_lowercase();
        let given = [
            ("place_m", s.place_m),
            ("speed_m_per_s", s.speed_m_per_s),
            ("strength_nstrain", s.strength_nstrain),
            ("frequency_hz", s.frequency_hz),
            ("strike_period_s", s.strike_period_s),
            ("reach_m", s.reach_m),
            ("wave_speed_m_per_s", s.wave_speed_m_per_s),
            ("length_m", s.length_m),
            ("channel_min", s.channel_min.map(|c| c as f64)),
            ("channel_max", s.channel_max.map(|c| c as f64)),
        ];
        for (name, value) in given {
            let Some(value) = value else { continue };
            if s.kind.keys().contains(&name) {
                let signed = matches!(name, "place_m" | "speed_m_per_s");
                p.unless(value.is_finite(), &key(name), value, "a finite number");
                p.unless(signed || value > 0.0, &key(name), value, "positive");
            } else {
                p.unless(false, &key(name), value, &format!("left out: this kind takes {}", s.kind.keys().join(", ")));
            }
        }
        p.not_negative(&key("start_s"), s.start_s);
        if let Some(duration) = s.duration_s {
            p.positive(&key("duration_s"), duration);
        }
        if s.speed_m_per_s == Some(0.0) {
            p.unless(false, &key("speed_m_per_s"), 0, "other than 0; something that stands is digging or a pump");
        }
        if let Some(period) = s.repeat_every_s {
            p.positive(&key("repeat_every_s"), period);
            let lasts = self.duration_s(s);
            p.unless(period >= lasts, &key("repeat_every_s"), period, &format!("at least the duration, {lasts:.1} s"));
        }
        self.check_waves(p, &key, s);
        let (from, to) = self.reach_of_fiber_m();
        if let Some(place) = s.place_m {
            let inside = s.kind == Kind::Quake || (from..=to).contains(&place);
            p.unless(inside, &key("place_m"), place, &format!("on the fiber, {from} … {to:.1} m"));
        }
        if s.kind == Kind::Tone {
            let (min, max) = (s.channel_min.unwrap_or(1), s.channel_max.unwrap_or(self.fiber.channels));
            p.unless(
                (min..=self.fiber.channels).contains(&max),
                &key("channel_max"),
                max,
                &format!("between channel_min = {min} and fiber.channels = {}", self.fiber.channels),
            );
        }
    }

    /// Limits that keep tables small and every trace quick to make.
    fn check_waves(&self, p: &mut Problems, key: &dyn Fn(&str) -> String, s: &Source) {
        let nyquist = self.interrogator.prr_hz / 2.0;
        if let Some(hz) = s.frequency_hz {
            p.unless(hz < nyquist, &key("frequency_hz"), hz, &format!("below half the PRR, {nyquist} Hz"));
            let (low, high) = match s.kind {
                Kind::Quake => (0.1, 50.0),
                Kind::Tone | Kind::Pump | Kind::Break => (0.0, f64::INFINITY),
                Kind::Walker | Kind::Vehicle | Kind::Digging | Kind::Train => (1.0, 1000.0),
            };
            p.unless((low..=high).contains(&hz), &key("frequency_hz"), hz, &format!("{low} … {high} Hz"));
        }
        if let Some(period) = s.strike_period_s {
            p.unless(period >= 0.05, &key("strike_period_s"), period, "at least 0.05 s");
        }
        if let Some(speed) = s.wave_speed_m_per_s {
            p.unless((20.0..=20_000.0).contains(&speed), &key("wave_speed_m_per_s"), speed, "20 … 20000 m/s");
        }
        let slowest = s.wave_speed_m_per_s.unwrap_or(250.0);
        for (name, length) in [("reach_m", s.reach_m), ("length_m", s.length_m)] {
            let most = slowest * 3.0;
            let right = format!("at most {most} m, three seconds of wave");
            p.unless(length.is_none_or(|m| m <= most), &key(name), length.unwrap_or(0.0), &right);
        }
        if s.kind == Kind::Quake {
            let seconds = self.duration_s(s);
            p.unless((1.0..=3600.0).contains(&seconds), &key("duration_s"), seconds, "1 … 3600 s for an earthquake");
        }
    }

    /// Distance of the first channel and of the end of the fiber.
    pub(super) fn reach_of_fiber_m(&self) -> (f64, f64) {
        let f = &self.fiber;
        (f.start_m, f.start_m + f.dx_m * f.channels as f64)
    }

    /// How long a source lasts: as it says, or until what moves has left the fiber, or for ever.
    pub(super) fn duration_s(&self, s: &Source) -> f64 {
        let moving = |default: f64, tail_m: f64| {
            let speed = s.speed_m_per_s.unwrap_or(default);
            let (from, to) = self.reach_of_fiber_m();
            let place = s.place_m.unwrap_or(if speed < 0.0 && s.kind != Kind::Walker { to } else { from });
            let way = if speed < 0.0 { place - from } else { to - place };
            (way + tail_m) / speed.abs()
        };
        s.duration_s.unwrap_or_else(|| match s.kind {
            Kind::Walker => moving(WALKER_M_PER_S, 0.0),
            Kind::Vehicle => moving(VEHICLE_M_PER_S, 0.0),
            Kind::Train => moving(TRAIN_M_PER_S, s.length_m.unwrap_or(TRAIN_LENGTH_M)),
            Kind::Quake => 60.0,
            Kind::Digging | Kind::Pump | Kind::Break | Kind::Tone => f64::INFINITY,
        })
    }
}

/// Speed of a walker who does not say.
pub(super) const WALKER_M_PER_S: f64 = 1.4;
/// Speed of a vehicle that does not say.
pub(super) const VEHICLE_M_PER_S: f64 = 15.0;
/// Speed of a train that does not say.
pub(super) const TRAIN_M_PER_S: f64 = 30.0;
/// Length of a train that does not say.
pub(super) const TRAIN_LENGTH_M: f64 = 150.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        match Scene::from_toml(text) {
            Err(SceneError::Invalid(list)) => list,
            other => panic!("expected problems, got {other:?}"),
        }
    }

    #[test]
    fn an_empty_file_is_a_scene_and_so_is_a_short_fiber() {
        assert_eq!(Scene::from_toml("").unwrap(), Scene::default());
        Scene::from_toml("[fiber]\nchannels = 1\n").unwrap();
        Scene::tone(64, 1000.0, 10..20, 50.0, 2.0, Format::I16).validate().unwrap();
    }

    #[test]
    fn every_problem_is_named_with_its_key_its_value_and_what_would_be_right() {
        let found = problems(
            "[fiber]\nchannels = 0\n[interrogator]\nprr_hz = -1\n[[source]]\nkind = \"pump\"\nspeed_m_per_s = 3.0\n\
             [[pulled]]\nfrom_s = 5\nto_s = 4\n[[lost]]\nat_s = 1\ntraces = 0\n",
        );
        for part in [
            "fiber.channels = 0: must be 1 … 1000000",
            "interrogator.prr_hz = -1: must be a rate",
            "source[0] (pump).speed_m_per_s = 3: must be left out: this kind takes place_m",
            "pulled[0].to_s = 4: must be later than from_s = 5",
            "lost[0].traces = 0: must be at least 1",
        ] {
            assert!(found.iter().any(|line| line.starts_with(part)), "{part} not in {found:#?}");
        }
    }

    #[test]
    fn what_overlaps_itself_or_lies_off_the_fiber_is_refused() {
        let found = problems("[[source]]\nkind='walker'\nplace_m=99999.0\nduration_s=9.0\nrepeat_every_s=5.0");
        assert!(found[0].contains("at least the duration, 9.0 s"), "{found:?}");
        assert!(found[1].contains("on the fiber, 0 …"), "{found:?}");
    }
}
