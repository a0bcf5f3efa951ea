//! What clients ask for over HTTP, and the rules by which it becomes a plan of a job. Pure.
//!
//! [`request`] is what arrives, [`facts`] what is known of the fiber, [`rules`] checks the one against the other; [`times`]
//! are those of recordings.

pub mod facts;
pub mod request;
pub mod rules;
pub mod times;
