//! The driver of the interrogator: this program once more, as a process of its own, so that signals are real. Writes the
//! ring in real time and does what it is told, line by line, on its standard input; ends when that closes.
//!
//! | line | |
//! |---|---|
//! | `light on` / `off` | the light flag |
//! | `power on` / `off` | samples with optical power, or dark ones |
//! | `write on` / `off` | slots are written, or not |
//! | `catch-up on` / `off` | what is owed after a pause is written at once, or declared lost |
//! | `lose N` | declares N traces lost |
//! | `utc MS` | steps its clock |
//! | `epoch SHAPE` | a new epoch |
//!
//! After each slot its account stands in a file beside the ring: how many pulses were launched. It is there also when
//! the process has been killed.

use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fiberd::source::ring::{Producer, REFUSED_FIXED, RingError, STATE_LASER_ON, STATE_LIGHT};

use crate::shape::Shape;

/// Behind by more than this, a driver has to decide what becomes of the traces that it owes.
const BEHIND: Duration = Duration::from_millis(300);
/// The heartbeat is due every 200 ms.
const NAP: Duration = Duration::from_millis(20);
/// Rows of noise that samples are taken from.
const NOISE_ROWS: usize = 64;

/// Runs with the words behind `producer`: ring, account, shape.
///
/// # Errors
/// What ended it, in words.
pub fn run(words: &[String]) -> Result<(), String> {
    let [ring, account, shape] = words else { return Err("producer wants RING ACCOUNT SHAPE".into()) };
    let (line_tx, line_rx) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line_tx.send(line).is_err() {
                break;
            }
        }
    });
    let account = File::create(account).map_err(|error| format!("the account: {error}"))?;
    let mut driver = Driver::start(Path::new(ring), account, shape.parse()?).map_err(|error| error.to_string())?;
    driver.run(&line_rx)
}

struct Driver {
    producer: Producer,
    account: File,
    shape: Shape,
    /// When trace 0 of the epoch was launched, on both clocks.
    began: Instant,
    began_utc_ns: i64,
    /// Number of the next trace within the epoch.
    next: u64,
    /// Pulses of all epochs.
    launched: u64,
    power: bool,
    writes: bool,
    catches_up: bool,
    noise: Vec<u8>,
}

impl Driver {
    fn start(ring: &Path, account: File, shape: Shape) -> Result<Self, RingError> {
        let producer = Producer::create(ring, &shape.spec())?;
        let (began, began_utc_ns) = (Instant::now(), now_ns());
        let noise = noise(&shape);
        let driver = Self {
            producer,
            account,
            shape,
            began,
            began_utc_ns,
            next: 0,
            launched: 0,
            power: true,
            writes: true,
            catches_up: false,
            noise,
        };
        driver.keep_account();
        Ok(driver)
    }

    fn run(&mut self, lines: &Receiver<String>) -> Result<(), String> {
        loop {
            match lines.try_recv() {
                Ok(line) => self.execute(&line)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    // In order: no light, and the heartbeat stops.
                    self.producer.set_state(0);
                    return Ok(());
                }
            }
            self.producer.heartbeat();
            if let Some((number, hz)) = self.producer.requested_prr() {
                let same = (hz / self.shape.prr_hz - 1.0).abs() < 1e-9;
                self.producer.answer(number, if same { Ok(()) } else { Err(REFUSED_FIXED) });
            }
            let due = self.began + self.time_of(self.next + self.shape.traces_per_slot as u64);
            let now = Instant::now();
            if now < due || !self.writes {
                std::thread::sleep(if self.writes { NAP.min(due - now) } else { NAP });
                continue;
            }
            if now - due > BEHIND && !self.catches_up {
                self.lose(((now - due).as_secs_f64() * self.shape.prr_hz) as u64);
            }
            self.write();
        }
    }

    /// From the first trace of the epoch.
    fn time_of(&self, trace: u64) -> Duration {
        Duration::from_secs_f64(trace as f64 / self.shape.prr_hz)
    }

    fn write(&mut self) {
        let utc_ns = self.began_utc_ns + self.time_of(self.next).as_nanos() as i64;
        let (traces, power) = (self.shape.traces_per_slot, self.power);
        // Another row of noise each time: what stands still has no energy.
        let row_bytes = self.noise.len() / NOISE_ROWS;
        let from = (self.next as usize * 7 % NOISE_ROWS) * row_bytes;
        let noise = &self.noise;
        self.producer.write_slot(self.next, utc_ns, traces, |bytes| {
            if power {
                let endless = noise[from..].iter().chain(noise.iter().cycle());
                bytes.iter_mut().zip(endless).for_each(|(byte, noise)| *byte = *noise);
            } else {
                bytes.fill(0);
            }
        });
        self.next += traces as u64;
        self.launched += traces as u64;
        self.keep_account();
    }

    fn lose(&mut self, traces: u64) {
        self.producer.add_lost(traces);
        self.next += traces;
        self.launched += traces;
        self.keep_account();
    }

    fn keep_account(&self) {
        // A full memory file system would end the run by itself.
        let _ = self.account.write_all_at(format!("{:020}\n", self.launched).as_bytes(), 0);
    }

    fn execute(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let bad = || format!("the driver does not understand {line:?}");
        match word {
            "light" => {
                let light = if rest == "on" { STATE_LIGHT } else { 0 };
                self.producer.set_state(STATE_LASER_ON | light);
            }
            "power" => self.power = rest == "on",
            "write" => self.writes = rest == "on",
            "catch-up" => self.catches_up = rest == "on",
            "lose" => self.lose(rest.parse().map_err(|_| bad())?),
            "utc" => self.began_utc_ns += 1_000_000 * rest.parse::<i64>().map_err(|_| bad())?,
            "epoch" => {
                let shape = Shape { slots: self.shape.slots, ..rest.parse()? };
                self.producer.change_epoch(&shape.spec()).map_err(|error| error.to_string())?;
                // Pulses that were launched and not written belong to no epoch.
                (self.began, self.began_utc_ns, self.next) = (Instant::now(), now_ns(), 0);
                (self.noise, self.shape) = (noise(&shape), shape);
            }
            _ => return Err(bad()),
        }
        Ok(())
    }
}

/// Rows of samples with a standard deviation of some hundred counts, always the same.
fn noise(shape: &Shape) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as i16 % 1000
    };
    let samples = shape.channels * NOISE_ROWS;
    if shape.float {
        (0..samples).flat_map(|_| f32::from(next()).to_le_bytes()).collect()
    } else {
        (0..samples).flat_map(|_| next().to_le_bytes()).collect()
    }
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}
