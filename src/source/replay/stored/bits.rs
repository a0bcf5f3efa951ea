//! Values of few bits each, packed without space between them: the filters n-bit and scale-offset.
//!
//! Both write the bits of a value from the highest down, into bytes from the highest bit down.

/// Bytes before the packed values of scale-offset.
const SCALE_OFFSET_HEAD: usize = 21;

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 64; zeros behind the end.
    fn next(&mut self, count: usize) -> u64 {
        let mut value = 0u128;
        let (first, shift) = (self.at / 8, self.at % 8);
        for nth in 0..9 {
            value = value << 8 | u128::from(self.bytes.get(first + nth).copied().unwrap_or(0));
        }
        self.at += count;
        let mask = if count >= 64 { u64::MAX } else { (1 << count) - 1 };
        (value >> (72 - shift - count)) as u64 & mask
    }
}

fn put(out: &mut Vec<u8>, value: u64, size: usize, big: bool) {
    let bytes = value.to_le_bytes();
    if big { out.extend(bytes[..size].iter().rev()) } else { out.extend(&bytes[..size]) }
}

/// Undoes n-bit, for plain numbers.
pub(super) fn nbit(packed: Vec<u8>, parameters: &[u32], most: usize) -> Result<Vec<u8>, String> {
    let &[_, unpacked, count, class, ref rest @ ..] = parameters else { return Err("n-bit without parameters".into()) };
    if unpacked != 0 {
        return Ok(packed);
    }
    let &[size, order, precision, offset, ..] = rest else { return Err("n-bit without parameters".into()) };
    let (size, precision, offset, count) = (size as usize, precision as usize, offset as usize, count as usize);
    if class != 1 || !(1..=8).contains(&size) || precision == 0 || precision > size * 8 || offset > size * 8 - precision
    {
        return Err("n-bit of something else than plain numbers, which fiberd cannot read".into());
    }
    if count.checked_mul(size).is_none_or(|bytes| bytes > most) || packed.len() < (count * precision).div_ceil(8) {
        return Err(format!("n-bit says {count} values, and there are {} bytes", packed.len()));
    }
    let mut bits = Bits { bytes: &packed, at: 0 };
    let mut out = Vec::with_capacity(count * size);
    (0..count).for_each(|_| put(&mut out, bits.next(precision) << offset, size, order == 1));
    Ok(out)
}

/// What scale-offset was told.
struct ScaleOffset {
    floats: bool,
    decimals: i32,
    size: usize,
    big: bool,
    fill: Option<u64>,
}

/// Undoes scale-offset.
pub(super) fn scale_offset(packed: Vec<u8>, parameters: &[u32], most: usize) -> Result<Vec<u8>, String> {
    let &[kind, factor, count, class, size, _, order, has_fill, ref fill @ ..] = parameters else {
        return Err("scale-offset without parameters".into());
    };
    let (count, size) = (count as usize, size as usize);
    let floats = match (kind, class) {
        (0, 1) if size == 4 || size == 8 => true,
        (2, 0) if matches!(size, 1 | 2 | 4 | 8) => false,
        _ => return Err("scale-offset of a kind that fiberd cannot read (known: integers, floats by decimals)".into()),
    };
    if !floats && factor as usize == size * 8 {
        // Nothing would have been won, and nothing was packed.
        return Ok(packed);
    }
    let words = (fill.first().copied().unwrap_or(0), fill.get(1).copied().unwrap_or(0));
    let fill = (has_fill == 1).then(|| u64::from(words.0) | if size == 8 { u64::from(words.1) << 32 } else { 0 });
    let told = ScaleOffset { floats, decimals: factor.cast_signed(), size, big: order == 1, fill };
    if count.checked_mul(size).is_none_or(|bytes| bytes > most) {
        return Err(format!("scale-offset says {count} values of {size} bytes"));
    }
    told.unpack(&packed, count)
}

impl ScaleOffset {
    fn unpack(&self, packed: &[u8], count: usize) -> Result<Vec<u8>, String> {
        let short = || format!("scale-offset has {} bytes, too few for {count} values", packed.len());
        let (head, values) = packed.split_at_checked(SCALE_OFFSET_HEAD).ok_or_else(short)?;
        let width = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut least = [0; 8];
        least.copy_from_slice(&head[5..13]);
        let least = u64::from_le_bytes(least);
        let full = self.size * 8;
        if width > full || values.len() < (count * width).div_ceil(8) {
            return Err(short());
        }
        let mut out = Vec::with_capacity(count * self.size);
        if width == full {
            // Stored as they are.
            for value in values.chunks_exact(self.size).take(count) {
                if self.big { out.extend(value.iter().rev()) } else { out.extend(value) }
            }
            return Ok(out);
        }
        let mut bits = Bits { bytes: values, at: 0 };
        let stands_for_fill = (1u64 << width) - 1;
        for _ in 0..count {
            let offset = bits.next(width);
            let value = match self.fill {
                Some(fill) if offset == stands_for_fill => fill,
                _ if self.floats => self.float(offset, least),
                _ => offset.wrapping_add(least),
            };
            put(&mut out, value, self.size, self.big);
        }
        Ok(out)
    }

    /// Bits of the number that is so many steps above the least.
    fn float(&self, steps: u64, least: u64) -> u64 {
        if self.size == 4 {
            let scale = 10f64.powi(self.decimals) as f32;
            u64::from((steps as f32 / scale + f32::from_bits(least as u32)).to_bits())
        } else {
            (steps as f64 / 10f64.powi(self.decimals) + f64::from_bits(least)).to_bits()
        }
    }
}
