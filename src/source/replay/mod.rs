//! Captured files as if they were live: our own (`CAPTURE.md`) and those of vendors.
//!
//! [`Replay`] plays files through the same trait as the hardware, on the capture thread; a thread of its own reads
//! ahead. [`describe`] says what is in a file. Every format has one file here that makes a `Capture` (metadata,
//! times, rows) and a row in `vendors`; nothing else knows formats. Nothing in a file, however broken, may panic or cost
//! memory beyond a few slabs.

mod ahead;
mod capture;
mod dasrcn;
mod fbe;
mod fdas;
mod febus;
mod febus_blocks;
pub(crate) mod format;
mod h5;
mod h5attrs;
mod h5file;
mod h5links;
mod h5rows;
mod h5samples;
mod info;
mod optodas;
mod player;
mod playlist;
mod prodml;
mod sintela;
mod stamp_column;
mod stored;
mod terra15;
mod times;
mod timetable;
mod timing;
mod vendors;
mod words;

pub use fbe::{Band, Lines, describe_lines};
pub use info::{Gap, Info, Samples, describe};
pub use player::Replay;
pub use timetable::{Place, Timetable};
