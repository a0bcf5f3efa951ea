//! The table that a person reads, and in words whether the host keeps up.

use std::fmt::{self, Display, Write};

use super::{CaseReport, Frames, Host, Report, Traces};
use crate::bench::Case;

impl CaseReport {
    /// What the numbers mean, a sentence each. The first says whether the host keeps up.
    pub fn words(&self, broker: bool) -> Vec<String> {
        let mut words = Vec::new();
        let Traces { lost_before_ring, lapped, no_block, lost, marked, launched, told_before_ring, .. } = self.traces;
        let Frames { expected, made, dropped, confirmed, refused_or_unroutable, unconfirmed, received, .. } =
            self.frames;
        let frames_short = dropped + refused_or_unroutable + unconfirmed > 0 || (broker && confirmed < made);
        words.push(if lapped + no_block > 0 {
            format!("does not keep up: {} of {launched} traces lost in the daemon", lapped + no_block)
        } else if frames_short {
            "keeps up with the fiber, but not with the broker".into()
        } else if self.load.times_real_time > 0.0 {
            format!("keeps up; the pipeline would bear {:.1} times as much", self.load.times_real_time)
        } else {
            "nothing was seen".into()
        });
        if lapped > 0 {
            words.push(format!("{lapped} traces were overwritten in the ring: the capture thread came too late"));
        }
        if no_block > 0 {
            words.push(format!("{no_block} traces found no free block: the pipeline is too slow"));
        }
        if lost_before_ring > 0 {
            words.push(format!(
                "{lost_before_ring} traces were lost by the benchmark's producer, not by the daemon: this machine was too \
                 busy to make them"
            ));
        }
        if marked != lost {
            words.push(format!("{marked} traces are marked as missing in the data, {lost} are"));
        }
        if told_before_ring != lost_before_ring {
            words.push(format!(
                "the daemon tells of {told_before_ring} traces lost before the ring, the producer of {lost_before_ring}"
            ));
        }
        if lost == 0 && made != expected {
            words.push(format!("{made} frames were made, {expected} were expected"));
        }
        if broker && frames_short {
            words.push(format!(
                "{dropped} frames dropped before the broker, {refused_or_unroutable} refused or unroutable, \
                 {unconfirmed} without a confirm"
            ));
        }
        if self.cpu.others_percent + self.cpu.stolen_percent > BUSY_PERCENT {
            let cores = (self.cpu.others_percent + self.cpu.stolen_percent) / 100.0;
            words.push(format!(
                "other work took {cores:.1} cores meanwhile: on a quiet machine load and latency are lower"
            ));
        }
        if self.consumer_cut_off {
            words.push("the benchmark's consumer lost its connection".into());
        } else if broker && received != confirmed {
            words.push(format!("{received} frames reached the consumer, {confirmed} were confirmed"));
        }
        words
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels at {} Hz, waterfall every {} ms", self.channels, self.prr_hz, self.line_period_ms)?;
        if self.singles > 0 { write!(f, " and {} single channels", self.singles) } else { Ok(()) }
    }
}

/// A broker alone takes less of one core than this for what is published here.
const BUSY_PERCENT: f64 = 60.0;
/// Width of the names of rows, and of a case.
const NAME: usize = 34;
const COLUMN: usize = 20;

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { processor, cores } = &self.host;
        let threads = if self.threads == 0 { *cores } else { self.threads };
        writeln!(f, "fiberd {} on {}", self.version, processor.as_deref().unwrap_or("a processor without a name"))?;
        writeln!(f, "cores: {cores}, DSP threads: {threads}")?;
        match (&self.broker_absent, self.broker) {
            (Some(why), _) => writeln!(f, "{why}: frames were made and not published")?,
            (None, false) => writeln!(f, "no broker asked for: frames were made and not published")?,
            (None, true) => {}
        }
        if self.cases.is_empty() {
            return write!(f, "stopped before a case was whole");
        }
        for (name, cell) in rows(self.broker) {
            let mut line = format!("{name:<NAME$}");
            self.cases.iter().try_for_each(|case| write!(line, "{:>COLUMN$}", cell(case)))?;
            write!(f, "\n{}", line.trim_end())?;
        }
        writeln!(f, "\n")?;
        for case in &self.cases {
            let words = case.words(self.broker).join("\n  ");
            writeln!(f, "{} x {} Hz: {words}", case.channels, case.prr_hz)?;
        }
        if self.stopped {
            writeln!(f, "stopped: cases are missing")?;
        }
        write!(
            f,
            "\nTraces and frames: the whole run. Processor, load and latency: the measured seconds.\n\
             Percent of one core; that of others is rough. Times real time = 1 / mean pipeline load."
        )
    }
}

