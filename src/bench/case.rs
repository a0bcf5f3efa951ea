//! A case: how large a fiber, what is made of it, and what must come out. Pure.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::Broker;
use crate::config::ViewConfig;
use crate::dsp::LineGrid;
use crate::units::Rational;

/// One size of fiber.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Channels; one waterfall covers them all.
    pub channels: usize,
    /// Pulse repetition rate, Hz.
    pub prr_hz: f64,
    /// Single channels with spectra, spread over the fiber.
    pub singles: usize,
    /// From line to line of the waterfall, in ms.
    pub line_period_ms: f64,
}

/// Length of a slot of the ring. A vendor's driver hands traces over in pieces of a few milliseconds.
const SLOT_S: f64 = 0.005;
/// Highest frequency of the waterfall's band.
const BAND_HZ: f64 = 200.0;
/// Metres of fiber over which channels are spread at most; light must be back before the next pulse.
const FIBER_M: f64 = 50_000.0;

impl Case {
    /// What is measured when nothing is asked for.
    pub const DEFAULTS: [Self; 3] =
        [Self::new(2337, 2000.0, 8), Self::new(10_000, 2000.0, 0), Self::new(50_000, 1000.0, 0)];

    /// A fiber with a waterfall of 20 lines a second.
    pub const fn new(channels: usize, prr_hz: f64, singles: usize) -> Self {
        Self { channels, prr_hz, singles, line_period_ms: 50.0 }
    }

    /// Traces that the producer launches in `time`, at least one.
    pub fn traces_in(&self, time: Duration) -> u64 {
        ((time.as_secs_f64() * self.prr_hz).round() as u64).max(1)
    }

    /// Scene of the producer, TOML.
    pub fn scene(&self) -> String {
        let Self { channels, prr_hz, .. } = self;
        let dx_m = (FIBER_M / *channels as f64).min(1.0);
        let traces_per_slot = ((SLOT_S * prr_hz) as usize).max(1);
        format!(
            "seed = 1\nsource = [{{ kind = \"pump\" }}]\n[fiber]\nchannels = {channels}\ndx_m = {dx_m:?}\n\
             [interrogator]\nprr_hz = {prr_hz:?}\nprr_max_hz = 1e6\ntraces_per_slot = {traces_per_slot}\n"
        )
    }

    fn views(&self) -> Vec<ViewConfig> {
        let single = |k: usize| ViewConfig::single(&format!("single-{}", k + 1), 1 + k * self.channels / self.singles);
        let line_period_s = Rational::from_f64(self.line_period_ms).zip(Rational::new(1, 1000));
        let line_period_s = line_period_s.and_then(|(ms, second)| ms.checked_mul(second));
        let mut waterfall = ViewConfig::waterfall();
        waterfall.line_period_s = line_period_s.unwrap_or(waterfall.line_period_s);
        std::iter::once(waterfall).chain((0..self.singles).map(single)).collect()
    }

    /// Frames that the daemon makes of `traces` traces from trace 0 on, when none is lost: lines that end with one of
    /// them and hold at least one whole window.
    pub fn frames_expected(&self, traces: u64) -> u64 {
        let Some(prr) = Rational::from_f64(self.prr_hz) else { return 0 };
        let lines = |view: &ViewConfig| {
            let grid = LineGrid::new(view.line_period_s.checked_mul(prr)?);
            // The first line with a whole window holds trace nfft - 1 or ends right behind it.
            Some(grid.line_at(traces).saturating_sub(grid.line_at(view.nfft as u64 - 1)))
        };
        self.views().iter().filter_map(lines).sum()
    }

    /// Configuration of the daemon, TOML.
    pub fn config(&self, ring: &Path, port: u16, threads: usize, broker: Option<&Broker>) -> String {
        let Self { channels, prr_hz, .. } = self;
        let mut text = format!(
            "site = \"bench\"\nlog.level = \"warn\"\nlog.format = \"text\"\nsource.path = {}\ncapture.prr_hz = {prr_hz:?}\n\
             fiber.channels = {channels}\nprocessing.threads = {threads}\nhttp.listen = \"127.0.0.1:{port}\"\n",
            quoted(&ring.to_string_lossy())
        );
        text += &broker.map_or_else(|| "broker.enabled = false\n".into(), Broker::config);
        for view in self.views() {
            let ViewConfig { name, channel_min, nfft, line_period_s, .. } = &view;
            let period_ms = line_period_s.to_f64() * 1000.0;
            let _ = writeln!(
                text,
                "[[view]]\nkind = \"{}\"\nname = \"{name}\"\nchannel_min = {channel_min}\nnfft = {nfft}\n\
                 line_period_ms = {period_ms:?}",
                view.view.name()
            );
            let _ = if view.bands_hz.is_empty() {
                writeln!(text, "value = \"db\"")
            } else {
                writeln!(text, "bands_hz = [[5, {:?}]]", BAND_HZ.min(prr_hz / 2.0))
            };
        }
        text
    }
}

