//! The same numbers as Prometheus text.
