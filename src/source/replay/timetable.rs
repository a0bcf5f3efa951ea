//! Where a replay is: the file and the place in it that belong to a time of its data.

use super::playlist::Playlist;

/// A file of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    start_ns: i64,
    end_ns: i64,
}

/// When the data of each file begin and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    files: Vec<Entry>,
    start_ns: i64,
    /// From one round of a loop to the next.
    span_ns: i64,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place<'a> {
    /// Name of the file, without its folder.
    pub file: &'a str,
    /// Seconds from its beginning.
    pub at_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
}

impl Timetable {
    pub(super) fn of(playlist: &Playlist) -> Self {
        let mut files = Vec::new();
        for (number, path) in playlist.files.iter().enumerate() {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let parts = playlist.epochs.iter().flat_map(|epoch| epoch.parts.iter().map(move |part| (epoch, part)));
            let times = parts.filter(|(_, part)| part.file == number).map(|(epoch, part)| {
                let utc_ns = |row| part.utc_ns(&epoch.acquisition, row);
                (utc_ns(part.first_row), utc_ns(part.first_row + part.rows))
            });
            let span = times.reduce(|(start, end), (next_start, next_end)| (start.min(next_start), end.max(next_end)));
            files.extend(span.map(|(start_ns, end_ns)| Entry { name, start_ns, end_ns }));
        }
        let start_ns = files.iter().map(|entry| entry.start_ns).min().unwrap_or(0);
        Self { files, start_ns, span_ns: playlist.span_ns() }
    }

    /// Where the trace of this UTC is, in whatever round of a loop.
    pub fn place(&self, utc_ns: i64) -> Option<Place<'_>> {
        let utc_ns = self.start_ns.saturating_add(utc_ns.saturating_sub(self.start_ns).rem_euclid(self.span_ns));
        let entry = self.files.iter().find(|entry| (entry.start_ns..=entry.end_ns).contains(&utc_ns))?;
        Some(Place {
            file: &entry.name,
            at_s: seconds(entry.start_ns, utc_ns),
            length_s: seconds(entry.start_ns, entry.end_ns),
        })
    }
}

/// From one time to another, which may lie at both ends of what there is in a damaged file.
fn seconds(from_ns: i64, to_ns: i64) -> f64 {
    (i128::from(to_ns) - i128::from(from_ns)) as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_names_its_file_in_every_round() {
        let entry = |name: &str, start_s: i64, end_s: i64| Entry {
            name: name.into(),
            start_ns: start_s * 1_000_000_000,
            end_ns: end_s * 1_000_000_000,
        };
        let table = Timetable {
            files: vec![entry("a.h5", 100, 110), entry("b.h5", 120, 140)],
            start_ns: 100_000_000_000,
            span_ns: 40_000_000_000,
        };
        let place = |s: i64| table.place(s * 1_000_000_000).map(|p| (p.file, p.at_s as i64, p.length_s as i64));
        assert_eq!(place(103), Some(("a.h5", 3, 10)));
        assert_eq!(place(125), Some(("b.h5", 5, 20)));
        assert_eq!(place(100 + 3 * 40 + 25), Some(("b.h5", 5, 20)), "the fourth round");
        assert_eq!(place(115), None, "between two files");
    }
}
