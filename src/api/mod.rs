//! The control API: HTTP routes that Focus Server clients know, and our own. Runs on tokio (`das-io-N`).
//!
//! Translates between HTTP and the daemon, and decides nothing. Every route is there at `/…` and at
//! `/focus-server/…`; repeated and trailing slashes are folded. Every failure has one shape ([`ApiError`](crate::refusal::ApiError)), and no
//! body carries paths, hosts or credentials. It must never wait for a thread of the data path: what it tells comes
//! from atomics in [`Status`].
//!
//! As a request meets them: `server` is the connection loop, with [`tls`](crate::streams::tls) in front and
//! `connections` to decide who stays;
//! `request` names, limits and folds each request, [`cors`] says which pages may ask, [`security`] who may do what and
//! [`limits`] how often; `observe` holds the routes that only look, `focus` and its neighbours those of jobs and recordings, `docs`
//! describes them all, and `home` is the page at `/`; `body` is what handlers share; how they refuse stands in
//! [`refusal`](crate::refusal).

pub mod body;
mod connections;
pub mod cors;
mod docs;
mod focus;
mod home;
pub mod limits;
mod observe;
mod older;
mod recordings;
mod request;
pub mod security;
mod server;
mod timeline;
mod waterfall;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::config::{Config, HttpConfig};
use crate::health::Health;
use crate::jobs::Jobs;
use crate::jobs::requests::facts::channels;
use crate::status::{ApiCounters, Status, StreamCounters};
use crate::streams::websocket;
use body::BODY_LIMIT_BYTES;
use cors::Cors;
use request::Guard;
use security::Gate;
pub use server::{ServerOptions, serve};

/// Longest time from a request's header to its answer.
const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(10);

/// What handlers may look at.
#[derive(Clone)]
pub struct ApiState {
    /// What the daemon knows about itself.
    pub status: Arc<Status>,
    /// What it was told.
    pub config: Arc<Config>,
    /// What clients asked for.
    pub jobs: Jobs,
    /// What is not as it should be.
    pub health: Arc<Health>,
}

impl ApiState {
    /// Channels that views can show.
    fn channels(&self) -> usize {
        channels(&self.config, self.status.phase().phase.acquisition().map(Arc::as_ref))
    }
}

/// All routes, with everything around them.
pub fn router(state: ApiState) -> Router {
    let config = Arc::clone(&state.config);
    let jobs = state.jobs.clone();
    let feeds = Arc::new(move |id: &str| jobs.get(id).map(|job| job.feeds.clone()));
    let counters = Arc::clone(&state.status.counters.api);
    let routes = documented(feeds, Arc::clone(&state.status.counters.streams)).split_for_parts().0.with_state(state);
    around(routes, &config.http, REQUEST_TIME_LIMIT, counters)
}

/// All routes, each with its description. `feeds` finds those of a job.
fn documented(feeds: websocket::Lookup, counters: Arc<StreamCounters>) -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(home::routes())
        .merge(observe::routes())
        .merge(focus::routes())
        .merge(waterfall::routes())
        .merge(websocket::routes(feeds, counters))
        .merge(recordings::routes())
        .merge(older::routes())
        .merge(docs::routes())
}

/// Puts the guard, the panic barrier, the folding of paths and the gate around `routes`.
fn around(routes: Router, http: &HttpConfig, time_limit: Duration, counters: Arc<ApiCounters>) -> Router {
    let guard = Guard { time_limit, cors: Cors::new(&http.cors_origins), counters };
    let routes = routes
        .fallback(request::unknown_route)
        .method_not_allowed_fallback(request::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(from_fn_with_state(Gate::new(http), security::gate));
    // Folding must come before routing, so the routes are the fallback of a router that knows none.
    Router::new()
        .fallback_service(MapRequest::new(routes, request::fold_path))
        .layer(CatchPanicLayer::custom(request::panic_answer))
        .layer(from_fn_with_state(guard, request::guard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode, header};
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use serde_json::Value;
    use tower::ServiceExt;

    #[derive(serde::Deserialize)]
    struct Order {
        height: u32,
    }

    /// Routes that go wrong in every way that a handler can.
    fn rough() -> Router {
        let routes = Router::new()
            .route("/order", post(|body::Body(order): body::Body<Order>| async move { order.height.to_string() }))
            .route("/panic", get(panic_now))
            .route("/hang", get(std::future::pending::<()>))
            .route("/plain", get(|| async { (StatusCode::CONFLICT, "words of a library at /etc/x").into_response() }));
        around(routes, &HttpConfig::default(), Duration::from_millis(200), Arc::default())
    }

    async fn panic_now() -> String {
        panic!("secret of /etc/shadow")
    }

    async fn ask(request: Request<Body>) -> (StatusCode, String) {
        let response = rough().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("x-request-id"));
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn order(kind: &str, body: impl Into<Body>) -> Request<Body> {
        Request::post("/order").header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn every_failure_of_a_handler_has_the_one_shape() {
        let json = "application/json";
        let streamed = Body::new(Body::from("x".repeat(2 << 20)));
        let cases = [
            (order(json, "{"), 400, "malformed_json"),
            (order(json, "x".repeat(2 << 20)), 413, "body_too_long"),
            (order(json, streamed), 413, "body_too_long"),
            (order("text/html", r#"{"height":1}"#), 415, "not_json"),
            (order(json, r#"{"height":"x"}"#), 422, "invalid_field"),
            (order(json, "{}"), 422, "invalid_field"),
            (Request::get("/panic").body(Body::empty()).unwrap(), 500, "internal"),
            (Request::get("/hang").body(Body::empty()).unwrap(), 408, "too_slow"),
            (Request::get("/plain").body(Body::empty()).unwrap(), 409, "refused"),
        ];
        for (request, status, code) in cases {
            let (found, text) = ask(request).await;
            assert_eq!(found.as_u16(), status, "{code}: {text}");
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(body["code"], code);
            assert!(body["error"].is_string() && body["message"].is_string() && body["details"].is_object(), "{body}");
            assert_eq!(body["detail"].is_array(), status == 422, "{body}");
            assert!(!text.contains("/etc"), "{text}");
        }
        assert_eq!(ask(order(json, r#"{"height":7, "more":null}"#)).await, (StatusCode::OK, "7".into()));
    }
}
