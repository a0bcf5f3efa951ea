"""A client of a job's gRPC port, made by grpcio-tools from the proto file that fiberd ships, led by tests/grpc.rs.

usage: grpc_client.py PORT WHAT
Says one line on stdout for each thing done and waits for a line on stdin where the test must act first.
"""

import pathlib
import sys
import tempfile

import grpc
import numpy as np
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).parents[2] / "src/streams/grpc/pandadatastream.proto"
home = tempfile.mkdtemp()
assert (
    protoc.main(
        [
            "protoc",
            f"-I{PROTO.parent}",
            f"--python_out={home}",
            f"--grpc_python_out={home}",
            "--include_imports",
            f"--descriptor_set_out={home}/set.pb",
            PROTO.name,
        ]
    )
    == 0
)
sys.path.insert(0, home)
import pandadatastream_pb2 as messages  # noqa: E402
import pandadatastream_pb2_grpc as service  # noqa: E402

port, what = int(sys.argv[1]), sys.argv[2]
SERVICE = "pandadatastream.DataStreamService"


def say(line):
    print(line, flush=True)


def wait():
    assert sys.stdin.readline(), "the test has ended"


def dial(**more):
    # As usual clients dial: messages up to 50 MB, keep-alive every 30 s.
    options = {
        "grpc.max_receive_message_length": 50 << 20,
        "grpc.max_send_message_length": 50 << 20,
        "grpc.keepalive_time_ms": 30000,
        "grpc.keepalive_timeout_ms": 10000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.enable_http_proxy": 0,
        "grpc.use_local_subchannel_pool": 1,
        **more,
    }
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=list(options.items()))
    return channel, service.DataStreamServiceStub(channel)


def values(row, start, end, bins):
    """What tests/endpoints/mod.rs makes: channels start to end, counted from 1."""
    channel, bin_ = np.arange(start - 1, end)[:, None], np.arange(bins)[None, :]
    return (((row * 31 + channel * 7 + bin_ * 3) % 1000).astype("f4") / 8 - 20).ravel()


class Call:
    """An open call that checks each message by itself and against those before it."""

    def __init__(self, stub, stream, bins):
        self.stream, self.bins = stream, bins
        self.call = stub.StreamData(messages.StreamDataRequest(stream_id=stream))
        self.rows, self.shapes = [], []
        self.low, self.high = np.inf, -np.inf

    def one(self, complete=True):
        m = next(self.call)
        assert len(m.main_data) == 1 and m.job_id == self.stream and not m.HasField("data_shape_z")
        x, y = m.data_shape_x, m.data_shape_y
        assert x == (m.end_channel - m.start_channel + 1) * self.bins
        assert y == len(m.row_index) == len(m.timestamp_in_milis)
        data = np.frombuffer(m.main_data[0], "<f2").reshape(x, y)
        for column, (row, ms) in enumerate(zip(m.row_index, m.timestamp_in_milis)):
            assert not self.rows or row > self.rows[-1], (row, self.rows[-1])
            wanted = values(row, m.start_channel, m.end_channel, self.bins)
            assert np.array_equal(data[:, column].astype("f4"), wanted), row
            assert ms == 1_790_000_000_000 + 50 * row
            self.low, self.high = min(self.low, wanted.min()), max(self.high, wanted.max())
            self.rows.append(row)
        if complete:
            assert (m.global_minimum, m.global_maximum) == (self.low, self.high)
        else:
            assert m.global_minimum <= self.low and m.global_maximum >= self.high
        self.shapes.append((m.start_channel, m.end_channel, y))
        return m

    def until(self, row):
        while not self.rows or self.rows[-1] < row:
            self.one()
        assert self.rows[-1] == row

    def rest(self, **how):
        try:
            while True:
                self.one(**how)
        except StopIteration:
            pass
        assert self.call.code() == grpc.StatusCode.OK
        return int(dict(self.call.trailing_metadata())["fiberd-lines-lost"])


