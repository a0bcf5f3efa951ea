//! The control API: HTTP routes that Focus Server clients know, and our own. Runs on tokio (`das-io-N`).
//!
//! Translates between HTTP and the daemon, and decides nothing. Every route is there at `/…` and at
//! `/focus-server/…`; repeated and trailing slashes are folded. Every failure has one shape ([`error::ApiError`]), and no
//! body carries paths, hosts or credentials. It must never wait for a thread of the data path: what it tells comes
//! from atomics in [`Status`].
//!
//! `request` folds paths and guards each request, `observe` holds the routes that only look, `body` and `error` are
//! what handlers share, `server` is the connection loop.

pub mod body;
pub mod error;
mod observe;
mod request;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::Config;
use crate::status::Status;
use body::BODY_LIMIT_BYTES;
pub use server::serve;

/// What handlers may look at.
#[derive(Clone)]
pub struct ApiState {
    /// What the daemon knows about itself.
    pub status: Arc<Status>,
    /// What it was told.
    pub config: Arc<Config>,
}

impl ApiState {
    /// Channels of the fiber at hand, or the configured number while there is none.
    fn channels(&self) -> usize {
        self.status.phase().phase.acquisition().map_or(self.config.fiber.channels, |a| a.channels)
    }
}

/// All routes, with everything around them.
pub fn router(state: ApiState) -> Router {
    around(observe::routes().with_state(state))
}

/// Puts the guard, the panic barrier and the folding of paths around `routes`.
fn around(routes: Router) -> Router {
    let routes = routes
        .fallback(request::unknown_route)
        .method_not_allowed_fallback(request::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES));
    // Folding must come before routing, so the routes are the fallback of a router that knows none.
    Router::new()
        .fallback_service(MapRequest::new(routes, request::fold_path))
        .layer(CatchPanicLayer::custom(request::panic_answer))
        .layer(from_fn(request::guard))
}
