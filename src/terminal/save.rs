//! What is seen, as files: an image for people (PNG) and the numbers behind it for programs (NPY).
//!
//! Both have the newest row first, as the screen has it. The array is float32, rows × columns, in decibels; NaN where no
//! line came. The text in the image says what the axes are.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::colour;
use super::grid::{Grid, Scale};
use super::look::Look;
use super::pictures::{Shown, Subject};
use super::render::{reference, title};
use super::text::{compact_utc, short, utc};

/// Pixels of a cell, so that an image is about as wide as it is high.
const CELL: (usize, usize) = (2, 8);

/// Writes the newest `rows` rows of the picture to `folder`, and says the names of the two files.
///
/// # Errors
/// When the folder cannot be written, files of these names are there already, or there is nothing to be seen.
pub(super) fn save(folder: &Path, site: &str, shown: &Shown, look: &Look, rows: usize) -> io::Result<[String; 2]> {
    let columns = Grid::columns(&shown.picture);
    let grid = Grid::of(&shown.picture, rows, columns, look.normalised);
    let Some(scale) = grid.scale else {
        return Err(io::Error::other("there is nothing to save yet"));
    };
    let names = ["png", "npy"].map(|kind| format!("{}.{kind}", stem(site, shown, &grid)));
    let create = |name: &str| File::create_new(folder.join(name)).map(BufWriter::new);
    write_png(create(&names[0])?, &grid, scale, columns, &description(shown, look, &grid, scale))?;
    write_npy(create(&names[1])?, &grid, columns)?;
    Ok(names)
}

/// `fiberd-demo-5-200Hz-20261128T234533Z`.
fn stem(site: &str, shown: &Shown, grid: &Grid) -> String {
    let what = match shown.subject {
        Subject::Band(_, low, high) => format!("{}-{}Hz", short(low), short(high)),
        Subject::Channel(channel) => format!("channel{channel}"),
    };
    let newest_ms = grid.lines.iter().find_map(|line| line.start_ms).unwrap_or_default();
    let site: String = site.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let site = if site.is_empty() { "fiber" } else { &site };
    format!("fiberd-{site}-{what}-{}", compact_utc(newest_ms))
}

fn description(shown: &Shown, look: &Look, grid: &Grid, scale: Scale) -> String {
    let time = |ms: Option<i64>| ms.map_or_else(|| "unknown".to_owned(), utc);
    let (newest, oldest) = (grid.lines.first(), grid.lines.last());
    let (start, end) = shown.picture.axis.edges();
    let unit = shown.picture.axis.unit();
    format!(
        "{}; top row {} UTC, bottom row {} UTC; left edge {start} {unit}, right edge {end} {unit}; {:.1} to {:.1} dB re {}",
        title(shown, look),
        time(newest.and_then(|line| line.start_ms)),
        time(oldest.and_then(|line| line.start_ms)),
        scale.low_db,
        scale.high_db,
        reference(shown, look)
    )
}

fn write_png(out: impl Write, grid: &Grid, scale: Scale, columns: usize, description: &str) -> io::Result<()> {
    let (width, height) = (columns * CELL.0, grid.lines.len() * CELL.1);
    let mut encoder = png::Encoder::new(out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.add_itxt_chunk("Description".to_owned(), description.to_owned())?;
    let mut pixels = Vec::with_capacity(width * height * 3);
    for line in &grid.lines {
        let colours = line.db.iter().map(|&db| scale.level(db).map_or(colour::GAP, colour::map));
        let row: Vec<u8> = colours.flat_map(|rgb| [rgb; CELL.0]).flatten().collect();
        (0..CELL.1).for_each(|_| pixels.extend_from_slice(&row));
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    Ok(writer.finish()?)
}

/// Format version 1.0 of numpy's `numpy.lib.format`.
fn write_npy(mut out: impl Write, grid: &Grid, columns: usize) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {columns}), }}", grid.lines.len());
    // Magic, version and length are ten bytes; all together must be a multiple of 64, the last of them a new line.
    let missing = (10 + header.len() + 1).next_multiple_of(64) - (10 + header.len() + 1);
    header.push_str(&" ".repeat(missing));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for line in &grid.lines {
        out.write_all(&line.db.iter().flat_map(|db| db.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    out.flush()
}
