"""Reads frames from a real broker as a consumer would, and holds each line against numpy on the same capture.

Usage: frames_check.py CAPTURE AMQP_URI EXCHANGE SITE INFO_JSON
Prints "ready" when its queue is bound; ends when the status says that the replay is draining and nothing comes any more.
INFO_JSON is what `fiberd info --json` says; only the scale is taken from it.
"""

import json
import sys
import time
from fractions import Fraction

import numpy as np
import pika
from replay_check import sintela_by_hand

AMPLITUDE_REL = 1e-5  # of the largest amplitude of a line: transform in f32, reference in f64
DB_ABS = 0.05  # where the power is within 60 dB of the line's largest


def read_capture(path):
    """[time][channel], and samples per second as nearly as the file says."""
    if path.endswith(".pb"):
        return sintela_by_hand(open(path, "rb").read())[0], None
    import dascore

    patch = dascore.read(path)[0].transpose("time", "distance")
    times = patch.coords.get_array("time").astype("i8")
    return patch.data, (len(times) - 1) * 1e9 / (times[-1] - times[0])


def consume(uri, exchange, site):
    """All frames of the site as (headers, body), in order of arrival."""
    channel = pika.BlockingConnection(pika.URLParameters(uri)).channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.exchange_declare(exchange + ".status", "topic", durable=True)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, site + ".#")
    channel.queue_bind(queue, exchange + ".status", site + ".state")
    print("ready", flush=True)
    frames, draining, deadline = [], False, time.time() + 120
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=2):
        assert time.time() < deadline, f"{len(frames)} frames, draining {draining}"
        if method is None:
            if draining:
                return frames
        elif method.exchange == exchange:
            frames.append((properties.headers, body))
        else:
            draining |= json.loads(body)["phase"] == "draining"


def expected_line(data, m, L, nfft, window):
    """Power (bin, channel) of line m by the definition, or None when no whole window lies in the data."""
    edge = lambda k: (2 * k * L + 1) // 2
    start, end = edge(m), edge(m + 1)
    count = 1 + max(0, -((nfft - (end - start)) // (nfft // 2)))
    ends = [end - j * (nfft // 2) for j in range(count)]
    whole = [e for e in ends if e - nfft >= 0 and e <= len(data)]
    if end > len(data) or not whole:
        return None
    factor = np.full(nfft // 2 + 1, 2.0)
    factor[[0, -1]] = 1.0
    factor /= nfft * np.sum(window**2)
    power = [np.abs(np.fft.rfft(data[e - nfft : e] * window[:, None], axis=0)) ** 2 for e in whole]
    return np.mean(power, axis=0) * factor[:, None], len(whole) < count


def main():
    capture, uri, exchange, site, info = sys.argv[1:]
    frames = consume(uri, exchange, site)
    data, rate = read_capture(capture)
    # NaN and infinity become 0, as the frames say with a flag.
    data = np.nan_to_num(data.astype("f8"), nan=0.0, posinf=0.0, neginf=0.0) * json.loads(info)["scale"]
    seen, worst = {}, 0.0
    for headers, body in frames:
        u4 = lambda at: int(np.frombuffer(body, "<u4", 1, at)[0])
        u8 = lambda at: int(np.frombuffer(body, "<u8", 1, at)[0])
        f8 = lambda at: float(np.frombuffer(body, "<f8", 1, at)[0])
        values = np.frombuffer(body, headers["dtype"], offset=headers["offset"]).reshape(headers["shape"]).astype("f8")
        prr, period, nfft = Fraction(u8(96), u8(104)), Fraction(u8(136), u8(144)), u4(216)
        assert rate is None or abs(float(prr) / rate - 1) < 1e-6, (float(prr), rate)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(nfft) / nfft)
        channels = slice(u4(196), u4(196) + u4(204))
        grid = np.fft.rfftfreq(nfft, 1 / float(prr))
        for i in range(u4(212)):
            m = headers["first_line"] + i
            want, partial = expected_line(data[:, channels], m, period * prr, nfft, window)
            view, got = headers["view"], values[i]
            if view == "waterfall":
                low, width = f8(152), f8(160)
                band = (grid >= low - 1e-9) & (grid <= low + width + 1e-9)
                want = want[band].sum(axis=0)
            else:
                low, step, count = f8(152), f8(160), u4(208)
                first = int(round(low / float(prr) * nfft))
                assert np.allclose(low + step * np.arange(count), grid[first : first + count])
                want = want[first : first + count].T.reshape(got.shape)
            if headers["value"] == "db":
                # The reference stands at offset 168 of the header.
                loud = want > want.max() * 1e-6
                error = np.abs(got - 10 * np.log10(np.maximum(want, 1e-300) / f8(168)))[loud].max() if want.max() > 0 else 0
                assert error < DB_ABS, (headers["name"], m, error)
            else:
                error = np.abs(np.sqrt(got) - np.sqrt(want)).max() / np.sqrt(max(want.max(), 1e-30))
                assert error < AMPLITUDE_REL, (headers["name"], m, error)
                worst = max(worst, error)
            assert bool(u4(20) & 1) == partial or u4(212) > 1, (headers["name"], m, partial)
            key = (headers["view"], headers["name"], headers["stream"], m)
            assert key not in seen, key
            seen[key] = (period * prr, nfft, channels)
    # Every line that can be computed has come, exactly once.
    streams = {key[:3]: spec for key, spec in seen.items()}
    total = 0
    for stream, (L, nfft, channels) in streams.items():
        window = np.ones(nfft)
        last = int(len(data) / L) + 1
        want = {m for m in range(last) if expected_line(data[:, :1], m, L, nfft, window) is not None}
        got = {key[3] for key in seen if key[:3] == stream}
        assert got == want, (stream, sorted(want - got)[:5], sorted(got - want)[:5])
        total += len(want)
    print(json.dumps({"streams": sorted("/".join(map(str, s)) for s in streams), "lines": total, "frames": len(frames), "worst": worst}))


main()
