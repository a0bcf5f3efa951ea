//! What a client says that the input has become, beside what the interrogator itself declares.
//!
//! The interrogator has the last word: when what it declares changes, capture sees that without being told, a new epoch
//! begins, and everything is planned anew. So a client's word changes no number here. It is kept and shown, with every
//! point in which the interrogator does not agree, and it is the moment to end jobs whose fiber is not there any more.

use serde::Serialize;
use utoipa::ToSchema;

use crate::acquisition::Acquisition;
use crate::frame::units;
use crate::jobs::plan::JobPlan;

/// Relative difference up to which two numbers say the same.
const SAME: f64 = 1e-6;

/// The metadata of an `InputChangedCommand`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Announced {
    /// Pulses in a second.
    pub prr: f64,
    /// Samples of a trace.
    pub num_samples_per_trace: u64,
    /// Type of a sample.
    pub dtype: String,
    /// Metres from channel to channel.
    pub dx: Option<f64>,
    /// Metres from the instrument to the first channel.
    pub fiber_start_meters: Option<f64>,
    /// Metres from the instrument to the end of the fiber.
    pub fiber_length_meters: Option<f64>,
    /// Version of the interrogator's software.
    pub sw_version: Option<String>,
    /// Channels, where they are not the samples of a trace.
    pub number_of_channels: Option<u64>,
}

impl Announced {
    /// Every point in which `acquisition` says something else, in words. `shown` is that as views show it: number and
    /// places of channels are those of [`/live_metadata`](crate::api).
    pub fn differs_from(&self, acquisition: &Acquisition, shown: &Acquisition) -> Vec<String> {
        let number = |name: &str, announced: Option<f64>, declared: f64, tolerance: f64| {
            let announced = announced.filter(|value| (value - declared).abs() > tolerance)?;
            Some(format!("{name}: {announced} announced, {declared} declared by the interrogator"))
        };
        let prr = acquisition.prr.to_f64();
        // Without channels of their own, the samples are all that is known.
        let (channels, samples) = (self.number_of_channels, self.num_samples_per_trace);
        let samples = channels.is_none().then_some(samples as f64);
        let dtype = acquisition.sample_format.dtype();
        let dtype = (self.dtype != dtype)
            .then(|| format!("dtype: {} announced, {dtype} declared by the interrogator", self.dtype));
        // Clients know the fiber in whole metres.
        let fiber = [
            number("prr", Some(self.prr), prr, prr * SAME),
            number("num_samples_per_trace", samples, acquisition.channels as f64, 0.5),
            number("number_of_channels", channels.map(|n| n as f64), shown.channels as f64, 0.5),
            dtype,
            number("dx", self.dx, acquisition.dx_m, acquisition.dx_m.abs() * SAME),
            number("fiber_start_meters", self.fiber_start_meters, shown.fiber_start_m, 1.0),
            number("fiber_length_meters", self.fiber_length_meters, shown.fiber_end_m(), 1.0),
        ];
        fiber.into_iter().flatten().collect()
    }
}

/// Why a job cannot be what its client was told any more. `shown` is the acquisition as views show it.
pub fn unfit(plan: &JobPlan, acquisition: &Acquisition, shown: &Acquisition) -> Option<String> {
    if plan.prr != acquisition.prr {
        let (then, now) = (plan.prr, acquisition.prr);
        return Some(format!("the input has changed: its PRR is {now} Hz and was {then} Hz"));
    }
    let (then, now) = (&plan.sample_unit, &units(shown).0);
    if !then.is_empty() && then != now {
        return Some(format!("the input has changed: its samples are in {now} and were in {then}"));
    }
    let (last, channels) = (*plan.channels.end(), shown.channels);
    (last > channels).then(|| format!("the input has changed: it has {channels} channels, fewer than {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acquisition::Band;
    use crate::units::Rational;

    fn as_declared(acquisition: &Acquisition) -> Announced {
        Announced {
            prr: acquisition.prr.to_f64(),
            num_samples_per_trace: acquisition.channels as u64,
            dtype: acquisition.sample_format.dtype().into(),
            dx: Some(acquisition.dx_m),
            fiber_start_meters: Some(acquisition.fiber_start_m.round()),
            fiber_length_meters: Some(acquisition.fiber_end_m().round()),
            sw_version: None,
            number_of_channels: None,
        }
    }

    #[test]
    fn each_point_that_differs_is_named_and_no_other() {
        // It begins beyond the instrument.
        let acquisition = Acquisition { fiber_start_m: 33_192.4, ..Acquisition::example() };
        let same = as_declared(&acquisition);
        assert_eq!(same.differs_from(&acquisition, &acquisition), [""; 0]);
        // Ten channels fewer come out of the conditioning.
        let shown = Acquisition { channels: acquisition.channels - 10, fiber_start_m: 33_197.5, ..acquisition.clone() };
        let of_metadata = Announced {
            number_of_channels: Some(shown.channels as u64),
            fiber_start_meters: Some(33_197.0),
            fiber_length_meters: Some(shown.fiber_end_m().ceil()),
            ..same.clone()
        };
        assert_eq!(of_metadata.differs_from(&acquisition, &shown), [""; 0]);
        let cases = [
            ("prr", Announced { prr: same.prr + 1.0, ..same.clone() }),
            ("num_samples_per_trace", Announced { num_samples_per_trace: 7, ..same.clone() }),
            ("number_of_channels", Announced { number_of_channels: Some(7), ..same.clone() }),
            ("dtype", Announced { dtype: "complex64".into(), ..same.clone() }),
            ("dx", Announced { dx: Some(same.dx.unwrap() * 1.01), ..same.clone() }),
            ("fiber_start_meters", Announced { fiber_start_meters: Some(-7.0), ..same.clone() }),
            ("fiber_length_meters", Announced { fiber_length_meters: Some(1e6), ..same.clone() }),
        ];
        for (name, announced) in cases {
            let differs = announced.differs_from(&acquisition, &acquisition);
            assert!(differs.len() == 1 && differs[0].starts_with(&format!("{name}: ")), "{name}: {differs:?}");
        }
    }

    #[test]
    fn a_job_is_unfit_when_its_rate_its_unit_or_its_channels_are_gone() {
        let acquisition = Acquisition::example();
        let pattern = crate::config::ViewConfig::waterfall();
        let plan = JobPlan::new(pattern, 1..=acquisition.channels, acquisition.prr, 1);
        assert_eq!(unfit(&plan, &acquisition, &acquisition), None);
        let slower = Acquisition { prr: Rational::new(1, 2).unwrap(), ..acquisition.clone() };
        assert!(unfit(&plan, &slower, &slower).unwrap().contains("PRR"));
        let shorter = Acquisition { channels: acquisition.channels - 1, ..acquisition.clone() };
        assert!(unfit(&plan, &acquisition, &shorter).unwrap().contains("channels"));
        let plan = JobPlan { sample_unit: "strain/s".into(), ..plan };
        assert!(unfit(&plan, &acquisition, &acquisition).unwrap().contains("were in strain/s"));
        // Jobs show amplitudes, and lines of band energy are powers.
        let band = Some(Band { low_hz: 1.0, high_hz: 2.0 });
        let lines = Acquisition { band, unit: "rad2/Hz".into(), ..acquisition };
        let plan = JobPlan { sample_unit: "rad/sqrt(Hz)".into(), ..plan };
        assert_eq!(unfit(&plan, &lines, &lines), None);
    }
}
