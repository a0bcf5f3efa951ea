//! A daemon that is asked for jobs over HTTP.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::daemon::{Daemon, Process, acquisition, simulator};
use super::http::{Answer, ask, exchange, get};

pub struct JobsRig {
    pub daemon: Daemon,
    _simulator: Option<Process>,
    _dir: tempfile::TempDir,
}

impl JobsRig {
    /// A daemon whose ring nobody writes.
    pub fn dark(more: &str) -> Self {
        Self::start(more, false)
    }

    /// A daemon that acquires.
    pub fn lit(more: &str) -> Self {
        let rig = Self::start(more, true);
        rig.daemon.wait_state("acquiring");
        rig
    }

    fn start(more: &str, light: bool) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let simulator = light.then(|| simulator(dir.path(), 60));
        let config = format!(
            "site = \"test\"\n{}[broker]\nenabled = false\n\
             [[view]]\nkind = \"waterfall\"\nname = \"whole\"\n[jobs]\nmax_load = 100\n{more}\n",
            acquisition(dir.path(), 60)
        );
        let daemon = Daemon::start_with(dir.path(), &config, "rate_configure_burst = 1000", "info");
        Self { daemon, _simulator: simulator, _dir: dir }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.daemon.port))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, "application/json", body.to_string().as_bytes())
    }

    pub fn send(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: das.example:5000\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        exchange(self.address(), &[head.as_bytes(), body].concat()).unwrap_or_else(|| panic!("no answer to {path}"))
    }

    pub fn configure(&self, request: &Value) -> Value {
        let answer = self.post("/configure", request);
        let said = || self.daemon.process.lines().join("\n");
        assert_eq!(answer.status, 200, "{request}: {}\n{}", answer.text(), said());
        answer.json()
    }

    pub fn get(&self, path: &str) -> Answer {
        get(self.address(), path)
    }

    pub fn delete(&self, id: &str) -> Answer {
        ask(self.address(), "DELETE", &format!("/job/{id}"))
    }
}

/// A good request of each view.
pub fn good(view: u8) -> Value {
    let mut request = json!({
        "view_type": view, "channels": { "min": 5, "max": 14 }, "displayInfo": { "height": 100 },
        "displayTimeAxisDuration": 10, "nfftSelection": 128, "frequencyRange": { "min": 10, "max": 400 },
    });
    if view == 1 {
        request["channels"]["max"] = json!(5);
    }
    if view == 2 {
        for field in ["displayTimeAxisDuration", "nfftSelection", "frequencyRange"] {
            request[field] = Value::Null;
        }
    }
    request
}

pub fn with(mut request: Value, path: &str, value: Value) -> Value {
    let place = path.split('.').fold(&mut request, |place, key| &mut place[key]);
    *place = value;
    request
}

/// The one shape, and nothing of this machine in it.
pub fn refused(answer: &Answer, status: u16, words: &str) -> Value {
    assert_eq!(answer.status, status, "{words}: {}", answer.text());
    let body = answer.json();
    for key in ["error", "code", "message", "status"] {
        assert!(body[key].is_string(), "{key} in {body}");
    }
    assert!(body["details"].is_object() && body.get("reason").is_some(), "{body}");
    assert_eq!(body["detail"].is_array(), status == 422, "{body}");
    let text = answer.text();
    assert!(text.contains(words), "{words}: {text}");
    for secret in ["/dev/shm", "/root", "/home", "panicked", "src/", "<html"] {
        assert!(!text.contains(secret), "{text}");
    }
    body
}
