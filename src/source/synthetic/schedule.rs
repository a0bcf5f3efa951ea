//! What becomes of each trace: it flows, it is not taken because the light is off, or the instrument loses it.

use super::scene::Scene;

/// What becomes of a run of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are delivered.
    Flow,
    /// The fiber is pulled and the instrument knows it: no light, no traces. Pulses go on being counted.
    LightOff,
    /// The instrument loses them and says so.
    Lost,
}

/// The mishaps of a scene in traces.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    /// First trace, trace behind the last, what becomes of them; what stands earlier wins.
    spans: Vec<(u64, u64, Fate)>,
}

impl Schedule {
    /// The schedule when trace 0 is `offset_s` seconds into the scene.
    pub(super) fn new(scene: &Scene, offset_s: f64) -> Self {
        let trace = |s: f64| ((s - offset_s) * scene.interrogator.prr_hz).round().max(0.0) as u64;
        let lost = scene.lost.iter().filter(|lost| lost.at_s >= offset_s).map(|lost| {
            let at = trace(lost.at_s);
            (at, at.saturating_add(lost.traces), Fate::Lost)
        });
        let noticed = scene.pulled.iter().filter(|pulled| !pulled.unnoticed);
        let pulled = noticed.map(|pulled| (trace(pulled.from_s), trace(pulled.to_s), Fate::LightOff));
        Self { spans: pulled.chain(lost).collect() }
    }

    /// What becomes of `trace`, and the next trace of which something else may hold.
    pub(super) fn at(&self, trace: u64) -> (Fate, u64) {
        if let Some(&(_, end, fate)) = self.spans.iter().find(|(from, end, _)| (*from..*end).contains(&trace)) {
            // An earlier entry may begin within this one.
            return (fate, self.next_beginning(trace).min(end));
        }
        (Fate::Flow, self.next_beginning(trace))
    }

    fn next_beginning(&self, trace: u64) -> u64 {
        self.spans.iter().map(|span| span.0).filter(|&from| from > trace).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Lost, Pulled};
    use super::*;

    #[test]
    fn each_trace_has_one_fate() {
        let scene = Scene {
            pulled: vec![
                Pulled { from_s: 1.0, to_s: 2.0, unnoticed: false },
                Pulled { from_s: 5.0, to_s: 6.0, unnoticed: true },
            ],
            lost: vec![Lost { at_s: 0.5, traces: 7 }, Lost { at_s: 0.9, traces: 1000 }],
            ..Scene::noise_only(4, 1000.0)
        };
        let schedule = Schedule::new(&scene, 0.0);
        let mut trace = 0;
        let mut spans = Vec::new();
        while trace < u64::MAX {
            let (fate, until) = schedule.at(trace);
            spans.push((trace, fate));
            trace = until;
        }
        let expected = [
            (0, Fate::Flow),
            (500, Fate::Lost),
            (507, Fate::Flow),
            (900, Fate::Lost),
            (1000, Fate::LightOff),
            (2000, Fate::Flow),
        ];
        assert_eq!(spans, expected);
        assert_eq!(Schedule::new(&scene, 1.5).at(0), (Fate::LightOff, 500), "after a change of rate at 1.5 s");
    }
}
