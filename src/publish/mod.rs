//! Frames and status to where they are wanted.
