//! What is asked for, and whether it can be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ExportError;
use super::samples::Selection;
use crate::acquisition::{Acquisition, SampleFormat};
use crate::source::replay::{Contents, Replay, contents, file_of};

/// Channels of a WAV file and columns of a CSV file, at most.
const MOST_CHANNELS: usize = 64;
/// Bytes of samples that a WAV file can hold.
const WAV_BYTES: u64 = (u32::MAX - 1024) as u64;

/// What files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PRODML 2.1 in HDF5, one file for every stretch without a gap.
    Prodml,
    /// A NumPy array, traces × channels, one file for every stretch without a gap.
    Npy,
    /// The same with times and distances, in one archive.
    Npz,
    /// Sound, one file for every stretch without a gap.
    Wav,
    /// A line of text for every trace: UTC and the value of each channel.
    Csv,
    /// A picture of everything.
    Png,
}

impl Format {
    /// Every format, by the name that the command line knows.
    pub const ALL: [(&'static str, Self); 6] = [
        ("prodml", Self::Prodml),
        ("npy", Self::Npy),
        ("npz", Self::Npz),
        ("wav", Self::Wav),
        ("csv", Self::Csv),
        ("png", Self::Png),
    ];

    /// What its files are called.
    const fn extension(self) -> &'static str {
        match self {
            Self::Prodml => "h5",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Wav => "wav",
            Self::Csv => "csv",
            Self::Png => "png",
        }
    }

    /// Whether a file of it cannot say where traces are missing.
    pub(super) const fn is_split_at_gaps(self) -> bool {
        !matches!(self, Self::Csv | Self::Png)
    }
}

/// What to write of which captures.
#[derive(Clone, Debug)]
pub struct Request {
    /// Captures, in order of time.
    pub files: Vec<PathBuf>,
    /// What to make of them.
    pub to: Format,
    /// The file to write; when there are several, the others are numbered. By default named after the first capture, in
    /// the working directory.
    pub out: Option<PathBuf>,
    /// Whether files that are there already are written over.
    pub force: bool,
    /// Counts as they are stored, instead of the quantity that they stand for.
    pub raw: bool,
    /// First and last channel, from 1.
    pub channels: Option<(usize, usize)>,
    /// From this UTC on, in nanoseconds.
    pub from_ns: Option<i64>,
    /// Up to before this UTC, in nanoseconds.
    pub until_ns: Option<i64>,
    /// So much from the beginning on.
    pub length: Option<Duration>,
}

impl Request {
    /// The captures, cut to the time that is asked for.
    pub(super) fn open(&self) -> Result<Replay, ExportError> {
        let mut from = self.from_ns.unwrap_or(i64::MIN);
        if self.length.is_some() && self.from_ns.is_none() {
            from = contents(&self.files)?
                .iter()
                .flat_map(|epoch| &epoch.stretches)
                .map(|&(from, _)| from)
                .min()
                .unwrap_or(0);
        }
        let length_ns = |length: Duration| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        let until = match (self.until_ns, self.length) {
            (Some(until), _) => until,
            (None, Some(length)) => from.saturating_add(length_ns(length)),
            (None, None) => i64::MAX,
        };
        if until <= from {
            return Err(ExportError::Wrong("the end of the time that is asked for is not behind its beginning".into()));
        }
        Ok(Replay::open_span(&self.files, &(from..until))?)
    }

