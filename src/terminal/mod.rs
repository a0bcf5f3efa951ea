//! The screen of `fiberd demo`, `fiberd replay` and `fiberd watch`: full on a terminal, lines of text elsewhere.
//!
//! Blocks the thread that calls [`show`]. What is shown comes from a [`ScreenSource`]: the daemon in this process, or one
//! elsewhere. Looks at it five times a second and after each key; decides nothing: when a person asks to leave, [`show`]
//! returns and its caller does what has to be done.
//!
//! crossterm gives size, keys and raw mode; the rest is drawn here. ratatui would bring layouts, widgets and the
//! comparison of cells, but this screen is a list of lines that are cut to the width and a picture that is painted cell
//! by cell in any case: it would save no line of code. A function from facts to text is tested without a terminal.

mod axis;
mod colour;
mod facts;
mod grid;
mod log_tail;
mod look;
mod picture;
mod pictures;
mod plain;
mod render;
mod save;
mod session;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{event, terminal};

pub use colour::Colours;
pub use facts::{Broker, Counts, Facts, Losses, PerSecond, Prr, Rates};
pub use log_tail::LogTail;
pub use picture::{Axis, Lines, Picture, Row};
pub use pictures::{Pictures, Shown, Subject, reference};
pub use render::Screen;
pub use session::give_back;

use look::{Action, Key, Look};
use session::Session;

/// From one look at the source to the next.
const TICK: Duration = Duration::from_millis(200);

/// What a screen shows.
pub trait ScreenSource {
    /// What is said in words, now.
    fn facts(&mut self) -> Facts;

    /// The pictures.
    fn pictures(&self) -> &Pictures;
}

/// Why a screen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A person asked to leave.
    Asked,
    /// `stop` was raised.
    Stopped,
}

/// Shows `source` and the last log lines until a person leaves or `stop` is raised. `plain`: lines of text even on a
/// terminal.
///
/// # Errors
/// When the terminal refuses. A reader that has closed the pipe is [`Ended::Asked`].
pub fn show(source: &mut dyn ScreenSource, log: &LogTail, plain: bool, stop: &AtomicBool) -> io::Result<Ended> {
    let shown = if takes_screen(plain) { full_screen(source, log, stop) } else { plain::lines(source, stop) };
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ended::Asked),
        other => other,
    }
}

/// Whether the whole screen is taken, or lines are written.
pub fn takes_screen(plain: bool) -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    !plain && !dumb && io::stdout().is_terminal()
}

fn full_screen(source: &mut dyn ScreenSource, log: &LogTail, stop: &AtomicBool) -> io::Result<Ended> {
    let colours = Colours::of_environment(|name| std::env::var(name).ok());
    let mut session = Session::begin(log)?;
    let mut look = Look::new();
    while !stop.load(Ordering::Relaxed) {
        if Session::is_over() {
            log.let_go();
            return plain::lines(source, stop);
        }
        let (width, height) = terminal::size()?;
        let screen = Screen { width: width.into(), height: height.into(), colours };
        let (facts, subjects) = (source.facts(), source.pictures().subjects());
        let shown = look.subject(&subjects).and_then(|subject| source.pictures().picture(subject, look.row_time));
        let rendered = render::render(&facts, shown.as_ref(), &look, &log.lines(), screen);
        session.draw(&rendered.text)?;
        let Some(key) = wait_for_key(TICK)? else {
            continue;
        };
        if key == Key::Resized {
            session.forget();
        }
        match look.press(key, &subjects) {
            Action::Draw => {}
            Action::Leave => return Ok(Ended::Asked),
            Action::Save => look.message = Some(save(&facts.site, shown.as_ref(), &look, rendered.rows)),
        }
    }
    Ok(Ended::Stopped)
}

/// Saves what is seen in the present folder, and says how that went.
fn save(site: &str, shown: Option<&Shown>, look: &Look, rows: usize) -> String {
    let Some(shown) = shown else {
        return "there is nothing to save yet".to_owned();
    };
    match save::save(Path::new("."), site, shown, look, rows) {
        Ok([image, array]) => format!("saved {image} and {array}"),
        Err(error) => format!("not saved: {error}"),
    }
}

/// Waits up to `time_limit`; keys that mean nothing do not end the wait early.
fn wait_for_key(time_limit: Duration) -> io::Result<Option<Key>> {
    let end = Instant::now() + time_limit;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        let key = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key.code, key.modifiers),
            Event::Resize(..) => Some(Key::Resized),
            _ => None,
        };
        if key.is_some() {
            return Ok(key);
        }
    }
    Ok(None)
}

fn meaning(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    match code {
        KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Leave),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Leave),
        KeyCode::Char('b') => Some(Key::NextBand),
        KeyCode::Char('n') => Some(Key::Normalise),
        // = is + without Shift.
        KeyCode::Char('+' | '=') => Some(Key::LongerRows),
        KeyCode::Char('-') => Some(Key::ShorterRows),
        KeyCode::Char('s') => Some(Key::Save),
        KeyCode::Char('?' | 'h') => Some(Key::Help),
        KeyCode::Tab => Some(Key::NextView),
        _ => None,
    }
}
