//! Colours of a terminal: which it has, and the colour map of the waterfall.

use std::fmt::Write as _;

/// A colour, red, green and blue from 0 to 255.
pub(super) type Rgb = [u8; 3];

/// Where traces are missing.
pub(super) const GAP: Rgb = [150, 30, 60];

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
    pub fn put(self, out: &mut String, ink: Rgb, paper: Rgb) {
        // Writing into a String cannot fail.
        let _ = match self {
            Self::None => Ok(()),
            Self::Indexed => write!(out, "\x1b[38;5;{};48;5;{}m", indexed(ink), indexed(paper)),
            Self::True => {
                let ([r, g, b], [x, y, z]) = (ink, paper);
                write!(out, "\x1b[38;2;{r};{g};{b};48;2;{x};{y};{z}m")
            }
        };
    }

    /// Writes the escape for letters in `ink` on whatever is behind them; nothing when there are no colours.
    pub fn ink(self, out: &mut String, ink: Rgb) {
        let _ = match self {
            Self::None => Ok(()),
            Self::Indexed => write!(out, "\x1b[38;5;{}m", indexed(ink)),
            Self::True => write!(out, "\x1b[38;2;{};{};{}m", ink[0], ink[1], ink[2]),
        };
    }

    /// Writes an SGR escape such as `1` (bold); nothing when there are no colours.
    pub fn style(self, out: &mut String, sgr: &str) {
        if self != Self::None {
            let _ = write!(out, "\x1b[{sgr}m");
        }
    }
}

/// The nearest of the 6 × 6 × 6 cube of xterm, whose steps are 0, 95, 135, 175, 215, 255.
fn indexed([r, g, b]: Rgb) -> u8 {
    let step = |x: u8| if x < 48 { 0 } else { ((u16::from(x).max(75) - 35) / 40) as u8 };
    16 + 36 * step(r) + 6 * step(g) + step(b)
}

/// Dark blue over green to yellow, in the manner of viridis: brighter is always more. `level` from 0 to 1.
pub(super) fn map(level: f32) -> Rgb {
    const ANCHORS: [[f32; 3]; 5] =
        [[40.0, 5.0, 70.0], [60.0, 80.0, 140.0], [32.0, 145.0, 140.0], [95.0, 200.0, 95.0], [255.0, 232.0, 40.0]];
    let at = level.clamp(0.0, 1.0) * (ANCHORS.len() - 1) as f32;
    let left = (at as usize).min(ANCHORS.len() - 2);
    let share = at - left as f32;
    std::array::from_fn(|i| (ANCHORS[left][i] + (ANCHORS[left + 1][i] - ANCHORS[left][i]) * share).round() as u8)
}

/// The same without colours: denser is more.
pub(super) fn letter(level: f32) -> char {
    const LETTERS: &[u8; 10] = b" .:-=+*#%@";
    let at = (level.clamp(0.0, 1.0) * LETTERS.len() as f32) as usize;
    char::from(LETTERS[at.min(LETTERS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_brighter_and_denser() {
        let brightness = |level: f32| {
            let [r, g, b] = map(level).map(f32::from);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        for step in 0u8..100 {
            let (a, b) = (f32::from(step) / 100.0, f32::from(step + 1) / 100.0);
            assert!(brightness(b) > brightness(a) - 0.5, "{a}");
        }
        assert!(brightness(1.0) > brightness(0.0) + 150.0);
        assert_eq!((letter(f32::NAN), letter(0.0), letter(0.55), letter(1.0)), (' ', ' ', '+', '@'));
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
