//! The live view of `fiberd demo` and `fiberd replay`: full screen on a terminal, lines of text elsewhere.
//!
//! Runs on a thread of its own. Reads the status five times a second and copies a small picture of the waterfall, which
//! the io side feeds through [`WaterfallTap`] without ever waiting. Decides nothing: when a person asks to leave,
//! [`show`] returns and its caller stops the daemon.

mod colour;
mod log_tail;
mod render;
mod tap;
#[cfg(test)]
mod tests;
mod words;

use std::io::{self, IsTerminal, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::{cursor, event, execute, terminal};

pub use colour::Colours;
pub use log_tail::LogTail;
pub use render::{Screen, plain_axis, plain_line, render};
pub use tap::{Row, WaterfallPicture, WaterfallTap};
pub use words::{Rates, Snapshot, summary};

use crate::status::Status;

/// From one look at the status to the next.
const TICK: Duration = Duration::from_millis(200);
/// Columns of a plain waterfall.
const PLAIN_CELLS: usize = 78;

/// What the view is told.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Where the control API listens, as shown: `http://127.0.0.1:5000`.
    pub http: String,
    /// Host and port of the broker, as shown; empty when there is none. Never user or password.
    pub broker_address: String,
    /// Lines of text even on a terminal.
    pub plain: bool,
}

/// Why the view ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A person asked to leave.
    Asked,
    /// `stop` was raised.
    Stopped,
}

/// Shows `status`, the waterfall and the last log lines until a person leaves or `stop` is raised. Blocks its thread.
///
/// # Errors
/// When the terminal refuses. A reader that has closed the pipe is [`Ended::Asked`].
pub fn show(
    status: &Status,
    tap: &WaterfallTap,
    log: &LogTail,
    options: &ViewOptions,
    stop: &AtomicBool,
) -> io::Result<Ended> {
    let colours = Colours::of_environment(|name| std::env::var(name).ok());
    let shown = if takes_screen(options) {
        full_screen(status, tap, log, options, stop, colours)
    } else {
        lines(status, tap, options, stop)
    };
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Ended::Asked),
        other => other,
    }
}

/// Whether the whole screen is taken, or lines are written.
pub fn takes_screen(options: &ViewOptions) -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    !options.plain && !dumb && io::stdout().is_terminal()
}

/// A waterfall line each second, a summary every five.
fn lines(status: &Status, tap: &WaterfallTap, options: &ViewOptions, stop: &AtomicBool) -> io::Result<Ended> {
    let mut rates = Rates::new();
    let mut second = 0u64;
    let mut next = Instant::now();
    let mut last_version = 0;
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() < next {
            std::thread::sleep(TICK.min(next.saturating_duration_since(Instant::now())));
            continue;
        }
        next += Duration::from_secs(1);
        let snapshot = rates.snapshot(status, &options.http, &options.broker_address);
        let picture = tap.picture();
        let mut out = io::stdout().lock();
        if second.is_multiple_of(5) {
            writeln!(out, "{}", summary(&snapshot))?;
        }
        if picture.version != last_version {
            last_version = picture.version;
            if let Some(line) = plain_line(&picture, PLAIN_CELLS) {
                if second.is_multiple_of(20) {
                    let (ticks, labels) = plain_axis(&picture, PLAIN_CELLS);
                    writeln!(out, "{labels}\n{ticks}")?;
                }
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        second += 1;
    }
    Ok(Ended::Stopped)
}

fn full_screen(
    status: &Status,
    tap: &WaterfallTap,
    log: &LogTail,
    options: &ViewOptions,
    stop: &AtomicBool,
    colours: Colours,
) -> io::Result<Ended> {
    let _session = Session::begin(log)?;
    let mut rates = Rates::new();
    let mut last = String::new();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(Ended::Stopped);
        }
        if !TAKEN.load(Ordering::SeqCst) {
            // Somebody panicked and the terminal is given back: what they said must stay to be read.
            log.let_go();
            return lines(status, tap, options, stop);
        }
        let (width, height) = terminal::size()?;
        let screen = Screen { width: width.into(), height: height.into(), colours };
        let snapshot = rates.snapshot(status, &options.http, &options.broker_address);
        let text = render(&snapshot, &tap.picture(), &log.lines(), screen);
        if text != last {
            draw(&text)?;
            last = text;
        }
        match wait_for_key(TICK)? {
            Some(Key::Leave) => return Ok(Ended::Asked),
            Some(Key::Resized) => last.clear(),
            None => {}
        }
    }
}

/// All lines in one write, each cleared behind its end, so that nothing flickers.
fn draw(text: &str) -> io::Result<()> {
    let mut bytes = String::with_capacity(text.len() + 1024);
    bytes.push_str("\x1b[?2026h\x1b[H");
    for (i, line) in text.split('\n').enumerate() {
        bytes.push_str(if i == 0 { "" } else { "\r\n" });
        bytes.push_str(line);
        bytes.push_str("\x1b[K");
    }
    bytes.push_str("\x1b[J\x1b[?2026l");
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_bytes())?;
    out.flush()
}

enum Key {
    Leave,
    Resized,
}

/// Waits up to `patience`; keys that mean nothing do not end the wait early.
fn wait_for_key(patience: Duration) -> io::Result<Option<Key>> {
    let end = Instant::now() + patience;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Ok(Some(Key::Leave)),
                KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(Some(Key::Leave));
                }
                _ => {}
            },
            Event::Resize(..) => return Ok(Some(Key::Resized)),
            _ => {}
        }
    }
    Ok(None)
}

/// The terminal is ours from [`Session::begin`] until it is dropped, or until a panic anywhere in the process.
struct Session<'a> {
    log: &'a LogTail,
}

/// Whether the terminal is in our state; the panic hook must know.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl<'a> Session<'a> {
    fn begin(log: &'a LogTail) -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                give_back();
                before(info);
            }));
        });
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        log.hold();
        // From here on the drop gives everything back, also when the next line fails.
        let session = Self { log };
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            cursor::Hide,
            terminal::Clear(terminal::ClearType::All)
        )?;
        Ok(session)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        give_back();
        self.log.let_go();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing more can be done for a terminal that refuses.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}
