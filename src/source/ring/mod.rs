//! The memory-mapped hardware ring.
