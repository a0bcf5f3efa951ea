//! The control API with a daemon's knowledge of itself and no daemon behind it.

use std::net::SocketAddr;
use std::sync::Arc;

use fiberd::acquisition::{Acquisition, Phase};
use fiberd::api::{self, ApiState, ServerOptions};
use fiberd::config::Config;
use fiberd::health::{self, Health};
use fiberd::jobs::Jobs;
use fiberd::pipeline::control::control;
use fiberd::status::Status;
use fiberd::streams::grpc::GrpcPorts;
use tokio::sync::oneshot;

/// A server on a port of its own; stops when dropped, and fails the test when it does not.
pub struct Server {
    pub address: SocketAddr,
    pub status: Arc<Status>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        let status = Status::new("test", Some(2000.0));
        let mut config = Config::default();
        config.fiber.channels = 321;
        config.fiber.dtype = "float32".into();
        let options = ServerOptions::new(&config.http, Arc::clone(&status.counters.api)).unwrap();
        let config = Arc::new(config);
        // Nobody listens to the commands: these tests have no pipeline.
        let grpc = GrpcPorts::configured(&config).unwrap();
        let jobs = Jobs::new(&config, Arc::clone(&status), control().0, grpc);
        let health = Health::new(Arc::clone(&status), health::Limits { prr_tolerance_ppm: 100.0, max_load: 0.8 });
        let router = api::router(ApiState { status: Arc::clone(&status), config, jobs, health });
        let (stop, stopped) = oneshot::channel::<()>();
        let (address_tx, address_rx) = std::sync::mpsc::channel();
        let runtime = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                address_tx.send(listener.local_addr().unwrap()).unwrap();
                api::serve(listener, router, options, async { drop(stopped.await) }).await;
            });
        });
        Self { address: address_rx.recv().unwrap(), status, stop: Some(stop), runtime: Some(runtime) }
    }

    pub fn acquire(&self, acquisition: Acquisition) {
        self.status.set_phase(Phase::Acquiring(Arc::new(acquisition)));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.runtime.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok(), "the server ended by a panic");
    }
}
