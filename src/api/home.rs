//! `/`: a page for people who open the daemon's address: what runs here, how it is, and where to look further.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(home))
}

/// A page for people: the state of the daemon, and links
#[utoipa::path(get, path = "/", tag = "description",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn home(State(state): State<ApiState>) -> impl IntoResponse {
    let conditions = state.health.look();
    let (word, _) = state.status.outlook();
    let conditions: Vec<_> = conditions.iter().map(|one| (one.what.as_str(), one.advice)).collect();
    let page = page(&state.config.site, word, &conditions);
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page)
}

/// `conditions`: each with what to do about it.
fn page(site: &str, state: &str, conditions: &[(&str, &str)]) -> String {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(what, advice)| format!("<li>{} <em>({})</em></li>\n", escaped(what), escaped(advice)))
        .collect();
    // Links without a slash in front lead on from /focus-server/ as well.
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>fiberd: {site}</title>
<style>body{{font:15px/1.5 sans-serif;margin:2em auto;max-width:40em;padding:0 1em;color:#222}}</style></head>
<body><h1>fiberd: {site}</h1>
<p>State: <strong>{state}</strong></p>
<ul>
{conditions}</ul>
<p><a href="docs">The control API: every route, with examples</a> · <a href="readyz">readiness</a> ·
<a href="live_metadata">the fiber</a> · <a href="metrics">metrics</a></p>
<p>fiberd {version}</p></body></html>
"#,
        site = escaped(site),
        conditions = conditions.concat(),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_driver_stay_words() {
        let page = page("north", "waiting for fiber", &[("<script>1 & 2</script>", "do \"c\"")]);
        assert!(page.contains("<strong>waiting for fiber</strong>"), "{page}");
        assert!(page.contains("<li>&lt;script&gt;1 &amp; 2&lt;/script&gt; <em>(do &quot;c&quot;)</em></li>"), "{page}");
    }
}
