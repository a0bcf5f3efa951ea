//! A checked job: which views the pipeline is asked for, and what the client is told about it. Pure.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::cost::{Cost, Lines};
use crate::config::ViewConfig;
use crate::dsp::{bin_hz, bins_in_range};
use crate::feed::Limits;
use crate::frame::{Dtype, View};
use crate::pipeline::cost::Rates;
use crate::units::Rational;

/// Streams of a job at most.
const STREAMS: usize = 3;

/// A job that can be had.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPlan {
    /// Its view but for name and channels.
    pub pattern: ViewConfig,
    /// From 1, both ends included.
    pub channels: RangeInclusive<usize>,
    /// Pulse repetition rate that it was planned for, Hz.
    pub prr: Rational,
    /// What its client calls channel 1.
    pub first_channel: usize,
    /// Streams, as many as long as it lives.
    pub stream_count: usize,
    /// Unit of its values, and of the samples that they are made of; empty until the pipeline has said it.
    pub unit: String,
    /// See `unit`.
    pub sample_unit: String,
}

/// Where a client finds a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http`, or `https` where streams have TLS.
    pub scheme: &'static str,
    /// Host, as the client writes it.
    pub host: String,
    /// Port of its streams.
    pub port: u16,
}

impl JobPlan {
    /// Takes over what has been checked.
    pub(super) fn new(
        pattern: ViewConfig,
        channels: RangeInclusive<usize>,
        prr: Rational,
        first_channel: usize,
    ) -> Self {
        let stream_count = STREAMS.min(channels.clone().count()).max(1);
        let (unit, sample_unit) = (String::new(), String::new());
        Self { pattern, channels, prr, first_channel, stream_count, unit, sample_unit }
    }

    /// Kind of view.
    pub const fn view(&self) -> View {
        self.pattern.view
    }

    /// The frequencies that it covers, Hz: of a waterfall, its band.
    pub fn range_hz(&self) -> (f64, f64) {
        match self.pattern.view {
            View::Waterfall => self.pattern.bands_hz.first().copied().unwrap_or((0.0, 0.0)),
            View::Single | View::Multi => self.pattern.frequency_range_hz.unwrap_or((0.0, self.prr.to_f64() / 2.0)),
        }
    }

    /// Frequencies of the bins in Hz; of a waterfall those that its band is made of, of band energy that the interrogator
    /// computed, of which nobody knows them, the edges of the band.
    pub fn frequencies(&self) -> Vec<f64> {
        let ((min, max), prr_hz, nfft) = (self.range_hz(), self.prr.to_f64(), self.pattern.nfft);
        if self.shows_energies() {
            return vec![min, max];
        }
        bins_in_range(min, max, prr_hz, nfft).map(|bin| bin_hz(bin, prr_hz, nfft)).collect()
    }

    /// Values in a line of one channel.
    pub fn bins_per_channel(&self) -> usize {
        let ((min, max), prr_hz) = (self.range_hz(), self.prr.to_f64());
        match self.pattern.view {
            View::Waterfall => 1,
            View::Single | View::Multi => bins_in_range(min, max, prr_hz, self.pattern.nfft).len(),
        }
    }

    /// Channels of each stream, from 1: neighbours, as even as can be, longer ones first.
    pub fn streams(&self) -> Vec<RangeInclusive<usize>> {
        let channels = self.channels.clone().count();
        let parts = self.stream_count;
        let mut start = *self.channels.start();
        let part = |number: usize| {
            let len = channels / parts + usize::from(number < channels % parts);
            let part = start..=start + len - 1;
            start += len;
            part
        };
        (0..parts).map(part).collect()
    }

    /// What the pipeline is asked for: one view a stream.
    pub fn views(&self, job: &str) -> Vec<ViewConfig> {
        let view = |channels: RangeInclusive<usize>| ViewConfig {
            name: job.to_owned(),
            channel_min: *channels.start(),
            channel_max: Some(*channels.end()),
            ..self.pattern.clone()
        };
        self.streams().into_iter().map(view).collect()
    }

    /// Whether it shows band energies as the interrogator computed them: then a window is one trace.
    const fn shows_energies(&self) -> bool {
        self.pattern.nfft == 1
    }

    /// Bins that its values are made of.
    pub fn bins(&self) -> Range<usize> {
        if self.shows_energies() {
            return 0..1;
        }
        let ((min, max), prr_hz) = (self.range_hz(), self.prr.to_f64());
        bins_in_range(min, max, prr_hz, self.pattern.nfft)
    }

    /// What it asks of this machine, about, when work costs there what `rates` say.
    pub fn cost(&self, rates: &Rates) -> Cost {
        Cost::of(self, rates)
    }

