//! The gate in front of every route: how often a client may ask, and what it may ask for ([`Access`] knows its role).
//!
//! What whoever watches over the process asks for (`/healthz`, `/readyz`) needs no token, nor do the pages that say what
//! this is (`/`, `/docs` with what belongs to it): they hold no data of the fiber and no secret. Nor does OPTIONS, which
//! browsers send without one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::{Span, warn};

use super::limits::Rates;
use crate::config::{HttpConfig, Role};
use crate::log_limit::LogLimit;
use crate::streams::access::{Access, Peer};

/// Refusals are told in the log at most so often, whatever the reason.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// Routes that need no token to look at.
const OPEN: [&str; 6] = ["/", "/healthz", "/readyz", "/docs", "/openapi.json", "/pandadatastream.proto"];

/// What a request needs; `None` = nothing. `path` is folded.
pub(super) fn needed(method: &Method, path: &str) -> Option<Role> {
    match (method, path) {
        (&Method::OPTIONS, _) => None,
        (&Method::GET | &Method::HEAD, path) if OPEN.contains(&path) => None,
        // Asks for a list by a body, and changes nothing.
        (&Method::GET | &Method::HEAD, _) | (&Method::POST, "/recordings_in_time_range") => Some(Role::Read),
        _ => Some(Role::Control),
    }
}

/// The gate's own state.
#[derive(Clone)]
pub(super) struct Gate {
    access: Access,
    rates: Arc<Rates>,
    log_limit: Arc<LogLimit>,
}

impl Gate {
    pub(super) fn new(http: &HttpConfig) -> Self {
        let rates = Arc::new(Rates::new(&http.rates));
        Self { access: Access::new(http), rates, log_limit: Arc::new(LogLimit::new(BETWEEN_WARNINGS)) }
    }

    fn log_refused(&self, client: IpAddr, why: &str) {
        if let Some(others) = self.log_limit.turn("refused") {
            warn!(%client, others_since_last_line = others, "a request was refused: {why}");
        }
    }
}

/// Lets a request through to its route when its client has not asked too often and may do what it asks for. Behind the
/// folding of paths; in front of the routes, so that strangers do not even learn which there are.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let needed = needed(request.method(), request.uri().path());
    let client = request.extensions().get().copied().unwrap_or(Peer::UNKNOWN).0;
    // Who ends something makes room: that is not held back like what asks for more.
    let asks_for_more = needed == Some(Role::Control) && request.method() != Method::DELETE;
    if let Err(refused) = gate.rates.take(client, asks_for_more) {
        gate.log_refused(client, "too many requests");
        return refused.into_response();
    }
    if let Some(role) = needed {
        match gate.access.check_request(&request, role) {
            Ok(identity) => {
                if let Some(name) = &identity.name {
                    Span::current().record("who", name.as_str());
                }
                request.extensions_mut().insert(identity);
            }
            Err(denied) => {
                gate.log_refused(client, &denied.to_string());
                return denied.into_response();
            }
        }
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_is_a_read() {
        let cases = [
            (Method::GET, "/healthz", None),
            (Method::HEAD, "/healthz", None),
            (Method::GET, "/readyz", None),
            (Method::GET, "/docs", None),
            (Method::GET, "/", None),
            (Method::GET, "/docs/x", Some(Role::Read)),
            (Method::GET, "/live_metadata", Some(Role::Read)),
            (Method::GET, "/metrics", Some(Role::Read)),
            (Method::OPTIONS, "/configure", None),
            (Method::POST, "/healthz", Some(Role::Control)),
            (Method::GET, "/ack", Some(Role::Read)),
            (Method::HEAD, "/nothing", Some(Role::Read)),
            (Method::POST, "/recordings_in_time_range", Some(Role::Read)),
            (Method::POST, "/configure", Some(Role::Control)),
            (Method::DELETE, "/job/0-1", Some(Role::Control)),
            (Method::from_bytes(b"BREW").unwrap(), "/ack", Some(Role::Control)),
        ];
        for (method, path, wanted) in cases {
            assert_eq!(needed(&method, path), wanted, "{method} {path}");
        }
    }
}
