//! The description of the API, made from the handlers' own types, and a page that shows it: one file, nothing loaded
//! from elsewhere.

use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Info, License, OpenApi, PathItem, Ref, RefOr, Response, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ApiState, documented};

/// What any request may be answered with, beside what its handler says.
const ALWAYS: [(&str, &str); 4] = [
    ("400", "The request itself cannot be understood"),
    ("408", "The request took too long"),
    ("429", "Too many requests"),
    ("500", "A fault of the daemon"),
];

static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    // Types that describe themselves can be written.
    Bytes::from(describe(documented(Arc::new(|_| None), Arc::default()).into_openapi()).to_json().unwrap_or_default())
});

static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    // Inside the page, nothing of the description may look like the end of its script.
    let description = String::from_utf8_lossy(&DESCRIPTION).replace('<', "\\u003c");
    Bytes::from(include_str!("docs.html").replace("\"DESCRIPTION\"", &description))
});

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(openapi)).routes(routes!(docs))
}

/// This description
#[utoipa::path(get, path = "/openapi.json", tag = "description", responses((status = 200, body = Object)))]
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.clone())
}

/// This description as a page for people
#[utoipa::path(get, path = "/docs", tag = "description",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn docs() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE.clone())
}

fn describe(mut api: OpenApi) -> OpenApi {
    let mut info = Info::new("fiberd", env!("CARGO_PKG_VERSION"));
    info.description = Some("Control API of the acquisition and DSP daemon for fiber-optic interrogators.".into());
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    api.info = info;
    api.servers = Some(vec![Server::new("/"), Server::new("/focus-server")]);
    for item in api.paths.paths.values_mut() {
        operations(item).for_each(with_common_failures);
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete, &mut item.put].into_iter().flatten()
}

fn with_common_failures(operation: &mut Operation) {
    for (status, description) in ALWAYS {
        let failure = || {
            let mut response = Response::new(description);
            let content = Content::new(Some(Ref::from_schema_name("ApiError")));
            response.content.insert("application/json".into(), RefOr::T(content));
            RefOr::T(response)
        };
        operation.responses.responses.entry(status.to_owned()).or_insert_with(failure);
    }
}
