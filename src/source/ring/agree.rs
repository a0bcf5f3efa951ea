//! Agreeing with the producer on the PRR: ask, wait for the answer, compare with what it declares. Data are never taken
//! at another rate than the one that the configuration asks for.

use std::time::{Duration, Instant};

use super::abi::{self, AT_ANSWER_NUMBER, AT_ANSWER_REFUSAL, AT_REQUEST_NUMBER, AT_REQUEST_PRR};
use super::memory::Memory;
use crate::acquisition::DarkReason;
use crate::units::Rational;

/// How long a producer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often a producer at the wrong rate is asked again.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// The conversation over one mapping.
#[derive(Default)]
pub(super) struct Agreement {
    asked: Option<(u64, Instant)>,
    /// Refusal code of the answer to the latest request, 0 = applied.
    answer: Option<u64>,
}

impl Agreement {
    /// To be called before the header is read: a producer changes its header before it answers.
    pub(super) fn take_answer(&mut self, memory: &Memory) {
        if let Some((number, _)) = self.asked
            && memory.load(AT_ANSWER_NUMBER) == number
        {
            self.answer = Some(memory.load(AT_ANSWER_REFUSAL));
        }
    }

    /// `Ok` when the declared rate is the one asked for. Asks when nobody has asked yet.
    pub(super) fn settle(
        &mut self,
        memory: &Memory,
        asked_for: Option<Rational>,
        tolerance_ppm: f64,
        declared: Rational,
    ) -> Result<(), DarkReason> {
        let Some(wanted) = asked_for else { return Ok(()) };
        let agrees = (declared.to_f64() / wanted.to_f64() - 1.0).abs() * 1e6 <= tolerance_ppm;
        let due = self.asked.is_none_or(|(_, at)| !agrees && at.elapsed() >= ASK_EVERY);
        if due {
            self.ask(memory, wanted);
        }
        if agrees {
            return Ok(());
        }
        let why = match self.answer {
            Some(0) => "it says that it has applied it",
            Some(code) => abi::refusal(code),
            None if self.asked.is_some_and(|(_, at)| at.elapsed() < ANSWER_WITHIN) => {
                return Err(DarkReason::Starting);
            }
            None => "it does not answer",
        };
        Err(DarkReason::Refused(format!("the producer runs at {declared} Hz, {wanted} Hz was asked for: {why}")))
    }

    fn ask(&mut self, memory: &Memory, wanted: Rational) {
        let before = memory.load(AT_REQUEST_NUMBER).max(memory.load(AT_ANSWER_NUMBER));
        // 0 means that nothing was asked.
        let number = before.wrapping_add(1).max(1);
        memory.store(AT_REQUEST_PRR, wanted.to_f64().to_bits());
        memory.store(AT_REQUEST_NUMBER, number);
        self.asked = Some((number, Instant::now()));
        self.answer = None;
    }
}
