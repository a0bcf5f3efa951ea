//! The control API: translates, decides nothing.