    /// What its streams may hold for readers.
    pub fn feed_limits(&self) -> Limits {
        self.lines().limits
    }

    fn lines(&self) -> Lines {
        Lines::of(
            self.channels.clone().count() * self.bins_per_channel(),
            self.streams().len(),
            self.pattern.line_period_s,
        )
    }

    /// How far its readers may be behind before they lose lines, when feeds may use `share` of their limits.
    pub fn reader_lag(&self, share: f64) -> Duration {
        // In whole milliseconds: nobody cares for less, and the description changes as seldom as can be.
        Duration::from_millis(self.lines().lag.mul_f64(share.clamp(0.0, 1.0)).as_millis() as u64)
    }

    /// The job object.
    pub fn describe(&self, job: &str, address: &Address, reader_lag: Duration) -> ConfigureResponse {
        let (frequencies_list, streams) = (self.frequencies(), self.streams());
        ConfigureResponse {
            status: "success",
            job_id: job.to_owned(),
            view_type: self.pattern.view as u8,
            channel_amount: self.channels.clone().count(),
            frequencies_amount: frequencies_list.len(),
            stream_amount: streams.len(),
            frequencies_list,
            lines_dt: self.pattern.line_period_s.to_f64(),
            channel_to_stream_index: StreamOfChannel { streams, first_channel: self.first_channel },
            stream_url: format!("{}://{}", address.scheme, address.host),
            stream_port: address.port,
            reader_lag_s: reader_lag.as_secs_f64(),
            value: self.pattern.value.name(),
            unit: self.unit.clone(),
            sample_unit: self.sample_unit.clone(),
            dtype: if self.pattern.dtype == Dtype::F32 { "f32" } else { "f16" },
        }
    }
}

/// A job as its client sees it, the answer to `POST /configure` and `GET /metadata/{job_id}`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConfigureResponse {
    /// Always `success`.
    #[schema(value_type = String, example = "success")]
    pub status: &'static str,
    /// `<slot>-<counter>`; of a task of an older client its own id.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$", example = "1-17")]
    pub job_id: String,
    /// 0 several channels, 1 a single channel, 2 waterfall.
    #[schema(minimum = 0, maximum = 2)]
    pub view_type: u8,
    /// Channels.
    #[schema(minimum = 1)]
    pub channel_amount: usize,
    /// Length of `frequencies_list`.
    #[schema(minimum = 1)]
    pub frequencies_amount: usize,
    /// Streams.
    #[schema(minimum = 1, maximum = 3)]
    pub stream_amount: usize,
    /// Hz; of a waterfall the frequencies whose energy is shown, or the two edges of a band whose energy a capture has.
    pub frequencies_list: Vec<f64>,
    /// Seconds from line to line.
    pub lines_dt: f64,
    /// The stream of each channel.
    #[schema(value_type = HashMap<String, u32>)]
    pub channel_to_stream_index: StreamOfChannel,
    /// Host of the streams.
    #[schema(example = "http://127.0.0.1")]
    pub stream_url: String,
    /// Port of the streams.
    pub stream_port: u16,
    /// Seconds that a reader or a client that polls may be behind before it loses lines; shorter while many read much.
    #[schema(minimum = 0.0)]
    pub reader_lag_s: f64,
    /// What its values are: always `amplitude`, the square root of power.
    #[schema(value_type = String, example = "amplitude")]
    pub value: &'static str,
    /// Unit of its values by every door: that of the samples, or a power of ten of it in which they can be told as
    /// float16. It stays the same as long as the job lives.
    #[schema(example = "nstrain/s")]
    pub unit: String,
    /// Unit of the samples that they are made of.
    #[schema(example = "strain/s")]
    pub sample_unit: String,
    /// How values are stored in its frames, by WebSocket and RabbitMQ: `f16` with a scale in each frame, or `f32`.
    #[schema(value_type = String, example = "f16")]
    pub dtype: &'static str,
}

/// The map from channel to stream, without an entry of its own for each of thousands of channels.
#[derive(Clone, Debug)]
pub struct StreamOfChannel {
    streams: Vec<RangeInclusive<usize>>,
    first_channel: usize,
}

impl Serialize for StreamOfChannel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let len = self.streams.iter().map(|stream| stream.clone().count()).sum();
        let mut map = serializer.serialize_map(Some(len))?;
        for (number, stream) in self.streams.iter().enumerate() {
            for channel in stream.clone() {
                map.serialize_entry(&(channel - 1 + self.first_channel), &number)?;
            }
        }
        map.end()
    }
}