impl Broker {
    /// Its keys in the daemon's configuration. The exchanges are this process's own: frames of a benchmark must not
    /// reach anybody who listens to a fiber.
    fn config(&self) -> String {
        let name = format!("fiberd.bench.{}", std::process::id());
        let mut text = format!(
            "broker.uri = {}\nbroker.frames_exchange = \"{name}.frames\"\nbroker.status_exchange = \"{name}.status\"\n",
            quoted(&self.uri)
        );
        if let Some(username) = &self.username {
            let _ = writeln!(text, "broker.username = {}", quoted(username));
        }
        if let Some(file) = &self.password_file {
            // The daemon may run elsewhere.
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            let _ = writeln!(text, "broker.password_file = {}", quoted(&file.to_string_lossy()));
        }
        text
    }
}

/// `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, SourceConfig};
    use crate::source::synthetic::Scene;

    fn broker() -> Broker {
        Broker { uri: "amqp://host:1/%2f".into(), username: Some("d\"as".into()), password_file: None, required: true }
    }

    #[test]
    fn every_case_is_a_right_scene_and_a_right_configuration() {
        let own = Case { line_period_ms: 128.0, ..Case::new(1, 100.0, 1) };
        let large = Case::new(1_000_000, 123.4, 1000);
        for case in Case::DEFAULTS.into_iter().chain([own, large]) {
            let scene = Scene::from_toml(&case.scene()).unwrap();
            assert_eq!(scene.fiber.channels, case.channels);
            let text = case.config(Path::new("/tmp/a \"b\"/ring"), 5001, 3, Some(&broker()));
            let config = Config::parse("bench", &text, &Environment::default()).unwrap();
            let SourceConfig::Ring { path, .. } = &config.source else { panic!("{:?}", config.source) };
            assert_eq!(path, Path::new("/tmp/a \"b\"/ring"));
            assert_eq!(config.capture.prr, Some(scene.prr()));
            assert_eq!((config.processing.threads, config.http.listen.port()), (3, 5001));
            let broker = config.broker.unwrap();
            assert_eq!((broker.uri.as_str(), broker.login.get().username.as_str()), ("amqp://host:1/%2f", "d\"as"));
            assert!(broker.frames_exchange.starts_with("fiberd.bench."));
            let mut views = case.views();
            views[0].bands_hz = vec![(5.0, BAND_HZ.min(case.prr_hz / 2.0))];
            assert_eq!(config.views, views);
            let without = case.config(Path::new("/tmp/ring"), 5001, 0, None);
            assert_eq!(Config::parse("bench", &without, &Environment::default()).unwrap().broker, None);
        }
    }

    #[test]
    fn frames_are_the_lines_that_end_and_hold_a_whole_window() {
        // Lines of 100 traces (50 ms) with nfft 256, and of 200 (100 ms) with nfft 1024.
        let case = |singles| Case::new(10, 2000.0, singles);
        for (traces, frames) in [(0, 0), (299, 0), (300, 1), (399, 1), (400, 2), (2000, 18)] {
            assert_eq!(case(0).frames_expected(traces), frames, "{traces}");
        }
        // Ends at 1200, 1400, 1600, 1800, 2000.
        assert_eq!(case(3).frames_expected(2000), 18 + 3 * 5);
        // Lines of 128 traces (64 ms): ends at 256, 384, … 1920.
        let case = Case { line_period_ms: 64.0, ..case(0) };
        assert_eq!((case.frames_expected(255), case.frames_expected(2000)), (0, 14));
        // A line that ends exactly with the first window: 0.05 s at 5120 Hz are 256 traces.
        assert_eq!(Case::new(1, 5120.0, 0).frames_expected(256), 1);
        // Lines shorter and longer than whole traces: 7.8125 traces at 156.25 Hz.
        let odd = Case::new(1, 156.25, 0);
        let by_hand = (0u64..1000)
            .filter(|m| (256..=5000).contains(&((m + 1) as f64 * 7.8125).round().to_string().parse::<u64>().unwrap()));
        assert_eq!(odd.frames_expected(5000), by_hand.count() as u64);
    }
}
