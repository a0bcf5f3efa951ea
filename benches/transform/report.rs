//! What was measured, as a table on the terminal and as a page with a picture beside this file.

use std::fmt::Write as _;
use std::path::Path;

use crate::sharing::Sharing;
use crate::work::Workload;
use crate::{Growth, Overlap};

/// A contender's times.
pub struct Row {
    pub name: String,
    pub seconds: Vec<f64>,
}

impl Row {
    pub const fn new(name: String) -> Self {
        Self { name, seconds: Vec::new() }
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Median over the rounds of `a / b`, both of the same round.
fn ratio(a: &Row, b: &Row) -> f64 {
    median(&a.seconds.iter().zip(&b.seconds).map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// Everything that was measured, as Markdown.
pub struct Page {
    text: String,
    picture: Option<String>,
}

impl Page {
    pub fn new(instruction_set: &str, lanes: usize, rounds: usize) -> Self {
        let text = format!(
            "# The transform stage beside its peers\n\n\
             Written by `cargo bench --bench transform --features bench-fftw -- --save`. Kernel: {instruction_set}, {lanes} \
             channels at once; one thread unless said; {rounds} rounds in turns of at least 80 ms after a pass that is not \
             measured, medians; ratios are medians of the ratios within a round. Machines differ and are shared: read the ratios.\n"
        );
        print!("{text}");
        Self { text, picture: None }
    }

    fn add(&mut self, text: &str) {
        print!("{text}");
        self.text += text;
    }

    pub fn workload(&mut self, workload: &Workload, rows: &[Row]) {
        let what = match workload.output() {
            fiberd::dsp::Output::BandEnergy(_) => "band energy 5–200 Hz".into(),
            output => format!("dB of {} bins", output.values_per_channel()),
        };
        let mut text = format!(
            "\n## {}: {} channels × {} Hz, nfft {} every {}, {what}\n\n\
             | | M samples/s | × real time | fiberd is … times as fast | of the ceiling |\n|---|---|---|---|---|\n",
            workload.name,
            workload.channels,
            workload.prr_hz,
            workload.spec.nfft,
            workload.hop(),
        );
        let ours = &rows[1];
        for row in rows {
            let rate = workload.samples() / median(&row.seconds);
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.2} | {:.1} % |",
                row.name,
                rate / 1e6,
                workload.real_time(rate),
                ratio(row, ours),
                100.0 * ratio(&rows[0], row),
            );
        }
        self.add(&text);
    }

    pub fn overlap(&mut self, cases: &[Overlap]) {
        let mut text = String::from(
            "\n## A line every few traces at nfft 1024 (98 and 99 % overlap), dB, ns a sample\n\n\
             | channels | hop | bins | fiberd | each window by itself, same rounds | ratio | cost model of a plain \
             kernel on a quiet core | ratio |\n|---|---|---|---|---|---|---|---|\n",
        );
        for case in cases {
            let Overlap { channels, hop, bins, ns_per_sample: ours, whole_ns_per_sample: whole, .. } = case;
            let model = case.model_ns_per_sample;
            let _ = writeln!(
                text,
                "| {channels} | {hop} | {bins} | {ours:.2} | {whole:.2} | {:.2} | {model:.2} | {:.2} |",
                whole / ours,
                model / ours,
            );
        }
        self.add(&text);
    }

    pub fn sharing(&mut self, sharing: &Sharing) {
        let Sharing { four, two_hundred } = sharing;
        let text = format!(
            "\n## 200 live jobs of the display kind (nfft 1024, 50 channels, 100 lines/s) beside four\n\n\
             | jobs | settings | DSP, % of one core |\n|---|---|---|\n| 4 | 4 | {:.2} |\n| 200 | 4 | {:.2} |\n\n\
             Ratio of the same rounds: {:.2}.\n",
            100.0 * median(four),
            100.0 * median(two_hundred),
            median(&two_hundred.iter().zip(four).map(|(a, b)| a / b).collect::<Vec<_>>()),
        );
        self.add(&text);
    }

    pub fn growth(&mut self, all: &[Growth]) {
        let mut text = String::from("\n## Cost as window and fiber grow (band energy, half-overlapping windows)\n\n");
        for (over, heading) in [("nfft", "1024 channels, nfft"), ("channels", "nfft 256, channels")] {
            let of: Vec<_> = all.iter().filter(|g| g.over == over).collect();
            let Some(first) = of.first() else { continue };
            let _ = write!(text, "ns a sample; {heading} ");
            let xs = first.points.iter().map(|(x, _)| x.to_string()).collect::<Vec<_>>().join(" | ");
            let _ = write!(text, "→\n\n| | {xs} |\n|---|{}\n", "---|".repeat(first.points.len()));
            for growth in of {
                let ys = growth.points.iter().map(|(_, y)| format!("{y:.2}")).collect::<Vec<_>>().join(" | ");
                let _ = writeln!(text, "| {} | {ys} |", growth.name);
            }
            text.push('\n');
        }
        text += "![cost over window length and channels](transform.svg)\n";
        self.add(&text);
        self.picture = Some(picture(all));
    }

    pub fn save(&self) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/transform");
        std::fs::write(here.join("TRANSFORM.md"), &self.text).expect("the page can be written");
        if let Some(picture) = &self.picture {
            std::fs::write(here.join("transform.svg"), picture).expect("the picture can be written");
        }
        eprintln!("written: benches/transform/TRANSFORM.md and its picture");
    }
}

const COLOURS: [&str; 5] = ["#0072b2", "#999999", "#d55e00", "#009e73", "#cc79a7"];

/// Two logarithmic plots side by side.
fn picture(all: &[Growth]) -> String {
    let (width, height, margin) = (420.0, 300.0, 50.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * width,
        height + 20.0 * 3.0,
    );
    let largest = all.iter().flat_map(|g| &g.points).map(|p| p.1).fold(1.0, f64::max);
    let smallest = all.iter().flat_map(|g| &g.points).map(|p| p.1).fold(largest, f64::min);
    let (low, high) = (smallest.log10().floor(), largest.log10().ceil());
    for (panel, over) in ["nfft", "channels"].into_iter().enumerate() {
        let of: Vec<_> = all.iter().filter(|g| g.over == over).collect();
        let Some(first) = of.first() else { continue };
        let left = panel as f64 * width + margin;
        let (from, to) = (first.points[0].0 as f64, first.points[first.points.len() - 1].0 as f64);
        let x = |v: usize| left + (v as f64 / from).log10() / (to / from).log10() * (width - margin - 20.0);
        let y = |v: f64| 15.0 + (high - v.log10()) / (high - low) * (height - margin);
        for decade in low as i32..=high as i32 {
            let value = 10f64.powi(decade);
            let _ = writeln!(
                svg,
                "<line x1=\"{left:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                left + width - margin - 20.0,
                left - 5.0,
                y(value) + 4.0,
                y = y(value),
            );
        }
        for (value, _) in &first.points {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
                x(*value),
                height - margin + 32.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}, ns a sample</text>",
            left + (width - margin) / 2.0,
            height,
            if over == "nfft" { "window length nfft, 1024 channels" } else { "channels, nfft 256" },
        );
        for (growth, colour) in of.iter().zip(COLOURS) {
            let points = growth.points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b)));
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                points.collect::<Vec<_>>().join(" ")
            );
        }
        if panel == 0 {
            for (i, (growth, colour)) in of.iter().zip(COLOURS).enumerate() {
                let (column, row) = ((i % 3) as f64, (i / 3) as f64);
                let (at, line) = (margin + column * 250.0, height + 20.0 + row * 18.0);
                let _ = writeln!(
                    svg,
                    "<line x1=\"{at}\" x2=\"{}\" y1=\"{line}\" y2=\"{line}\" stroke=\"{colour}\" stroke-width=\"3\"/>\
                     <text x=\"{}\" y=\"{}\">{}</text>",
                    at + 20.0,
                    at + 26.0,
                    line + 4.0,
                    growth.name
                );
            }
        }
    }
    svg + "</svg>\n"
}
