"""A WebSocket client that decodes frames as FRAME.md says, led by tests/websocket.rs.

usage: websocket_client.py PORT WHAT
"""

import json
import sys
import zlib

import numpy as np
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

port, what = int(sys.argv[1]), sys.argv[2]


def say(line):
    print(line, flush=True)


def dial(path, **more):
    return connect(f"ws://127.0.0.1:{port}{path}", compression=None, max_size=50 << 20, proxy=None, **more)


class Frames:
    """What came, stream by stream; every frame is held against what tests/endpoints/mod.rs makes."""

    def __init__(self):
        self.rows, self.lost, self.ended = {}, {}, False

    def take(self, body):
        assert not self.ended
        if isinstance(body, str):
            event = json.loads(body)
            if event["event"] == "lost":
                self.lost[event["stream"]] = self.lost.get(event["stream"], 0) + event["lines"]
            else:
                assert event == {"event": "end"}
                self.ended = True
            return
        u = lambda at, n=1, kind="<u4": np.frombuffer(body, kind, n, at)
        begin, (scale, offset) = int(u(10, 1, "<u2")[0]), u(184, 2, "<f4")
        found = np.frombuffer(body, ["<f4", "<f2", "|u1"][body[222]], offset=begin).reshape(u(228, u(224)[0]))
        found = offset + scale * found.astype("f4")
        assert zlib.crc32(body[begin:]) == u(16)[0] and body[:8] == b"FIBERDFR"
        first = int(np.frombuffer(body, "<u8", 1, 48)[0])
        assert body[384:448].rstrip(b"\0") == b"1-1" and body[256:320].rstrip(b"\0") == b"glass"
        row = first + np.arange(found.shape[0])[:, None, None]
        channel = u(196)[0] + np.arange(found.shape[1])[None, :, None]
        bin_ = np.arange(found.shape[2])[None, None, :]
        assert np.array_equal(found.astype("f4"), ((row * 31 + channel * 7 + bin_ * 3) % 1000).astype("f4") / 8 - 20)
        self.rows.setdefault(int(u(192)[0]), []).extend(row.ravel().tolist())

    def rest(self, ws):
        try:
            while True:
                self.take(ws.recv())
        except ConnectionClosedOK as closed:
            assert closed.rcvd.code == 1000, closed
        assert self.ended


if what == "rows":
    frames = Frames()
    with dial("/ws/1-1") as ws, dial("/ws/1-1?stream=2") as one:
        while sum(map(len, frames.rows.values())) < 300:
            frames.take(ws.recv())
        say("caught up")
        frames.rest(ws)
        only = Frames()
        only.rest(one)
    wanted = [*range(1000, 1100), 1100, 1101, 1102, 1110]
    assert frames.rows == {stream: wanted for stream in range(3)} and not frames.lost
    assert only.rows == {2: wanted} and not only.lost

elif what == "slow":
    frames = Frames()
    with dial("/ws/1-1", max_queue=1, ping_interval=None) as ws:
        frames.take(ws.recv())
        say("first")
        assert sys.stdin.readline()
        frames.rest(ws)
    rows = frames.rows[0]
    gaps = sum(b - a - 1 for a, b in zip(rows, rows[1:]))
    assert all(b > a for a, b in zip(rows, rows[1:]))
    say(f"{len(rows)} {frames.lost.get(0, 0)} {gaps} {rows[-1]}")

elif what == "rules":
    for path, status, code in [
        ("/ws/7-7", 404, "unknown_job"),
        ("/ws/1-1?stream=3", 404, "unknown_stream"),
        ("/ws/1-1?stream=x", 400, "invalid_query"),
        ("/ws/..%2f..%2fetc", 404, "unknown_job"),
    ]:
        try:
            dial(path)
            sys.exit(f"{path} was opened")
        except InvalidStatus as refused:
            assert refused.response.status_code == status, (path, refused)
            body = json.loads(refused.response.body)
            assert body["code"] == code and body["error"] and body["message"], body
    import urllib.error
    import urllib.request

    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/ws/1-1")
        sys.exit("a plain request was answered")
    except urllib.error.HTTPError as refused:
        assert refused.code == 426 and json.load(refused)["code"] == "not_a_websocket"

elif what == "leave":
    with dial("/ws/1-1") as ws:
        ws.recv()
        # A client may say what it likes.
        ws.send("hello")
        ws.send(b"\0" * 100)
        assert ws.ping().wait(30), "pings are answered"
        say("open")
        assert sys.stdin.readline()
    say("closed")
    assert sys.stdin.readline()
    with dial("/ws/1-1") as ws:
        ws.recv()
        say("open")
        sys.stdin.readline()

else:
    sys.exit(f"what is {what}?")

say("done")
