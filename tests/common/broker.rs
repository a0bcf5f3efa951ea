//! A private RabbitMQ for tests: own ports, own home, nothing shared with a broker that runs on this machine.
//!
//! Needs Debian's `rabbitmq-server` package; fails with a clear message without it. A small shell process holds the
//! other end of a pipe: when the test process ends, however it ends, it kills what was started and removes the folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const READY: Duration = Duration::from_secs(120);
/// Times that a broker may fail to start: somebody else on this machine may take a port between our look and its.
const ATTEMPTS: usize = 3;

/// A broker and its helpers. Everything ends when it is dropped or the test process ends.
pub struct Broker {
    dir: PathBuf,
    port: u16,
    epmd_port: u16,
    dist_port: u16,
    epmd: Child,
    server: Mutex<Option<Child>>,
    // Kills the pids of the last line it read, and removes the folder, when its stdin closes.
    reaper: Mutex<ChildStdin>,
}

/// The broker that all tests of one binary share; tests that hurt it start their own.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(Broker::start)
}

/// A TCP port of loopback that is free and stays so until it is used: it lies below those that the system gives to
/// connections, one of which would take it sooner or later, and nobody else in this process gets it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id() % 100 * 100) as u16 + number % 100;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).expect("a process has a pid")
}

/// What `start` gives, once it does.
fn attempt<T>(start: impl Fn() -> Result<T, String>) -> T {
    let mut refused = String::new();
    for _ in 0..ATTEMPTS {
        match start() {
            Ok(started) => return started,
            Err(why) => refused = why,
        }
    }
    panic!("{refused}");
}

impl Broker {
    /// Starts one and waits until it answers.
    pub fn start() -> Self {
        // Other ports each time.
        attempt(|| {
            let broker = Self::prepared();
            broker.launch().map(|()| broker)
        })
    }

    /// Everything but the broker itself.
    fn prepared() -> Self {
        let script = Path::new(SCRIPTS).join("rabbitmq-server");
        assert!(script.exists(), "{} is missing: these tests need Debian's rabbitmq-server", script.display());
        let dir = tempfile::Builder::new().prefix("fiberd-broker-").tempdir().expect("a folder").keep();
        let [port, epmd_port, dist_port] = std::array::from_fn(|_| free_port());
        let cookie = dir.join(".erlang.cookie");
        fs::write(&cookie, "FIBERDTESTS").expect("cookie");
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).expect("cookie mode");
        let config = format!("listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n");
        fs::write(dir.join("rabbitmq.conf"), config).expect("configuration");
        fs::write(dir.join("enabled_plugins"), "[].\n").expect("plugins");
        let epmd = Command::new("epmd")
            .args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("epmd, which comes with Erlang");
        let clean = r#"while read line; do pids=$line; done; kill -9 $pids 2>/dev/null; sleep 0.2; rm -rf -- "$0""#;
        // Never waited for: it outlives us on purpose.
        #[allow(clippy::zombie_processes)]
        let mut reaper =
            Command::new("sh").args(["-c", clean]).arg(&dir).stdin(Stdio::piped()).spawn().expect("a shell");
        let reaper = Mutex::new(reaper.stdin.take().expect("piped"));
        Self { dir, port, epmd_port, dist_port, epmd, server: Mutex::new(None), reaper }
    }

    fn command(&self, script: &str) -> Command {
        let dir = &self.dir;
        let mut command = Command::new(Path::new(SCRIPTS).join(script));
        command
            .env("HOME", dir)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("there-is-none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("config"))
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2")
            .env("detached", "1")
            .current_dir(dir)
            .stdin(Stdio::null());
        command
    }

    fn node(&self) -> String {
        format!("t{}@localhost", self.port)
    }

    /// Waits until it answers; what it said when it ended instead.
    fn launch(&self) -> Result<(), String> {
        let log = fs::File::create(self.dir.join("start.log")).expect("log");
        let errors = log.try_clone().expect("log");
        let server = self.command("rabbitmq-server").stdout(log).stderr(errors).spawn().expect("rabbitmq-server");
        self.tell_reaper(Some(&server));
        *lock(&self.server) = Some(server);
        let began = Instant::now();
        while !self.answers() {
            let log = || fs::read_to_string(self.dir.join("start.log")).unwrap_or_default();
            let mut server = lock(&self.server);
            if server.as_mut().is_none_or(|server| matches!(server.try_wait(), Ok(Some(_)))) {
                // It is waited for: nobody may send its pid a signal any more.
                *server = None;
                return Err(format!("the broker ended while starting:\n{}", log()));
            }
            drop(server);
            if began.elapsed() > READY {
                self.end(Signal::KILL);
                return Err(format!("the broker did not answer within {READY:?}:\n{}", log()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn tell_reaper(&self, server: Option<&Child>) {
        let server = server.map(|server| server.id().to_string()).unwrap_or_default();
        writeln!(lock(&self.reaper), "{} {server}", self.epmd.id()).expect("the reaper lives as long as we do");
    }

    /// Whether AMQP is spoken at the port: the answer to the protocol header begins with 1.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut first = [0];
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.write_all(b"AMQP\0\0\x09\x01").is_ok()
            && stream.read_exact(&mut first).is_ok()
            && first == [1]
    }

    /// `amqp://…` of the default vhost, without credentials (guest, guest).
    pub fn uri(&self) -> String {
        format!("amqp://127.0.0.1:{}/%2f", self.port)
    }

    /// The AMQP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Pid of the broker, for its CPU time.
    pub fn server_pid(&self) -> u32 {
        lock(&self.server).as_ref().map_or(0, Child::id)
    }

    /// SIGKILL, as if the power failed.
    pub fn kill(&self) {
        self.end(Signal::KILL);
    }

    /// SIGTERM and waits for the orderly end.
    pub fn stop(&self) {
        self.end(Signal::TERM);
    }

    fn end(&self, signal: Signal) {
        if let Some(mut server) = lock(&self.server).take() {
            kill_process(pid(&server), signal).expect("our own child");
            server.wait().expect("our own child");
            self.tell_reaper(None);
        }
    }

    /// Starts it again with the same data and waits until it answers.
    pub fn restart(&self) {
        self.end(Signal::TERM);
        attempt(|| self.launch());
    }

    /// SIGSTOP: alive for the kernel, silent for its clients.
    pub fn freeze(&self) {
        kill_process(pid(lock(&self.server).as_ref().expect("running")), Signal::STOP).expect("our own child");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        kill_process(pid(lock(&self.server).as_ref().expect("running")), Signal::CONT).expect("our own child");
    }

    /// Runs rabbitmqctl and returns what it printed.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self
            .command("rabbitmqctl")
            .args(["-q", "-n", &self.node()])
            .args(arguments)
            .env_remove("detached")
            .output()
            .expect("rabbitmqctl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Raises or ends the memory alarm: publishers are blocked meanwhile.
    pub fn memory_alarm(&self, on: bool) {
        self.ctl(&["set_vm_memory_high_watermark", if on { "0.0000001" } else { "0.6" }]);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end(Signal::KILL);
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
        // The reaper removes the folder when its stdin closes.
        let _ = writeln!(lock(&self.reaper));
    }
}
