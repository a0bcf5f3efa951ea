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
    values = np.frombuffer(body, h["dtype"], offset=h["offset"]).reshape(h["shape"])

    u = lambda at, n=1: np.frombuffer(body, "<u4", n, at)
    again = np.frombuffer(body, ["<f4", "<f2", "|u1"][body[222]], offset=512).reshape(u(228, u(224)[0]))
    assert values.dtype == again.dtype and np.array_equal(values, again)
    assert zlib.crc32(body[512:]) == u(16)[0]
    assert body[480:512].rstrip(b"\0").decode() == h["axes"] and len(h["axes"].split(",")) == values.ndim

    scale, offset = np.frombuffer(body, "<f4", 2, 184)
    physical = offset + scale * values.astype("f4")
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
