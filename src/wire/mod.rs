//! Frame to bytes.