    /// The channels that are asked for, when all can be done.
    pub(super) fn check(&self, contents: &[Contents]) -> Result<Selection, ExportError> {
        let wrong = |text: String| Err(ExportError::Wrong(text));
        let Some(first) = contents.first() else { return wrong("there is not one trace to export".into()) };
        let a = &first.acquisition;
        if contents.iter().any(|epoch| epoch.acquisition.channels != a.channels) {
            return wrong("the captures have different numbers of channels: export them one by one".into());
        }
        // One file of these holds all captures, or all are drawn to one scale.
        let is_common = matches!(self.to, Format::Png | Format::Csv | Format::Wav);
        let is_other =
            |b: &Acquisition| b.unit != a.unit || (self.to == Format::Wav && b.scale.to_bits() != a.scale.to_bits());
        if is_common && contents.iter().any(|epoch| is_other(&epoch.acquisition)) {
            return wrong("the captures have different units or scales: export them one by one".into());
        }
        let (low, high) = self.channels.unwrap_or((1, a.channels));
        if low == 0 || high < low || high > a.channels {
            return wrong(format!("channels {low}..{high} are asked for, there are 1..{}", a.channels));
        }
        let selection = Selection { first: low - 1, count: high + 1 - low };
        let is_energy = contents.iter().any(|epoch| epoch.acquisition.band.is_some());
        if is_energy && matches!(self.to, Format::Prodml | Format::Wav) {
            let text = "the captures have lines of band energy and no samples, which such a file would be taken for; --to npz, csv and png can hold them";
            return wrong(text.into());
        }
        let name = match self.to {
            Format::Wav => "a WAV file",
            Format::Csv => "a CSV file",
            _ => return self.check_prodml(contents, selection),
        };
        if is_complex(contents) {
            return wrong(format!("{name} cannot hold complex samples; --to npy can"));
        }
        if selection.count > MOST_CHANNELS {
            return wrong(format!(
                "{} channels are too many for {name}, which has {MOST_CHANNELS} at most: choose with --channel or --channels",
                selection.count
            ));
        }
        let longest = contents.iter().map(|epoch| epoch.traces).max().unwrap_or(0);
        if self.to == Format::Wav && longest.saturating_mul(3 * selection.count as u64) > WAV_BYTES {
            return wrong("more than the 4 GB that a WAV file can hold: fewer channels, or less time".into());
        }
        Ok(selection)
    }

    fn check_prodml(&self, contents: &[Contents], selection: Selection) -> Result<Selection, ExportError> {
        let of_one_spacing = |epoch: &Contents| selection.of(&epoch.acquisition).regions.is_empty();
        match self.to {
            Format::Prodml if is_complex(contents) => {
                Err(ExportError::Wrong("PRODML cannot hold complex samples; --to npy can".into()))
            }
            Format::Prodml if !contents.iter().all(of_one_spacing) => Err(ExportError::Wrong(
                "channels lie in several regions, and PRODML knows one spacing only: choose those of one with --channels"
                    .into(),
            )),
            _ => Ok(selection),
        }
    }

    /// The name of a file, by its number from 1.
    pub(super) fn name(&self, number: usize) -> PathBuf {
        let first = self.out.clone().unwrap_or_else(|| {
            let file = self.files.first().map(|file| file_of(file)).unwrap_or_default();
            let mut name = file.file_stem().unwrap_or_default().to_owned();
            name.push(".");
            name.push(self.to.extension());
            name.into()
        });
        if number == 1 {
            return first;
        }
        let mut name = first.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{number}"));
        if let Some(extension) = first.extension() {
            name.push(".");
            name.push(extension);
        }
        first.with_file_name(name)
    }

    /// Whatever is forced: what is read is never written over.
    pub(super) fn must_not_be_a_capture(&self, name: &Path) -> Result<(), ExportError> {
        let Ok(name) = name.canonicalize() else { return Ok(()) };
        if self.files.iter().any(|file| file_of(file).canonicalize().is_ok_and(|file| file == name)) {
            return Err(ExportError::Wrong(format!(
                "{} is read, so it cannot be written: -o names another",
                name.display()
            )));
        }
        Ok(())
    }

    /// The captures, for people.
    pub(super) fn title(&self) -> String {
        let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match &self.files[..] {
            [] => String::new(),
            [one] => name(one),
            [first, rest @ ..] => format!("{} and {} more", name(first), rest.len()),
        }
    }
}

fn is_complex(contents: &[Contents]) -> bool {
    contents.iter().any(|epoch| epoch.acquisition.sample_format == SampleFormat::Iq16)
}