if what == "rows":
    channel, stub = dial()
    calls = [Call(stub, stream, 5) for stream in range(3)]
    for call in calls:
        call.until(1299)
        assert call.rows == list(range(1000, 1300))
    say("caught up")
    for row in range(1300, 1320):
        for call in calls:
            assert call.one().data_shape_y == 1, "a client that keeps up gets each line at once"
            assert call.rows[-1] == row
        say("line")
    for call in calls:
        lost = call.rest()
        assert lost == 0
        # Three frames of three lines, a gap, other channels.
        assert call.rows[320:] == [*range(1320, 1329), 1340, 1341, 1342]
    assert [call.shapes[0][:2] for call in calls] == [(10, 12), (13, 14), (15, 16)]
    assert [call.shapes[-1][:2] for call in calls] == [(21, 21), (22, 22), (23, 23)]
    say("ended")
    # The job has ended, and what is held can still be read.
    assert Call(stub, 1, 5).rest(complete=False) == 0

elif what == "rules":
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2
    from google.protobuf import descriptor_pb2

    shipped = PROTO.with_suffix(".pb").read_bytes()
    made = pathlib.Path(home, "set.pb").read_bytes()
    assert shipped == made, "pandadatastream.pb was not made from pandadatastream.proto: its head says how"

    channel, stub = dial()
    for stream in (-1, 3, 2**31 - 1):
        call = stub.StreamData(messages.StreamDataRequest(stream_id=stream))
        try:
            next(call)
            sys.exit(f"stream {stream} was answered")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
    for path, code in [
        (f"/{SERVICE}/Other", grpc.StatusCode.UNIMPLEMENTED),
        ("/nobody.Knows/This", grpc.StatusCode.UNIMPLEMENTED),
    ]:
        try:
            channel.unary_unary(path)(b"")
            sys.exit(f"{path} was answered")
        except grpc.RpcError as error:
            assert error.code() == code, error
    try:
        next(channel.unary_stream(f"/{SERVICE}/StreamData")(b"\xff\xff\xff"))
        sys.exit("rubbish was answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)

    for version in ("v1", "v1alpha"):
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        listed, file = ask(
            iter(
                [
                    reflection_pb2.ServerReflectionRequest(list_services=""),
                    reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
                ]
            )
        )
        names = {s.name for s in listed.list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health"} <= names, names
        found = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
        fields = {f.name: f.number for m in found.message_type if m.name == "DataStream" for f in m.field}
        assert fields == {f.name: f.number for f in messages.DataStream.DESCRIPTOR.fields}, fields

elif what == "slow":
    # Small windows, so that what is not read waits at the server.
    channel, stub = dial(**{"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 65536})
    call = Call(stub, 0, int(sys.argv[3]))
    call.one(complete=False)
    say("first")
    wait()
    lost = call.rest(complete=False)
    assert max(y for _, _, y in call.shapes) > 1, "a client that is behind gets several lines at once"
    gaps = sum(b - a - 1 for a, b in zip(call.rows, call.rows[1:]))
    say(f"{len(call.rows)} {lost} {gaps} {call.rows[-1]}")

elif what == "leave":
    channel, stub = dial()
    calls = [Call(stub, stream, 5) for stream in range(3)]
    for call in calls:
        call.one()
    say("open")
    wait()
    calls[0].call.cancel()
    say("cancelled")
    wait()

elif what == "cut":
    channel, stub = dial()
    call, idle = Call(stub, 0, 5), Call(stub, 1, 5)
    call.one()
    idle.one()
    say("open")
    try:
        while True:
            call.one()
    except grpc.RpcError as error:
        say(error.code().name)

elif what == "locked":
    # usage: … locked CA_FILE TOKEN: what each combination of TLS and token gets.
    secrets = grpc.ssl_channel_credentials(pathlib.Path(sys.argv[3]).read_bytes())
    for channel, tokens in [
        (grpc.insecure_channel(f"127.0.0.1:{port}"), [sys.argv[4]]),
        (grpc.secure_channel(f"localhost:{port}", secrets), [None, "wrong", sys.argv[4]]),
    ]:
        for token in tokens:
            metadata = [("authorization", f"Bearer {token}")] if token else None
            call = service.DataStreamServiceStub(channel).StreamData(
                messages.StreamDataRequest(stream_id=0), metadata=metadata, timeout=20
            )
            try:
                say(f"row {next(call).row_index[0]}")
            except grpc.RpcError as error:
                say(error.code().name)
            call.cancel()

else:
    sys.exit(f"what is {what}?")

say("done")
