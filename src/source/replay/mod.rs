//! Captured files as if they were live: our own (`CAPTURE.md`) and those of vendors.
//!
//! [`Replay`] plays files through the same trait as the hardware, on the capture thread; a thread of its own reads
//! ahead. [`describe`] says what is in a file. Every format has one file here that makes a `Capture` (metadata,
//! times, rows) and a row in `vendors`; nothing else knows formats. Nothing in a file, however broken, may panic or cost
//! memory beyond a few slabs.

mod ahead;
mod apsensing;
mod axes;
mod capture;
mod dasdae;
mod dasrcn;
mod fbe;
mod fdas;
#[cfg(test)]
mod fdas_tests;
mod fdas_walk;
mod febus;
mod febus_blocks;
pub(crate) mod format;
mod found;
mod h5;
mod h5attrs;
mod h5file;
mod h5links;
mod h5rows;
mod h5samples;
mod info;
mod levels;
mod listing;
mod mseed;
mod mseed_codec;
mod mseed_head;
mod mseed_rows;
mod mseed_weave;
mod neubrex;
mod odh4;
mod optodas;
mod pieces;
mod plain;
mod player;
mod playlist;
mod prodml;
mod segy;
mod segy_heads;
mod silixa;
mod silixa_h5;
mod sintela;
mod stamp_column;
mod stored;
mod strips;
mod tdms;
mod tdms_meta;
mod terra15;
mod ties;
mod times;
mod timetable;
mod timing;
mod vendors;
mod words;
mod xdas;

pub(crate) use self::prodml::{SCALE, SCALED_UNIT, WAVELENGTH};
pub use fbe::{BandOfFile, Lines, describe_lines};
pub(crate) use info::decode;
pub use info::{
    ChannelSet, Depth, Extent, Gap, Gatherer, Info, NoiseFloor, Overview, PICTURE_CELLS, Samples, Segment, Spread,
    Statistics, describe, look,
};
pub use listing::{Listing, candidates, is_pattern, list};
pub use pieces::OtherPiece;
pub use player::{Replay, contents};
pub use playlist::Contents;
pub use times::{iso_to_ns, ns_to_iso};
pub use timetable::{Place, Timetable};
pub use vendors::file_of;
