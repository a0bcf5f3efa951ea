//! `DataStreamService` of one job: an open call is a reader of one feed.
//!
//! A message holds one line while the client keeps up, and all that fits when it is behind. A client that is behind for
//! longer than the feed holds loses the oldest lines: `row_index` jumps, it is counted and logged, and the trailing
//! metadata of every call that ends in order say how many (`fiberd-lines-lost`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, BoxStream, Service, StdError, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Code, Request, Response, Status};
use tracing::{info, warn};

use super::message::{DataStream, StreamDataRequest, may_join, messages};
use crate::feed::{Feed, Reader};

/// Path of the only method.
const STREAM_DATA: &str = "/pandadatastream.DataStreamService/StreamData";

/// In the trailing metadata: how many lines the call lost because its client was behind.
const LINES_LOST: &str = "fiberd-lines-lost";

/// In the initial metadata: unit of all values of the call.
const UNIT: &str = "fiberd-unit";

/// A buffer leaves for the connection when it has so many bytes, or when there is nothing more to say.
const YIELD_BYTES: usize = 64 << 10;

/// The streams of one job, in order.
#[derive(Clone)]
pub(super) struct DataStreamService {
    feeds: Arc<[Arc<Feed>]>,
}

impl DataStreamService {
    pub(super) fn new(feeds: Vec<Arc<Feed>>) -> Self {
        Self { feeds: feeds.into() }
    }
}

impl NamedService for DataStreamService {
    const NAME: &'static str = "pandadatastream.DataStreamService";
}

impl<B> Service<http::Request<B>> for DataStreamService
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            if request.uri().path() == STREAM_DATA {
                Ok(Grpc::new(DataCodec).server_streaming(method, request).await)
            } else {
                Ok(Status::unimplemented("the only method is StreamData").into_http())
            }
        })
    }
}

impl ServerStreamingService<StreamDataRequest> for DataStreamService {
    type Response = DataStream;
    type ResponseStream = BoxStream<DataStream>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<StreamDataRequest>) -> Self::Future {
        let stream_id = request.get_ref().stream_id;
        let feed = usize::try_from(stream_id).ok().and_then(|number| self.feeds.get(number));
        let answer = match feed {
            Some(feed) => {
                let serving = Serving::new(feed.reader(), stream_id);
                let answers: BoxStream<DataStream> = Box::pin(stream::unfold(serving, Serving::next));
                let mut response = Response::new(answers);
                // What a header cannot hold is in the job's metadata.
                if let Some(unit) = feed.unit().and_then(|unit| unit.parse().ok()) {
                    response.metadata_mut().insert(UNIT, unit);
                }
                Ok(response)
            }
            None => Err(Status::not_found(format!(
                "no stream {stream_id}; this job has {}, counted from 0",
                self.feeds.len()
            ))),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// One open call.
struct Serving {
    reader: Reader,
    stream_id: i32,
    /// Made and not yet asked for.
    made: VecDeque<DataStream>,
    lines_lost: u64,
    ended: bool,
}

impl Serving {
    fn new(reader: Reader, stream_id: i32) -> Self {
        Self { reader, stream_id, made: VecDeque::new(), lines_lost: 0, ended: false }
    }

    async fn next(mut self) -> Option<(Result<DataStream, Status>, Self)> {
        loop {
            if let Some(message) = self.made.pop_front() {
                return Some((Ok(message), self));
            }
            if self.ended {
                return None;
            }
            let Some(run) = self.reader.next_run(may_join).await else {
                self.ended = true;
                // A status of OK that comes as an error is the way to give it metadata.
                return Some((Err(self.last_words()), self));
            };
            self.count_lost(run.lines_lost);
            self.made.extend(messages(&run.frames, self.stream_id));
        }
    }

    fn count_lost(&mut self, lines: u64) {
        if lines > 0 && self.lines_lost == 0 {
            warn!(stream = self.stream_id, lines, "a gRPC client is too slow: it loses the oldest lines");
        }
        self.lines_lost += lines;
    }

    fn last_words(&self) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert(LINES_LOST, self.lines_lost.into());
        Status::with_metadata(Code::Ok, "", metadata)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.lines_lost > 0 {
            info!(stream = self.stream_id, lines = self.lines_lost, "a gRPC client that was too slow has ended");
        }
    }
}

/// Protobuf into memory that is reserved once for each message.
struct DataCodec;

impl Codec for DataCodec {
    type Encode = DataStream;
    type Decode = StreamDataRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for DataCodec {
    type Item = DataStream;
    type Error = Status;

    fn encode(&mut self, item: DataStream, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|_| Status::internal("a message could not be encoded"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(1 << 10, YIELD_BYTES)
    }
}

impl Decoder for DataCodec {
    type Item = StreamDataRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<StreamDataRequest>, Status> {
        let request = StreamDataRequest::decode(buffer);
        request.map(Some).map_err(|_| Status::invalid_argument("this is no StreamDataRequest"))
    }
}
