//! The definitions, in f64 and without haste.
