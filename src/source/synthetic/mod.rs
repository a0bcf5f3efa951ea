//! The synthetic interrogator: a seeded scene, written into the hardware ring in real time.
