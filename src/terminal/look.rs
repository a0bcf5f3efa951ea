//! What a person has chosen to see, and the keys that change it. Pure.

use super::pictures::{FIRST_ROW_TIME, ROW_TIMES_MS, Subject};
use super::text::short;

/// The keys, as the help shows them.
pub(super) const KEYS: [(&str, &str); 8] = [
    ("Tab", "waterfall, then the spectrogram of each channel that there is"),
    ("b", "next band of the waterfall"),
    ("n", "each place (or frequency) against its own mean: changes stand out"),
    ("+ -", "longer or shorter rows"),
    ("s", "save what is seen as PNG and NPY in this folder"),
    ("?", "this help"),
    ("q", "ends; so do Esc and Ctrl-C"),
    ("", "red, or !!!: no lines came; ! at the right edge: traces are missing"),
];

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    NextBand,
    Normalise,
    LongerRows,
    ShorterRows,
    NextView,
    Save,
    Help,
    Leave,
    /// The terminal has another size.
    Resized,
}

/// What a key asks of the screen's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Draw,
    Save,
    Leave,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// Which band, of those that there are.
    band: usize,
    /// Which channel's spectrogram; `None` is the waterfall.
    channel: Option<usize>,
    /// Each column against its own mean.
    pub(super) normalised: bool,
    /// Number of the row time.
    pub(super) row_time: usize,
    /// The help stands in place of the picture.
    pub(super) help: bool,
    /// An answer to the last key.
    pub(super) message: Option<String>,
}

impl Look {
    pub(super) fn new() -> Self {
        Self { band: 0, channel: None, normalised: false, row_time: FIRST_ROW_TIME, help: false, message: None }
    }

    /// Which of `subjects` is seen.
    pub(super) fn subject<'a>(&self, subjects: &'a [Subject]) -> Option<&'a Subject> {
        let channel = self.channel.and_then(|number| channels(subjects).nth(number));
        channel.or_else(|| bands(subjects).nth(self.band)).or_else(|| subjects.first())
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key, subjects: &[Subject]) -> Action {
        self.message = None;
        match key {
            Key::Leave => return Action::Leave,
            Key::Save => return Action::Save,
            Key::Resized => {}
            Key::Help => self.help = !self.help,
            Key::Normalise => self.normalised = !self.normalised,
            Key::NextBand => self.next_band(bands(subjects).count()),
            Key::NextView => self.next_view(channels(subjects).count()),
            Key::LongerRows => self.row_time((self.row_time + 1).min(ROW_TIMES_MS.len() - 1)),
            Key::ShorterRows => self.row_time(self.row_time.saturating_sub(1)),
        }
        Action::Draw
    }

    fn next_band(&mut self, count: usize) {
        self.channel = None;
        if count < 2 {
            self.message = Some("there is no other band".into());
        } else {
            self.band = (self.band + 1) % count;
        }
    }

    fn next_view(&mut self, count: usize) {
        let next = self.channel.map_or(0, |number| number + 1);
        self.channel = (next < count).then_some(next);
        if count == 0 {
            self.message = Some("no channel has a spectrogram".into());
        }
    }

    fn row_time(&mut self, number: usize) {
        self.row_time = number;
        self.message = Some(format!("a row is {} s", short(ROW_TIMES_MS[number] as f64 / 1000.0)));
    }
}

fn bands(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    subjects.iter().filter(|subject| matches!(subject, Subject::Band(..)))
}

fn channels(subjects: &[Subject]) -> impl Iterator<Item = &Subject> {
    subjects.iter().filter(|subject| matches!(subject, Subject::Channel(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_choose_among_what_there_is() {
        let all = [Subject::Band(0, 5.0, 200.0), Subject::Band(1, 5.0, 50.0), Subject::Channel(7), Subject::Channel(9)];
        let mut look = Look::new();
        let mut seen = |key: Key, subjects: &[Subject]| {
            let action = look.press(key, subjects);
            (action, look.subject(subjects).cloned(), look.message.clone())
        };
        assert_eq!(seen(Key::NextBand, &all), (Action::Draw, Some(all[1].clone()), None));
        assert_eq!(seen(Key::NextView, &all).1, Some(all[2].clone()));
        assert_eq!(seen(Key::NextView, &all).1, Some(all[3].clone()));
        assert_eq!(seen(Key::NextView, &all).1, Some(all[1].clone()), "back to the band that was seen");
        assert_eq!(seen(Key::NextBand, &all).1, Some(all[0].clone()));
        // A channel that has gone, and a fiber without any.
        assert_eq!(seen(Key::NextView, &all).1, Some(all[2].clone()));
        assert_eq!(seen(Key::Normalise, &all[..2]).1, Some(all[0].clone()));
        let (_, subject, message) = seen(Key::NextView, &[]);
        assert!(subject.is_none() && message.is_some());
        assert_eq!(seen(Key::Save, &all).0, Action::Save);
        assert_eq!(seen(Key::Leave, &all).0, Action::Leave);
    }

    #[test]
    fn row_times_end_at_both_ends() {
        let mut look = Look::new();
        for _ in 0..20 {
            look.press(Key::LongerRows, &[]);
        }
        assert_eq!(look.message.as_deref(), Some("a row is 30 s"));
        for _ in 0..20 {
            look.press(Key::ShorterRows, &[]);
        }
        assert_eq!((look.row_time, look.message.as_deref()), (0, Some("a row is 0.1 s")));
    }
}
