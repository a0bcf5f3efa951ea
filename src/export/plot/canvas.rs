//! Pixels, and letters on them.

use std::io::{self, Write};

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont, point};

use crate::colour::Rgb;

/// `DejaVu` Sans, cut down to the letters that are needed; its licence lies beside it.
const FONT: &[u8] = include_bytes!("DejaVuSans-subset.ttf");

/// A picture being drawn, from the upper left corner.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<u8>,
    font: FontRef<'static>,
}

/// Which point of a text stands where it is put, from 0 (left, top) to 1 (right, bottom).
#[derive(Clone, Copy)]
pub(super) struct Align(pub(super) f32, pub(super) f32);

/// A text as it is to be drawn.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    /// Height of a line in pixels.
    pub(super) size: f32,
    pub(super) colour: Rgb,
}

impl Canvas {
    /// # Errors
    /// When the built-in font is broken.
    pub(super) fn new(width: usize, height: usize, paper: Rgb) -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(FONT)?;
        Ok(Self { width, height, pixels: paper.repeat(width * height), font })
    }

    pub(super) fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        if x < self.width && y < self.height {
            self.pixels[(y * self.width + x) * 3..][..3].copy_from_slice(&colour);
        }
    }

    /// A rectangle from `(x, y)` on.
    pub(super) fn fill(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Rgb) {
        for row in y..(y + height).min(self.height) {
            (x..(x + width).min(self.width)).for_each(|column| self.set(column, row, colour));
        }
    }

    /// The four edges of a rectangle, just outside of it.
    pub(super) fn frame(&mut self, (x, y): (usize, usize), (width, height): (usize, usize), colour: Rgb) {
        let (left, top) = (x.saturating_sub(1), y.saturating_sub(1));
        for edge in [top, y + height] {
            self.fill((left, edge), (width + 2, 1), colour);
        }
        for edge in [left, x + width] {
            self.fill((edge, top), (1, height + 2), colour);
        }
    }

    fn blend(&mut self, x: i32, y: i32, colour: Rgb, share: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width && y < self.height {
            for (pixel, ink) in self.pixels[(y * self.width + x) * 3..][..3].iter_mut().zip(colour) {
                *pixel = (f32::from(*pixel) * (1.0 - share) + f32::from(ink) * share).round() as u8;
            }
        }
    }

    /// Width of a text in pixels.
    pub(super) fn width_of(&self, text: &str, size: f32) -> f32 {
        self.placed(text, size).last().map_or(0.0, |&(_, _, end)| end)
    }

    /// Letters, where each begins and where it ends.
    fn placed(&self, text: &str, size: f32) -> Vec<(char, f32, f32)> {
        let font = self.font.as_scaled(PxScale::from(size));
        let mut at = 0.0;
        let place = |letter| {
            let begin = at;
            at += font.h_advance(font.glyph_id(letter));
            (letter, begin, at)
        };
        text.chars().map(place).collect()
    }

    /// A line of text.
    pub(super) fn text(&mut self, (x, y): (f32, f32), align: Align, text: &str, ink: Ink) {
        self.draw(text, ink.size, |canvas, (across, down), size, share| {
            let at = (x - align.0 * size.0 + across, y - align.1 * size.1 + down);
            canvas.blend(at.0.round() as i32, at.1.round() as i32, ink.colour, share);
        });
    }

    /// A line of text, from below upwards.
    pub(super) fn text_upwards(&mut self, (x, y): (f32, f32), align: Align, text: &str, ink: Ink) {
        self.draw(text, ink.size, |canvas, (across, down), size, share| {
            let at = (x - align.1 * size.1 + down, y + align.0 * size.0 - across);
            canvas.blend(at.0.round() as i32, at.1.round() as i32, ink.colour, share);
        });
    }

    /// Hands each pixel of a text to `put`: place from its upper left corner, size of the whole, how much of it is inked.
    fn draw(&mut self, text: &str, size: f32, mut put: impl FnMut(&mut Self, (f32, f32), (f32, f32), f32)) {
        let font = self.font.clone();
        let scaled = font.as_scaled(PxScale::from(size));
        let whole = (self.width_of(text, size), scaled.height());
        for (letter, begin, _) in self.placed(text, size) {
            let glyph = scaled.glyph_id(letter).with_scale_and_position(size, point(begin, scaled.ascent()));
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, share| put(self, (corner.x + x as f32, corner.y + y as f32), whole, share.min(1.0)));
        }
    }

    /// As a PNG, with a text for programs that show one.
    pub(super) fn write_png(&self, out: impl Write, description: &str) -> io::Result<()> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.add_itxt_chunk("Description".to_owned(), description.to_owned())?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }
}
