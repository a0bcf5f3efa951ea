//! Surviving SIGBUS: a mapped file that is truncated under us faults at the next touch, on whatever thread touches it.
//!
//! One handler for the process, installed with the first guard. It looks the address up in a static table of guarded
//! ranges (atomics only), puts an anonymous zero page where the file's page is gone, marks the range as hit and lets the
//! instruction run again. Faults elsewhere go to whoever handled SIGBUS before. Async-signal-safe: no lock, no
//! allocation, one `mmap`.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings that can be guarded at a time. The daemon has one ring; tests have several.
const RANGES: usize = 64;

struct Range {
    taken: AtomicBool,
    /// 0 = nothing guarded.
    start: AtomicUsize,
    end: AtomicUsize,
    page: AtomicUsize,
    hit: AtomicBool,
}

static TABLE: [Range; RANGES] = [const {
    Range {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(0),
        hit: AtomicBool::new(false),
    }
}; RANGES];

static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Guards one mapping until it is dropped, which must come before the mapping is unmapped.
pub(super) struct Guard(&'static Range);

impl Guard {
    /// Guards `len` bytes from the address `start`, which begins a page of `page` bytes.
    pub(super) fn new(start: usize, len: usize, page: usize) -> io::Result<Self> {
        install()?;
        let range = TABLE
            .iter()
            .find(|r| r.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok())
            .ok_or_else(|| io::Error::other(format!("more than {RANGES} rings are mapped")))?;
        range.hit.store(false, Ordering::Relaxed);
        range.end.store(start + len.next_multiple_of(page), Ordering::Relaxed);
        range.page.store(page, Ordering::Relaxed);
        range.start.store(start, Ordering::Release);
        Ok(Self(range))
    }

    /// Whether a page of the mapping was gone when it was touched.
    pub(super) fn was_hit(&self) -> bool {
        self.0.hit.load(Ordering::Acquire)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.taken.store(false, Ordering::Release);
    }
}

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let outcome = INSTALLED.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: asks only; `before` is writable and large enough.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(errno());
        }
        // SAFETY: filled by the call above.
        BEFORE.get_or_init(|| unsafe { before.assume_init() });
        // SAFETY: all-zero is a valid sigaction (default action, empty mask).
        let mut ours: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        ours.sa_sigaction = handler as libc::sighandler_t;
        // ONSTACK as std's own handler has it, so that a stack overflow is still told as one.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `ours` is a complete sigaction whose handler is async-signal-safe and lives for ever.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) } != 0 {
            return Err(errno());
        }
        Ok(())
    });
    outcome.map_err(io::Error::from_raw_os_error)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler; a positive code means that it comes from a
    // fault and carries an address.
    let address = unsafe { if (*info).si_code > 0 { (*info).si_addr() as usize } else { 0 } };
    let guarded = TABLE.iter().find(|r| {
        let start = r.start.load(Ordering::Acquire);
        start != 0 && (start..r.end.load(Ordering::Relaxed)).contains(&address)
    });
    match guarded {
        Some(range) if put_zero_page(address, range.page.load(Ordering::Relaxed)) => {
            range.hit.store(true, Ordering::Release);
        }
        _ => pass_on(signal, info, context),
    }
}

/// Replaces the page around `address` by an anonymous one. Keeps `errno` as the interrupted code knows it.
fn put_zero_page(address: usize, page: usize) -> bool {
    let start = address & !(page - 1);
    // SAFETY: the page lies wholly inside a mapping that a live `Guard` stands for, so MAP_FIXED replaces nothing but
    // memory of the ring, which is read by atomics and raw copies only. errno's location is valid on every thread.
    unsafe {
        let errno = *libc::__errno_location();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        let mapped = libc::mmap(start as *mut _, page, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        *libc::__errno_location() = errno;
        mapped != libc::MAP_FAILED
    }
}

/// Not ours: does what would have happened without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(before) = BEFORE.get() else { return };
    let handler = before.sa_sigaction;
    // SAFETY: `before` is what the kernel returned for SIGBUS; a handler that is neither default nor ignore is a
    // function of the type that its SA_SIGINFO flag names. With the default action restored, returning repeats the
    // faulting instruction, and the process dies of SIGBUS as it should.
    unsafe {
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            libc::signal(signal, libc::SIG_DFL);
            // A signal sent by kill() does not repeat by itself.
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
        } else if before.sa_flags & libc::SA_SIGINFO != 0 {
            type Action = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            std::mem::transmute::<usize, Action>(handler)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler)(signal);
        }
    }
}
