//! The description of the API, made from the handlers' own types, and a page that shows it: one file, nothing loaded
//! from elsewhere. They say what token a route needs as long as the daemon asks for tokens.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Info, License, OpenApi, PathItem, Ref, RefOr, Response, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ApiState, documented, security};

/// What any request may be answered with, beside what its handler says.
const ALWAYS: [(&str, &str); 4] = [
    ("400", "The request itself cannot be understood"),
    ("408", "The request took too long"),
    ("429", "Too many requests"),
    ("500", "A fault of the daemon"),
];

/// The same where a token is needed.
const WITH_TOKEN: [(&str, &str); 2] =
    [("401", "A valid token is needed"), ("403", "The role of the token is not enough")];

/// Name of the one way to show a token.
const TOKEN: &str = "token";

const ABOUT: &str = "Control API of the acquisition and DSP daemon for fiber-optic interrogators. The lines of a job come \
    by polling (/waterfall), by WebSocket (/ws), by RabbitMQ, and by gRPC: service pandadatastream.DataStreamService at \
    stream_url and stream_port of the job object, defined in /pandadatastream.proto.";

/// The description, and the page that shows it.
struct Pages {
    description: Bytes,
    page: Bytes,
}

/// For a daemon that asks for tokens, and for one that does not.
static WITH_TOKENS: LazyLock<Pages> = LazyLock::new(|| Pages::new(true));
static WITHOUT_TOKENS: LazyLock<Pages> = LazyLock::new(|| Pages::new(false));

impl Pages {
    fn new(with_tokens: bool) -> Self {
        let api = documented(Arc::new(|_| None), Arc::default()).into_openapi();
        // Types that describe themselves can be written.
        let description = describe(api, with_tokens).to_json().unwrap_or_default();
        // Inside the page, nothing of the description may look like the end of its script.
        let page = include_str!("docs.html").replace("\"DESCRIPTION\"", &description.replace('<', "\\u003c"));
        Self { description: Bytes::from(description), page: Bytes::from(page) }
    }

    /// As the configuration is now: a reload may exchange the tokens.
    fn of(state: &ApiState) -> &'static Self {
        if state.config.http.tokens.get().is_some() { &WITH_TOKENS } else { &WITHOUT_TOKENS }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(docs)).routes(routes!(proto))
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "description", responses((status = 200, body = Object)))]
async fn openapi(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], Pages::of(&state).description.clone())
}

/// This description as a page for people, who can try the routes there
#[utoipa::path(get, path = "/docs", tag = "description",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn docs(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], Pages::of(&state).page.clone())
}

/// The gRPC service of jobs, for code generators
#[utoipa::path(get, path = "/pandadatastream.proto", tag = "description",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn proto() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], include_str!("../streams/grpc/pandadatastream.proto"))
}

fn describe(mut api: OpenApi, with_tokens: bool) -> OpenApi {
    let mut info = Info::new("fiberd", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.into());
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    api.info = info;
    api.servers = Some(vec![Server::new("/"), Server::new("/focus-server")]);
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    api.components.get_or_insert_default().add_security_scheme(TOKEN, bearer);
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            with_failures(operation, &ALWAYS);
            if with_tokens {
                with_role(operation, &method, path);
            }
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::PUT, &mut item.put),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Says which role a token must have, as the check in front of the routes decides it.
fn with_role(operation: &mut Operation, method: &Method, path: &str) {
    let Some(role) = security::needed(method, path) else { return };
    operation.security = Some(vec![SecurityRequirement::new(TOKEN, [role.name()])]);
    with_failures(operation, &WITH_TOKEN);
}

fn with_failures(operation: &mut Operation, failures: &[(&str, &str)]) {
    for (status, description) in failures {
        let failure = || {
            let mut response = Response::new(*description);
            let content = Content::new(Some(Ref::from_schema_name("ApiError")));
            response.content.insert("application/json".into(), RefOr::T(content));
            RefOr::T(response)
        };
        operation.responses.responses.entry((*status).to_owned()).or_insert_with(failure);
    }
}
