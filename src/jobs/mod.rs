//! Jobs: views that clients ask for while the daemon runs. Runs on tokio (`das-io-N`), behind the fence.
//!
//! [`feed`] keeps the newest lines of one stream of a job for whoever reads them, however slowly.

pub mod feed;
