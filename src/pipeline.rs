//! The dsp thread.
