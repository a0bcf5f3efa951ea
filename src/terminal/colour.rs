//! Colours of a terminal: which it has, and how it shows those of the pictures.

use std::fmt::Write as _;

pub(super) use crate::colour::{GAP, Rgb, map};

/// The map for terminals with 256 colours, from low to high. Rounding [`map`] to the nearest of the 256 would not rise
/// everywhere, so these were chosen by hand: each is brighter than the one before, and a test holds that.
const MAP_256: [u8; 12] = [17, 18, 54, 55, 56, 61, 66, 72, 77, 149, 221, 227];

/// The map without colours: denser is more.
const MAP_LETTERS: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// No colours: letters only.
    None,
    /// The 256 of xterm.
    Indexed,
    /// 24 bits.
    True,
}

/// A colour as it is sent to a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Index(u8),
    Rgb(Rgb),
}

impl Colours {
    /// By the usual variables: `NO_COLOR`, `COLORTERM`, `TERM`.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let has = |name: &str, word: &str| variable(name).is_some_and(|text| text.contains(word));
        if variable("NO_COLOR").is_some_and(|text| !text.is_empty()) || variable("TERM").is_none_or(|t| t == "dumb") {
            Self::None
        } else if has("COLORTERM", "truecolor") || has("COLORTERM", "24bit") {
            Self::True
        } else {
            Self::Indexed
        }
    }

    /// Writes the escape for letters in `ink` on `paper`; nothing when there are no colours.
    pub(super) fn put(self, out: &mut String, ink: Rgb, paper: Rgb) {
        self.tones(out, self.tone(ink), self.tone(paper));
    }

    /// Writes the escape for two cells of a picture, the upper one as ink and the lower one as paper. `None` is a gap,
    /// a level goes from 0 to 1.
    pub(super) fn cells(self, out: &mut String, upper: Option<f32>, lower: Option<f32>) {
        self.tones(out, self.cell(upper), self.cell(lower));
    }

    fn tones(self, out: &mut String, ink: Tone, paper: Tone) {
        if self == Self::None {
            return;
        }
        out.push_str("\x1b[");
        write_tone(out, 38, ink);
        out.push(';');
        write_tone(out, 48, paper);
        out.push('m');
    }

    fn tone(self, rgb: Rgb) -> Tone {
        if self == Self::True { Tone::Rgb(rgb) } else { Tone::Index(indexed(rgb)) }
    }

    fn cell(self, level: Option<f32>) -> Tone {
        match level {
            None => self.tone(GAP),
            Some(level) if self == Self::True => Tone::Rgb(map(level)),
            Some(level) => Tone::Index(step(&MAP_256, level)),
        }
    }

    /// Writes the escape for letters in `ink` on whatever is behind them; nothing when there are no colours.
    pub(super) fn ink(self, out: &mut String, ink: Rgb) {
        if self != Self::None {
            out.push_str("\x1b[");
            write_tone(out, 38, self.tone(ink));
            out.push('m');
        }
    }

    /// Writes an SGR escape such as `1` (bold); nothing when there are no colours.
    pub(super) fn style(self, out: &mut String, sgr: &str) {
        if self != Self::None {
            // Writing into a String cannot fail.
            let _ = write!(out, "\x1b[{sgr}m");
        }
    }
}

fn write_tone(out: &mut String, place: u8, tone: Tone) {
    let _ = match tone {
        Tone::Index(index) => write!(out, "{place};5;{index}"),
        Tone::Rgb([r, g, b]) => write!(out, "{place};2;{r};{g};{b}"),
    };
}

/// The nearest of the 6 × 6 × 6 cube of xterm, whose steps are 0, 95, 135, 175, 215, 255.
fn indexed([r, g, b]: Rgb) -> u8 {
    let step = |x: u8| if x < 48 { 0 } else { ((u16::from(x).max(75) - 35) / 40) as u8 };
    16 + 36 * step(r) + 6 * step(g) + step(b)
}

/// The same without colours.
pub(super) fn letter(level: f32) -> char {
    step(&MAP_LETTERS, level)
}

/// The entry of a map, which is not empty, for a level from 0 to 1.
fn step<T: Copy>(map: &[T], level: f32) -> T {
    let at = (level.clamp(0.0, 1.0) * map.len() as f32) as usize;
    map[at.min(map.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of an sRGB colour (WCAG 2, IEC 61966-2-1).
    fn luminance(rgb: Rgb) -> f64 {
        let linear = rgb.map(|byte| {
            let c = f64::from(byte) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    /// What xterm shows for one of the colours of its cube.
    fn of_cube(index: u8) -> Rgb {
        const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
        assert!((16..232).contains(&index), "{index} is not in the cube");
        let place = usize::from(index - 16);
        [STEPS[place / 36], STEPS[place / 6 % 6], STEPS[place % 6]]
    }

    #[test]
    fn more_is_brighter_in_every_map() {
        for step in 0u8..100 {
            let (a, b) = (f32::from(step) / 100.0, f32::from(step + 1) / 100.0);
            assert!(luminance(map(b)) > luminance(map(a)), "{a}");
        }
        for pair in MAP_256.windows(2) {
            assert!(luminance(of_cube(pair[1])) > luminance(of_cube(pair[0])) * 1.05, "{pair:?}");
        }
        let (low, high) = (of_cube(MAP_256[0]), of_cube(MAP_256[11]));
        assert!(luminance(low) < 0.01 && luminance(high) > 0.9);
        assert!(!MAP_256.contains(&indexed(GAP)), "a gap has a colour of its own");
        assert_eq!((letter(f32::NAN), letter(0.0), letter(0.55), letter(1.0)), (' ', ' ', '+', '@'));
    }

    #[test]
    fn a_cell_is_sent_in_the_colours_that_there_are() {
        let sent = |colours: Colours| {
            let mut out = String::new();
            colours.cells(&mut out, Some(1.0), None);
            out
        };
        assert_eq!(sent(Colours::True), "\x1b[38;2;255;232;40;48;2;150;30;60m");
        assert_eq!(sent(Colours::Indexed), "\x1b[38;5;227;48;5;89m");
        assert_eq!(sent(Colours::None), "");
    }

    #[test]
    fn the_environment_decides() {
        let with = |pairs: &'static [(&str, &str)]| {
            Colours::of_environment(|name| pairs.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(with(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]), Colours::True);
        assert_eq!(with(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")]), Colours::None);
        assert_eq!(with(&[("TERM", "xterm"), ("NO_COLOR", "")]), Colours::Indexed);
        assert_eq!(with(&[("TERM", "dumb")]), Colours::None);
        assert_eq!(with(&[]), Colours::None);
    }

    #[test]
    fn the_cube_holds_its_own_corners() {
        let cases = [([0, 0, 0], 16), ([255, 255, 255], 231), ([95, 135, 175], 67), ([255, 0, 0], 196)];
        for (rgb, index) in cases {
            assert_eq!(indexed(rgb), index, "{rgb:?}");
        }
    }
}
