//! The terminal while the whole screen is taken: raw mode, no cursor, the other screen.
//!
//! It is given back when the [`Session`] is dropped, when anything in the process panics, and by [`give_back`] when the
//! process is about to leave without waiting for the thread of the screen.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::{cursor, execute, terminal};

use super::log_tail::LogTail;

/// Whether the terminal is in our state; the panic hook must know.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal is ours from [`Session::begin`] on.
pub(super) struct Session<'a> {
    log: &'a LogTail,
    last: String,
}

impl<'a> Session<'a> {
    pub(super) fn begin(log: &'a LogTail) -> io::Result<Self> {
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
        let session = Self { log, last: String::new() };
        execute!(
            io::stdout(),
            terminal::EnterAlternateScreen,
            cursor::Hide,
            terminal::Clear(terminal::ClearType::All)
        )?;
        Ok(session)
    }

    /// Whether somebody else has given the terminal back: what they said must stay to be read.
    pub(super) fn is_over() -> bool {
        !TAKEN.load(Ordering::SeqCst)
    }

    /// Draws, when there is something new. All lines in one write, each cleared behind its end, so that nothing flickers.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        if text == self.last {
            return Ok(());
        }
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
        out.flush()?;
        text.clone_into(&mut self.last);
        Ok(())
    }

    /// The next drawing is done whatever it is.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if give_back() {
            // The last picture stays to be looked at; its last line, the keys, has no meaning any more.
            let picture = self.last.rsplit_once('\n').map_or("", |(picture, _)| picture);
            let mut out = io::stdout().lock();
            // Nothing more can be done for a terminal that refuses.
            let _ = writeln!(out, "{picture}").and_then(|()| out.flush());
        }
        self.log.let_go();
    }
}

/// Gives the terminal back, when it is taken; whether it was.
pub fn give_back() -> bool {
    let taken = TAKEN.swap(false, Ordering::SeqCst);
    if taken {
        // The same: it may be gone.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
    taken
}