type Row = (&'static str, fn(&CaseReport) -> String);

fn rows(broker: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        ("channels x PRR", |c| format!("{} x {} Hz", c.channels, c.prr_hz)),
        ("views", |c| if c.singles > 0 { format!("waterfall + {}", c.singles) } else { "waterfall".into() }),
        ("lines of the waterfall", |c| format!("every {} ms", c.line_period_ms)),
        ("measured", |c| format!("{:.1} s", c.measured_s)),
        ("", |_| String::new()),
        ("processor: daemon", |c| percent(c.cpu.daemon_percent)),
        ("  producer", |c| percent(c.cpu.producer_percent)),
        ("  consumer and bench", |c| percent(c.cpu.bench_percent)),
        ("  others, broker among them", |c| percent(c.cpu.others_percent)),
        ("  kept back by the hypervisor", |c| percent(c.cpu.stolen_percent)),
        ("pipeline load, mean / max", |c| format!("{:.3} / {:.3}", c.load.mean, c.load.max)),
        ("times real time", |c| format!("{:.1}", c.load.times_real_time)),
        ("peak memory", |c| mib(c.memory.peak_rss_bytes)),
        ("  the ring in it", |c| mib(c.memory.shared_bytes)),
        ("", |_| String::new()),
        ("traces launched", |c| c.traces.launched.to_string()),
        ("  arrived in the pipeline", |c| c.traces.arrived.to_string()),
        ("  lost: lapped in the ring", |c| c.traces.lapped.to_string()),
        ("  lost: no free block", |c| c.traces.no_block.to_string()),
        ("  lost before the ring, by producer", |c| c.traces.lost_before_ring.to_string()),
        ("producer at most behind", |c| format!("{:.1} ms", c.producer.behind_most_ms)),
        ("", |_| String::new()),
        ("frames expected", |c| c.frames.expected.to_string()),
        ("  made", |c| c.frames.made.to_string()),
    ];
    if broker {
        let published: [Row; 8] = [
            ("  dropped before the broker", |c| c.frames.dropped.to_string()),
            ("  confirmed by the broker", |c| c.frames.confirmed.to_string()),
            ("  refused or unroutable", |c| c.frames.refused_or_unroutable.to_string()),
            ("  without a confirm", |c| c.frames.unconfirmed.to_string()),
            ("  received by the consumer", |c| c.frames.received.to_string()),
            ("trace in hand to confirm, 50 %", |c| below(c.latency.confirmed_p50_below_ms)),
            ("  99 %", |c| below(c.latency.confirmed_p99_below_ms)),
            ("launch to consumer, 50 / 99 %", |c| {
                let ms = |ms: Option<f64>| ms.map_or("-".into(), |ms| format!("{ms:.1}"));
                format!("{} / {} ms", ms(c.latency.delivered_p50_ms), ms(c.latency.delivered_p99_ms))
            }),
        ];
        rows.extend(published);
    }
    rows
}

fn percent(percent: f64) -> String {
    format!("{percent:.1} %")
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64)
}

fn below(edge_ms: Option<f64>) -> String {
    edge_ms.map_or("-".into(), |ms| format!("< {ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::super::{Cpu, Latency, Load, Memory, ProducerReport};
    use super::*;

    fn case() -> CaseReport {
        CaseReport {
            channels: 2337,
            prr_hz: 2000.0,
            singles: 8,
            line_period_ms: 50.0,
            measured_s: 20.0,
            cpu: Cpu { daemon_percent: 31.25, ..Cpu::default() },
            load: Load::of(&[0.25, 0.15]),
            producer: ProducerReport::default(),
            traces: Traces { launched: 48_000, arrived: 48_000, ..Traces::default() },
            frames: Frames { expected: 10, made: 10, published: 10, confirmed: 10, received: 10, ..Frames::default() },
            latency: Latency { confirmed_p50_below_ms: Some(5.0), ..Latency::default() },
            memory: Memory { peak_rss_bytes: 3 << 20, shared_bytes: 1 << 20 },
            consumer_cut_off: false,
        }
    }

    fn report(cases: Vec<CaseReport>, broker: bool) -> Report {
        Report {
            version: "0",
            host: Host { processor: None, cores: 2 },
            threads: 0,
            broker,
            broker_absent: None,
            stopped: false,
            cases,
        }
    }

    #[test]
    fn a_table_has_a_column_for_each_case_and_fits_a_hundred() {
        let text = report(vec![case(), case(), case()], true).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let row =
            |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        assert_eq!(row("processor: daemon").matches("31.2 %").count(), 3);
        assert_eq!(row("times real time").matches("5.0").count(), 3);
        assert_eq!(row("trace in hand").matches("< 5 ms").count(), 3);
        assert!(text.contains("2337 x 2000 Hz: keeps up; the pipeline would bear 5.0 times as much"), "{text}");
        let text = report(vec![case()], false).to_string();
        assert!(text.contains("not published") && !text.contains("confirm"), "{text}");
        let stopped = Report { stopped: true, ..report(vec![], true) }.to_string();
        assert!(stopped.contains("stopped"), "{stopped}");
    }

    #[test]
    fn losses_are_told_in_words_with_whose_they_are() {
        assert_eq!(case().words(true).len(), 1);
        let mut slow = case();
        slow.traces = Traces { lapped: 40, no_block: 60, lost: 100, marked: 100, ..slow.traces };
        let words = slow.words(true).join("\n");
        assert!(words.contains("does not keep up: 100 of 48000") && words.contains("60 traces found no"), "{words}");
        let mut starved = case();
        starved.traces = Traces { lost_before_ring: 7, told_before_ring: 7, lost: 7, marked: 7, ..starved.traces };
        let words = starved.words(true).join("\n");
        assert!(words.starts_with("keeps up;") && words.contains("7 traces were lost by the bench"), "{words}");
        let mut blocked = case();
        blocked.frames = Frames { dropped: 3, confirmed: 5, unconfirmed: 2, received: 5, ..blocked.frames };
        let words = blocked.words(true).join("\n");
        assert!(words.contains("but not with the broker") && words.contains("3 frames dropped"), "{words}");
        let mut busy = case();
        (busy.cpu.others_percent, busy.cpu.stolen_percent) = (100.0, 20.0);
        assert!(busy.words(true)[1].contains("1.2 cores"), "{:?}", busy.words(true));
        let mut odd = case();
        (odd.frames.made, odd.traces.marked, odd.frames.received) = (9, 5, 8);
        let words = odd.words(false).join("\n");
        assert!(words.contains("9 frames were made, 10") && words.contains("5 traces are marked"), "{words}");
        assert!(odd.words(true).join("\n").contains("8 frames reached the consumer, 10"));
    }
}
