//! The daemon that is loaded: our own with an interrogator beside it, processes as in production, or somebody's at an
//! address. What is seen of it comes from outside.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fiberd::bench::Case;
use fiberd::bench::observe::{Machine, Memory, Metrics, cpu_time};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::grpc::Fault;
use crate::http::Http;

const READY: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);
/// Before the first job: the longest window of a scenario has been seen once.
const SETTLED_S: f64 = 2.0;

/// Nothing here is to be refused for asking often, and a job's budget is what is measured: no limit but the machine's.
/// Ports are below those that systems give to outgoing connections.
const LIMITS: &str = "http.rate_configure_per_s = 1e6\nhttp.rate_configure_burst = 1000000\n\
    http.rate_reads_per_s = 1e6\nhttp.rate_reads_burst = 1000000\nhttp.max_connections = 4096\n\
    jobs.max_jobs = 10000\njobs.max_load = 1000\njobs.memory_mib = 1048576\n\
    jobs.first_port = 20000\njobs.last_port = 31999\n";

pub struct Rig {
    pub http_address: SocketAddr,
    /// How large the fiber is, and its pulse repetition rate.
    pub channels: usize,
    pub prr_hz: f64,
    own: Option<Own>,
}

struct Own {
    producer: Part,
    daemon: Part,
    dir: TempDir,
}

struct Part {
    child: Child,
    log: PathBuf,
}

impl Part {
    fn start(dir: &Path, name: &str, args: &[&str]) -> io::Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiberd"));
        command.args(args).arg("--with-parent").env_remove("NOTIFY_SOCKET");
        // What is set in our own environment must not change what is measured.
        for (variable, _) in std::env::vars_os().filter(|(v, _)| v.to_string_lossy().starts_with("FIBERD_")) {
            command.env_remove(variable);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn()?;
        Ok(Self { child, log })
    }

    fn must_live(&mut self) -> Result<(), Fault> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(20).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                Err(format!("a process has ended by itself ({status}):\n  {last}").into())
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + GRACE;
        while asked.is_ok() && Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has and has used.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub cpu: Duration,
    /// Resident memory, without the ring where that can be told apart.
    pub memory: u64,
    pub files: usize,
    pub threads: usize,
    /// Ports where it listens; not known of a daemon elsewhere.
    pub ports: Option<usize>,
}

/// Processor times of all who take part.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub at: Instant,
    pub daemon: Duration,
    pub producer: Duration,
    pub own: Duration,
    pub machine: Machine,
}

impl Rig {
    /// Starts daemon and interrogator and waits until traces flow. To be called from the main thread: when it ends, the
    /// processes do.
    pub async fn start(case: Case) -> Result<Self, Fault> {
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("fiberd-load-").tempdir_in(root)?;
        let http_address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let (config, scene, ring) =
            (dir.path().join("fiberd.toml"), dir.path().join("scene.toml"), dir.path().join("ring"));
        fs::write(&config, format!("{LIMITS}{}", case.config(&ring, http_address.port(), 0, None)))?;
        fs::write(&scene, case.scene())?;
        let words = |path: &Path| path.to_string_lossy().into_owned();
        let daemon = Part::start(dir.path(), "daemon", &["run", "--config", &words(&config)])?;
        let simulate = ["simulate", "--scene", &words(&scene), "--ring", &words(&ring), "--repeat", "1"];
        let producer = Part::start(dir.path(), "producer", &simulate)?;
        let own = Some(Own { producer, daemon, dir });
        let mut rig = Self { http_address, channels: case.channels, prr_hz: case.prr_hz, own };
        let began = Instant::now();
        while rig.metrics().await.is_none_or(|m| (m.count("fiberd_traces_total") as f64) < SETTLED_S * case.prr_hz) {
            rig.must_live()?;
            if began.elapsed() > READY {
                return Err("traces do not flow".into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(rig)
    }

    /// A daemon that runs already, at `http://HOST:PORT`.
    pub async fn at(url: &str) -> Result<Self, Fault> {
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let http_address = address.to_socket_addrs()?.next().ok_or("no such host")?;
        let live: Value = serde_json::from_slice(&Http::new(http_address).get("/live_metadata").await?.body)?;
        let channels = live["number_of_channels"].as_u64().ok_or("no number_of_channels")? as usize;
        let prr_hz = live["prr"].as_f64().filter(|prr| *prr > 0.0).ok_or("the daemon waits for fiber")?;
        Ok(Self { http_address, channels, prr_hz, own: None })
    }

    pub fn must_live(&mut self) -> Result<(), Fault> {
        let Some(own) = &mut self.own else { return Ok(()) };
        own.daemon.must_live()?;
        own.producer.must_live()
    }

    pub async fn metrics(&self) -> Option<Metrics> {
        let answer = Http::new(self.http_address).get("/metrics").await.ok()?;
        (answer.status == 200).then(|| Metrics::parse(&String::from_utf8_lossy(&answer.body)))
    }

    pub async fn account(&self) -> Result<Account, Fault> {
        if let Some(own) = &self.own {
            return Ok(account(own.daemon.child.id())?);
        }
        let metrics = self.metrics().await.ok_or("no metrics")?;
        let value = |name: &str| metrics.value(&format!("fiberd_process_{name}")).unwrap_or(0.0);
        Ok(Account {
            cpu: Duration::from_secs_f64(value("cpu_seconds_total")),
            memory: value("resident_memory_bytes") as u64,
            files: value("open_fds") as usize,
            threads: value("threads") as usize,
            ports: None,
        })
    }

    pub async fn spent(&self) -> Result<Spent, Fault> {
        let daemon = self.account().await?.cpu;
        let producer = self.own.as_ref().map(|own| cpu_time(own.producer.child.id())).transpose()?;
        let own = cpu_time(std::process::id())?;
        Ok(Spent { at: Instant::now(), daemon, producer: producer.unwrap_or_default(), own, machine: Machine::look()? })
    }

    /// Ends the processes, which must still be there.
    pub fn stop(mut self) -> Result<(), Fault> {
        self.must_live()?;
        if let Some(own) = self.own.take() {
            drop(own.daemon);
            drop(own.producer);
            own.dir.close()?;
        }
        Ok(())
    }
}

fn account(pid: u32) -> io::Result<Account> {
    let memory = Memory::of(pid)?;
    let entries = |dir: &str| Ok::<_, io::Error>(fs::read_dir(format!("/proc/{pid}/{dir}"))?.flatten());
    let files: Vec<_> = entries("fd")?.collect();
    // Sockets that listen, by their inodes.
    let mut listening = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let inodes = sockets
            .filter(|fields| fields.get(3) == Some(&"0A"))
            .filter_map(|fields| fields.get(9).copied().map(str::to_owned));
        listening.extend(inodes.map(|inode| format!("socket:[{inode}]")));
    }
    let links = files.iter().filter_map(|file| fs::read_link(file.path()).ok());
    let ports = links.filter(|link| listening.contains(&*link.to_string_lossy())).count();
    Ok(Account {
        cpu: cpu_time(pid)?,
        memory: memory.resident.saturating_sub(memory.shared),
        files: files.len(),
        threads: entries("task")?.count(),
        ports: Some(ports),
    })
}
