//! Samples of a miniSEED record out of their bytes: plain numbers, Steim-1 and Steim-2.
//!
//! Pure. Steim's frames hold 15 words of differences and a word that says how each is divided; the first frame also
//! has the
//! first and the last sample, by which damage shows.

/// Bytes of a frame.
const FRAME: usize = 64;

/// How samples are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// No samples: a log.
    Text,
    /// Integers of two bytes.
    I16,
    /// Of four.
    I32,
    /// IEEE 754, single precision.
    F32,
    /// IEEE 754, double precision.
    F64,
    /// Differences of 8, 16 and 32 bits.
    Steim1,
    /// Differences of 4 to 30 bits.
    Steim2,
}

/// The same, and in which order bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// How samples are packed.
    pub(super) encoding: Encoding,
    /// Whether the most significant byte comes first.
    pub(super) big_endian: bool,
}

impl Coding {
    /// By its code.
    ///
    /// # Errors
    /// The code, when it is of none that is read.
    pub(super) const fn of(code: u8, big_endian: bool) -> Result<Self, u8> {
        let encoding = match code {
            0 => Encoding::Text,
            1 => Encoding::I16,
            3 => Encoding::I32,
            4 => Encoding::F32,
            5 => Encoding::F64,
            10 => Encoding::Steim1,
            11 => Encoding::Steim2,
            _ => return Err(code),
        };
        Ok(Self { encoding, big_endian })
    }

    /// Puts `samples` samples into `out`, which is cleared: doubles hold all of them exactly.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(super) fn decode(self, bytes: &[u8], samples: u32, out: &mut Vec<f64>) -> Result<(), String> {
        out.clear();
        let samples = samples as usize;
        match self.encoding {
            Encoding::Text => return Err("text and no samples".into()),
            Encoding::I16 => self.plain(bytes, samples, out, |b| f64::from(i16::from_le_bytes(b))),
            Encoding::I32 => self.plain(bytes, samples, out, |b| f64::from(i32::from_le_bytes(b))),
            Encoding::F32 => self.plain(bytes, samples, out, |b| f64::from(f32::from_le_bytes(b))),
            Encoding::F64 => self.plain(bytes, samples, out, f64::from_le_bytes),
            Encoding::Steim1 | Encoding::Steim2 => self.steim(bytes, samples, out)?,
        }
        if out.len() < samples {
            return Err(format!("{} of {samples} samples are in it", out.len()));
        }
        Ok(())
    }

    fn plain<const N: usize>(self, bytes: &[u8], samples: usize, out: &mut Vec<f64>, value: impl Fn([u8; N]) -> f64) {
        let ordered = |&(mut bytes): &[u8; N]| {
            if self.big_endian {
                bytes.reverse();
            }
            value(bytes)
        };
        out.extend(bytes.as_chunks().0.iter().take(samples).map(ordered));
    }

    fn steim(self, bytes: &[u8], samples: usize, out: &mut Vec<f64>) -> Result<(), String> {
        let is_steim2 = matches!(self.encoding, Encoding::Steim2);
        let word =
            |bytes: &[u8; 4]| if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) };
        let (mut sum, mut last) = (Sum { value: 0, samples, out }, None);
        for (number, frame) in bytes.as_chunks::<FRAME>().0.iter().enumerate() {
            let words = frame.as_chunks::<4>().0;
            let division = word(&words[0]);
            for (place, bytes) in words.iter().enumerate().skip(1) {
                match (number, place) {
                    (0, 1) => sum.value = word(bytes).cast_signed(),
                    (0, 2) => last = Some(word(bytes).cast_signed()),
                    _ => {
                        let code = division >> (30 - 2 * place) & 3;
                        sum.add(is_steim2, code, word(bytes))
                            .ok_or("a word is divided in a way that Steim has not: damaged")?;
                    }
                }
            }
            if sum.out.len() == samples {
                break;
            }
        }
        let value = sum.value;
        match last {
            Some(last) if out.len() == samples && last != value => {
                Err(format!("its last sample should be {last} and is {value}: damaged"))
            }
            _ => Ok(()),
        }
    }
}

/// Samples as they come out of differences.
struct Sum<'a> {
    value: i32,
    /// As many come out at most.
    samples: usize,
    out: &'a mut Vec<f64>,
}

impl Sum<'_> {
    /// Adds the differences of a word; `None` where Steim has none such.
    fn add(&mut self, is_steim2: bool, code: u32, word: u32) -> Option<()> {
        match (code, word >> 30) {
            (0, _) => {}
            (1, _) => self.parts::<4, 8>(word),
            (2, _) if !is_steim2 => self.parts::<2, 16>(word),
            (_, _) if !is_steim2 => self.parts::<1, 32>(word),
            (2, 1) => self.parts::<1, 30>(word),
            (2, 2) => self.parts::<2, 15>(word),
            (2, 3) => self.parts::<3, 10>(word),
            (3, 0) => self.parts::<5, 6>(word),
            (3, 1) => self.parts::<6, 5>(word),
            (3, 2) => self.parts::<7, 4>(word),
            _ => return None,
        }
        Some(())
    }

    fn parts<const COUNT: usize, const BITS: u32>(&mut self, word: u32) {
        let count = COUNT.min(self.samples - self.out.len());
        let mut values = [0.0; COUNT];
        for (nth, value) in values.iter_mut().enumerate().take(count) {
            // The first difference leads from the record before to the first sample, which is known.
            if nth > 0 || !self.out.is_empty() {
                let part = word >> ((COUNT - 1 - nth) as u32 * BITS);
                self.value = self.value.wrapping_add(signed(part, BITS));
            }
            *value = f64::from(self.value);
        }
        self.out.extend_from_slice(&values[..count]);
    }
}

/// The lowest `bits` bits as a number with a sign.
const fn signed(word: u32, bits: u32) -> i32 {
    (word << (32 - bits)).cast_signed() >> (32 - bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_keep_their_sign() {
        assert_eq!((signed(0xF, 4), signed(0x7, 4), signed(0x2000_0000, 30)), (-1, 7, -(1 << 29)));
        assert_eq!(signed(u32::MAX, 32), -1);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..400), code in prop::sample::select(vec![0u8, 1, 3, 4, 5, 10, 11]),
            samples in any::<u32>(), big_endian in any::<bool>(),
        ) {
            let mut out = Vec::new();
            let coding = Coding::of(code, big_endian).expect("known");
            let answer = coding.decode(&bytes, samples, &mut out);
            prop_assert!(out.len() <= bytes.len() * 2 && (answer.is_err() || out.len() == samples as usize));
        }
    }
}
