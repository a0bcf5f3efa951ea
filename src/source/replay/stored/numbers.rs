//! Numbers as files write them, and what they become: samples, or whole numbers and doubles of tables.

/// How the numbers of a dataset are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// Bytes of one.
    pub(crate) size: usize,
    /// The first byte is the highest.
    pub(crate) big_endian: bool,
    /// What the bits mean.
    pub(crate) kind: Kind,
}

/// What the bits of a number mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number of `bits` bits from bit `offset` on.
    Whole { signed: bool, bits: u32, offset: u32 },
    /// A float by IEEE 754.
    Float,
}

/// What a number becomes.
pub(crate) trait Sample: Copy {
    fn of_whole(value: i64) -> Self;
    fn of_large(value: u64) -> Self;
    fn of_float(value: f64) -> Self;
}

macro_rules! samples {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn of_whole(value: i64) -> Self { value as Self }
            fn of_large(value: u64) -> Self { value as Self }
            fn of_float(value: f64) -> Self { value as Self }
        }
    )*};
}
samples!(i16, i32, i64, f32, f64);

impl Number {
    /// Whether these are floats or signed whole numbers, as this machine computes with them.
    pub(crate) const fn is_as_computed(self) -> bool {
        let whole = match self.kind {
            Kind::Float => true,
            Kind::Whole { signed, bits, .. } => signed && bits as usize == self.size * 8,
        };
        whole && self.big_endian == cfg!(target_endian = "big")
    }

    /// Hands every number in `bytes` on.
    pub(crate) fn each<T: Sample>(self, bytes: &[u8], mut each: impl FnMut(T)) {
        match (self.kind, self.size) {
            (Kind::Float, 2) => self.words(bytes, |b| each(T::of_float(half::f16::from_le_bytes(b).to_f64()))),
            (Kind::Float, 4) => self.words(bytes, |b| each(T::of_float(f64::from(f32::from_le_bytes(b))))),
            (Kind::Float, _) => self.words(bytes, |b| each(T::of_float(f64::from_le_bytes(b)))),
            (Kind::Whole { signed: true, bits: 8, .. }, 1) => {
                self.words(bytes, |b| each(T::of_whole(i64::from(i8::from_le_bytes(b)))));
            }
            (Kind::Whole { signed: true, bits: 16, .. }, 2) => {
                self.words(bytes, |b| each(T::of_whole(i64::from(i16::from_le_bytes(b)))));
            }
            (Kind::Whole { signed: true, bits: 32, .. }, 4) => {
                self.words(bytes, |b| each(T::of_whole(i64::from(i32::from_le_bytes(b)))));
            }
            (Kind::Whole { signed: true, bits: 64, .. }, 8) => {
                self.words(bytes, |b| each(T::of_whole(i64::from_le_bytes(b))));
            }
            (Kind::Whole { signed, bits, offset }, size) => {
                for word in bytes.chunks_exact(size.max(1)) {
                    let place = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
                    let value =
                        if self.big_endian { word.iter().fold(0, place) } else { word.iter().rev().fold(0, place) };
                    // Moved up so that its highest bit is the sign's place, and down again.
                    let (up, down) = (64 - (bits + offset).min(64), 64 - bits.clamp(1, 64));
                    let up = value << up;
                    each(if signed { T::of_whole(up.cast_signed() >> down) } else { T::of_large(up >> down) });
                }
            }
        }
    }

    fn words<const N: usize>(self, bytes: &[u8], mut each: impl FnMut([u8; N])) {
        let (words, _) = bytes.as_chunks::<N>();
        if self.big_endian {
            for mut word in words.iter().copied() {
                word.reverse();
                each(word);
            }
        } else {
            for word in words {
                each(*word);
            }
        }
    }
}
