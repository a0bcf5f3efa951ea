//! The gRPC endpoint: lines of a job as float16, for clients made from `pandadatastream.proto`. Runs on tokio (`das-io-N`).
//!
//! [`GrpcPorts`] opens an HTTP/2 endpoint for each job, [`OpenPort`]; `service` answers calls from the job's feeds, and
//! `message` makes lines into messages. Reflection (`pandadatastream.pb` is the proto file as a descriptor set) and the
//! standard health service are on at every port.

mod message;
mod port;
mod service;

pub use message::{DataStream, StreamDataRequest};
pub use port::{GrpcOptions, GrpcPorts, OpenPort};

use futures_util::FutureExt;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tracing::error;

use service::DataStreamService;

/// `pandadatastream.proto` with all that it needs.
pub const DESCRIPTORS: &[u8] = include_bytes!("pandadatastream.pb");

/// Health and reflection.
fn common_services() -> Routes {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthReporter::new();
    // Nobody else has it yet, so there is nothing to wait for.
    let _ = health.set_serving::<DataStreamService>().now_or_never();
    let mut routes = Routes::new(HealthServer::new(HealthService::from_health_reporter(health)));
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        // A test reads them: only a broken build comes here, and data matter more than reflection.
        (Err(error), _) | (_, Err(error)) => error!(%error, "there will be no gRPC reflection"),
    }
    routes
}
