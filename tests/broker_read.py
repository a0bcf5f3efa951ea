"""Reads frames from a queue as any consumer would and prints what it saw as JSON, one line a message.

usage: broker_read.py PORT QUEUE COUNT
Every frame is decoded twice: with the message's own headers, and from the bytes alone as FRAME.md says; both must agree.
"""

import json
import sys
import zlib

import numpy as np
import pika

port, queue, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
channel = connection.channel()
seen = 0
for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=20):
    if method is None:
        sys.exit(f"{seen} messages came, {count} were expected")
    h = properties.headers
    stored = np.frombuffer(body, h["dtype"], offset=h["offset"]).reshape(h["shape"])
    values = float(h["value_offset"]) + float(h["value_scale"]) * stored.astype("f4")

    u = lambda at, n=1, kind="<u4": np.frombuffer(body, kind, n, at)
    begin, (scale, offset) = int(u(10, 1, "<u2")[0]), u(184, 2, "<f4")
    again = np.frombuffer(body, ["<f4", "<f2", "|u1"][body[222]], offset=begin).reshape(u(228, u(224)[0]))
    physical = offset + scale * again.astype("f4")
    assert stored.dtype == again.dtype and np.array_equal(values, physical)
    assert zlib.crc32(body[begin:]) == u(16)[0]
    assert body[512:544].rstrip(b"\0").decode() == h["axes"] and len(h["axes"].split(",")) == values.ndim
    print(
        json.dumps(
            {
                "key": method.routing_key,
                "content_type": properties.content_type,
                "type": properties.type,
                "message_id": properties.message_id,
                "timestamp": properties.timestamp,
                "delivery_mode": properties.delivery_mode,
                "headers": h,
                "values": [float(value) for value in physical.ravel()],
            }
        )
    )
    seen += 1
    if seen == count:
        break
connection.close()
