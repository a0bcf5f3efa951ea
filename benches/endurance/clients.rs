//! Clients of the control API that come and go: they ask for jobs, read them by gRPC, WebSocket or polling, well or badly,
//! and end their jobs or vanish.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::grpc::{Connection, Fault};
use crate::http::{Answer, Http};
use crate::script::{Crowd, Reading};
use crate::watch::Watch;

/// A display asks again after this time; a slow one rests so long.
const POLL_PAUSE: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(3);
/// Seconds on the time axis of a display.
const AXIS_S: u32 = 10;
/// Bytes that a slow WebSocket reads at a time.
const SIP: usize = 1000;

/// What clients did together.
#[derive(Default)]
pub struct Tally {
    pub jobs: AtomicU64,
    /// Refused as the contract says: no room, no signal, beyond the fiber.
    pub refused: AtomicU64,
    pub messages: AtomicU64,
    pub rows: AtomicU64,
}

impl Tally {
    fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }
}

/// Brings a crowd and stays until it has gone.
pub async fn come(crowd: Crowd, api: SocketAddr, tally: &Arc<Tally>, watch: &Arc<Watch>) {
    let until = Instant::now() + Duration::from_millis(crowd.ms);
    let mut clients = JoinSet::new();
    for number in 0..crowd.jobs {
        let (tally, watch) = (Arc::clone(tally), Arc::clone(watch));
        clients.spawn(async move {
            if let Err(error) = client(number, crowd, api, until, &tally, &watch).await {
                watch.violated("the control API answers", error.to_string());
            }
        });
    }
    while clients.join_next().await.is_some() {}
}

fn wish(number: usize, crowd: &Crowd) -> Value {
    let first = if crowd.equal { 1 } else { 1 + number * 7 % 90 };
    let mut wish = json!({
        "view_type": crowd.view,
        "channels": {"min": first, "max": first + crowd.channels - 1},
        "displayInfo": {"height": crowd.lines_per_s * AXIS_S},
    });
    if crowd.view != 2 {
        wish["displayTimeAxisDuration"] = AXIS_S.into();
        wish["nfftSelection"] = crowd.nfft.into();
        wish["frequencyRange"] = json!({"min": 0, "max": 200});
    }
    wish
}

async fn client(
    number: usize,
    crowd: Crowd,
    api: SocketAddr,
    until: Instant,
    tally: &Tally,
    watch: &Watch,
) -> Result<(), Fault> {
    let mut http = Http::new(api);
    let answer = http.ask("POST", "/configure", &wish(number, &crowd).to_string()).await?;
    let job: Value = match answer.status {
        200 => serde_json::from_slice(&answer.body)?,
        400 | 404 | 409 | 422 | 429 | 503 => {
            Tally::add(&tally.refused, 1);
            return Ok(());
        }
        status => return Err(format!("POST /configure: {status}: {}", answer.text()).into()),
    };
    Tally::add(&tally.jobs, 1);
    let id = job["job_id"].as_str().ok_or("a job without an id")?.to_owned();
    // The job may end by itself meanwhile: the signal goes, a restart brings another fiber, there is no room.
    let reading = async {
        match crowd.reading {
            Reading::Grpc => grpc(&job, crowd.slow, tally).await,
            Reading::WebSocket => websocket(&id, api, crowd.slow, tally).await,
            Reading::Poll => poll(&id, api, crowd.slow, tally, watch).await,
            Reading::Never => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = reading => {
            // Streams may be cut at any time; a poll has its answer.
            if crowd.reading == Reading::Poll {
                outcome?;
            }
            sleep_until(until).await;
        }
        () = sleep_until(until) => {}
    }
    if crowd.vanishes {
        return Ok(());
    }
    let answer = http.ask("DELETE", &format!("/job/{id}"), "").await?;
    match answer.status {
        200 | 404 | 410 => Ok(()),
        status => Err(format!("DELETE /job: {status}: {}", answer.text()).into()),
    }
}

async fn grpc(job: &Value, slow: bool, tally: &Tally) -> Result<(), Fault> {
    let url = job["stream_url"].as_str().ok_or("no stream_url")?;
    let port = job["stream_port"].as_u64().ok_or("no stream_port")?;
    let host = url.strip_prefix("http://").unwrap_or(url);
    let connection = Connection::open(&format!("{host}:{port}")).await?;
    let mut call = connection.call(0).await?;
    while call.next().await?.is_some() {
        Tally::add(&tally.messages, 1);
        if slow {
            sleep(SLOW).await;
        }
    }
    Ok(())
}

/// Only its bytes are read: what they hold is checked by the tests of the WebSocket.
async fn websocket(id: &str, api: SocketAddr, slow: bool, tally: &Tally) -> Result<(), Fault> {
    let mut stream = TcpStream::connect(api).await?;
    let request = format!(
        "GET /ws/{id} HTTP/1.1\r\nhost: {api}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = vec![0; if slow { SIP } else { 1 << 16 }];
    while stream.read(&mut bytes).await? > 0 {
        Tally::add(&tally.messages, 1);
        if slow {
            sleep(SLOW).await;
        }
    }
    Ok(())
}

async fn poll(id: &str, api: SocketAddr, slow: bool, tally: &Tally, watch: &Watch) -> Result<(), Fault> {
    let mut http = Http::new(api);
    let mut last_ms = BTreeMap::new();
    loop {
        let answer = http.get(&format!("/waterfall/{id}/1000")).await?;
        match answer.status {
            200 => {}
            201 => {
                let rows = rows_in_order(&answer, &mut last_ms);
                match rows {
                    Ok(rows) => Tally::add(&tally.rows, rows),
                    Err(what) => watch.violated("polled rows come in order, none twice", format!("job {id}: {what}")),
                }
            }
            // The job has ended.
            208 | 400 | 404 | 410 => return Ok(()),
            status => return Err(format!("GET /waterfall: {status}: {}", answer.text()).into()),
        }
        sleep(if slow { SLOW } else { POLL_PAUSE }).await;
    }
}

fn rows_in_order(answer: &Answer, last_ms: &mut BTreeMap<String, i64>) -> Result<u64, String> {
    let blocks: Vec<Value> = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let mut found = 0;
    for row in blocks.iter().filter_map(|block| block["rows"].as_array()).flatten() {
        found += 1;
        let canvas = row["canvasId"].as_str().unwrap_or_default().to_owned();
        let begin = row["startTimestamp"].as_i64().ok_or("a row without a time")?;
        let end = row["endTimestamp"].as_i64().ok_or("a row without an end")?;
        if end <= begin {
            return Err(format!("a row from {begin} to {end} ms"));
        }
        // The interrogator's clock may step back, but the same moment does not come twice in one answer.
        if last_ms.insert(canvas, begin) == Some(begin) {
            return Err(format!("the row at {begin} ms came twice"));
        }
    }
    Ok(found)
}
