//! Captured files as if live.
