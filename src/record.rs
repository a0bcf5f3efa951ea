//! Raw recording into a capture file.
