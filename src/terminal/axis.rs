//! Ticks and labels below a picture.

use super::picture::Axis;

impl Axis {
    /// Left and right edge.
    pub(super) const fn edges(self) -> (f64, f64) {
        match self {
            Self::Distance(start, end) | Self::Frequency(start, end) | Self::Channel(start, end) => (start, end),
        }
    }

    /// Of the edges.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Distance(..) => "m",
            Self::Frequency(..) => "Hz",
            Self::Channel(..) => "(channel)",
        }
    }

    fn label(self, value: f64, step: f64) -> String {
        match self {
            Self::Distance(..) => scaled(value, step, "m", "km"),
            Self::Frequency(..) => scaled(value, step, "Hz", "kHz"),
            Self::Channel(..) => format!("ch {value:.0}"),
        }
    }

    /// Two lines of `cells` columns: ticks in steps of 1, 2 or 5, and their labels.
    pub(super) fn ticks(self, cells: usize) -> (String, String) {
        let (start, end) = self.edges();
        let span = end - start;
        if !(span.is_finite() && span > 0.0) {
            return ("─".repeat(cells), String::new());
        }
        let step = round_step(span, (cells / 12).max(1));
        let (mut ticks, mut labels) = (vec!['─'; cells], String::new());
        // Adding zero takes the sign away from -0.
        let mut k = (start / step).ceil() + 0.0;
        while k * step < end {
            let at = (((k * step - start) / span) * cells as f64) as usize;
            let label = self.label(k * step, step);
            let used = labels.chars().count();
            if at < cells {
                ticks[at] = '┴';
                // A label stands where its tick stands, or not at all.
                if used <= at && at + label.chars().count() <= cells {
                    labels.push_str(&" ".repeat(at - used));
                    labels.push_str(&label);
                }
            }
            k += 1.0;
        }
        (ticks.into_iter().collect(), labels)
    }
}

/// 1, 2 or 5 times a power of ten, so that about `wanted` steps make `span`.
fn round_step(span: f64, wanted: usize) -> f64 {
    let rough = span / wanted as f64;
    let decade = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * decade).find(|step| *step >= rough).unwrap_or(rough)
}

fn scaled(value: f64, step: f64, unit: &str, thousands: &str) -> String {
    if step >= 1000.0 || value >= 10_000.0 {
        let digits = usize::from(step < 1000.0) + usize::from(step < 100.0);
        format!("{:.digits$} {thousands}", value / 1000.0)
    } else {
        let digits = usize::from(step < 1.0);
        format!("{value:.digits$} {unit}")
    }
}
