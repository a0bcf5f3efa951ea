//! What people call things, and where they write them: attributes of the samples, of their group, of the root, or datasets
//! of a single value beside them.

use super::super::found::as_written;
use super::super::h5::{Attrs, H5};
use super::super::times::iso_to_ns;
use super::super::timing::{NO_STAMP, from_float_seconds};
use super::{MAX_DATASETS, around, path};
use crate::source::SourceError;

pub(super) const RATE: &[&str] =
    &["fs", "samplingrate", "samplingfrequency", "samplerate", "rate", "fshz", "samplingratehz"];
pub(super) const PERIOD: &[&str] = &["dt", "dts", "samplinginterval", "timestep", "deltat", "dtime", "sampleinterval"];
pub(super) const SPACING: &[&str] = &["dx", "dxm", "channelspacing", "spatialsampling", "spatialinterval", "ddistance"];
pub(super) const FIRST_DISTANCE: &[&str] = &["startdistance", "x0", "distancemin", "firstdistance"];
pub(super) const START: &[&str] = &["starttime", "t0", "begintime", "timemin", "timestart", "starttimeutc"];
pub(super) const GAUGE: &[&str] = &["gaugelength", "gaugelengthm", "gauge", "gl"];
pub(super) const UNIT: &[&str] = &["unit", "units", "dataunits", "dataunit"];
pub(super) const KIND: &[&str] = &["quantity", "datatype", "measurement", "dataproduct", "longname"];
const DIMENSIONS: &[&str] = &["dims", "dimensions", "dimensionlabels", "dimensionnames", "axes"];

/// A name without case, underscores and blanks.
pub(super) fn bare(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether this is one of these names.
pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.contains(&bare(name).as_str())
}

/// The column that has the first of these names that any has, and its length.
pub(super) fn one_of(names: &[&str], columns: &[(String, String, u64)]) -> Option<(String, u64)> {
    let named = |wanted: &&str| columns.iter().find(|(name, ..)| bare(name) == **wanted);
    names.iter().find_map(named).map(|(_, column, len)| (column.clone(), *len))
}

/// All that stands about the samples.
pub(super) struct Names {
    /// Nearest first.
    attrs: Vec<Attrs>,
    /// Name and path of datasets of a single value.
    single: Vec<(String, String)>,
}

impl Names {
    /// Reads the attributes of the dataset `data`, of its group and of the root.
    pub(super) fn read(file: &H5, group: &str, data: &str) -> Result<Self, SourceError> {
        let mut attrs = vec![file.dataset_attrs(data)?.unwrap_or_default()];
        let mut single = Vec::new();
        for group in around(group) {
            attrs.push(file.group_attrs(group)?.unwrap_or_default());
            for name in file.datasets(group)?.into_iter().take(MAX_DATASETS) {
                let shape = file.shape_of_numbers(&path(group, &name))?;
                if shape.is_some_and(|shape| shape.iter().all(|&n| n == 1)) {
                    single.push((bare(&name), path(group, &name)));
                }
            }
        }
        Ok(Self { attrs, single })
    }

    /// The nearest number that has one of these names.
    pub(super) fn number(&self, file: &H5, names: &[&str]) -> Result<Option<f64>, SourceError> {
        if let Some(found) = self.nearest(names, Attrs::number) {
            return Ok(Some(found));
        }
        let single = names.iter().find_map(|wanted| self.single.iter().find(|(name, _)| name == wanted));
        match single {
            Some((_, path)) => Ok(file.number(path)?.filter(|value| !value.is_nan())),
            None => Ok(None),
        }
    }

    /// The nearest text that has one of these names; empty when there is none.
    pub(super) fn text(&self, names: &[&str]) -> String {
        self.nearest(names, Attrs::text).unwrap_or_default()
    }

    /// When the samples begin, as far as that is said, in nanoseconds since the UNIX epoch.
    pub(super) fn start_ns(&self, file: &H5) -> Result<Option<i64>, SourceError> {
        if let Some(found) = self.nearest(START, |attrs, name| iso_to_ns(&attrs.text(name)?)) {
            return Ok(Some(found));
        }
        let seconds = self.number(file, START)?.map(as_written);
        Ok(seconds.map(from_float_seconds).filter(|&ns| ns != NO_STAMP))
    }

    /// Names of the dimensions of the samples.
    pub(super) fn dimensions(&self) -> Vec<String> {
        let mut names = self.nearest(DIMENSIONS, |attrs, name| Some(attrs.texts(name)).filter(|all| !all.is_empty()));
        if let Some([one]) = names.as_deref() {
            names = Some(one.split([',', ' ', '(', ')']).filter(|word| !word.is_empty()).map(str::to_owned).collect());
        }
        names.unwrap_or_default()
    }

    fn nearest<T>(&self, names: &[&str], get: impl Fn(&Attrs, &str) -> Option<T>) -> Option<T> {
        self.attrs.iter().find_map(|attrs| {
            let mut all: Vec<&str> = attrs.names().collect();
            all.sort_unstable();
            names.iter().find_map(|wanted| get(attrs, all.iter().find(|name| bare(name) == **wanted)?))
        })
    }
}
