"""Decodes the header of a fiberd frame, schema 1, with nothing but Python. FRAME.md beside this file explains the fields.

Shown as JSON:        python3 header.py FRAME.bin
From a program:       header = decode(body)
                      values = numpy.frombuffer(body, header["numpy_dtype"], offset=header["header_bytes"])
                      values = values.reshape(header["shape"]) * header["scale"] + header["offset"]
"""

import json
import struct
import sys
import zlib

# Every field in the order of the bytes, with its type in the words of `struct`.
FIELDS = (
    ("magic", "8s"),
    ("schema", "H"),
    ("header_bytes", "H"),
    ("header_crc32", "I"),
    ("payload_crc32", "I"),
    ("flags", "I"),
    ("payload_bytes", "Q"),
    ("epoch", "Q"),
    ("sequence", "Q"),
    ("first_line", "Q"),
    ("first_trace", "Q"),
    ("end_trace", "Q"),
    ("utc_first_ns", "q"),
    ("utc_end_ns", "q"),
    ("gap_traces", "Q"),
    ("prr_num", "Q"),
    ("prr_den", "Q"),
    ("prr_hz", "d"),
    ("dx_m", "d"),
    ("fiber_start_m", "d"),
    ("line_period_num", "Q"),
    ("line_period_den", "Q"),
    ("frequency_start_hz", "d"),
    ("frequency_step_hz", "d"),
    ("db_reference", "d"),
    ("running_min", "f"),
    ("running_max", "f"),
    ("scale", "f"),
    ("offset", "f"),
    ("stream", "I"),
    ("channel_start", "I"),
    ("channel_step", "I"),
    ("channel_count", "I"),
    ("frequency_count", "I"),
    ("line_count", "I"),
    ("nfft", "I"),
    ("view", "B"),
    ("value", "B"),
    ("dtype", "B"),
    ("clock", "B"),
    ("ndim", "I"),
    ("shape", "16s"),
    ("source", "B"),
    ("reserved", "11s"),
    ("site", "64s"),
    ("name", "64s"),
    ("job", "64s"),
    ("unit", "32s"),
    ("axes", "32s"),
)
LAYOUT = struct.Struct("<" + "".join(kind for _, kind in FIELDS))

# What the codes of one byte mean.
WORDS = {
    "view": ("multi", "single", "waterfall"),
    "value": ("amplitude", "power", "db"),
    "dtype": ("f32", "f16", "u8"),
    "clock": ("free-running", "NTP", "PTP", "GPS"),
    "source": ("ring", "replay", "synthetic"),
}
NUMPY = {"f32": "<f4", "f16": "<f2", "u8": "|u1"}


def decode(body):
    """All fields of the header by name, checked, and `numpy_dtype`. Raises ValueError for what is no whole frame."""
    if len(body) < LAYOUT.size or body[:8] != b"FIBERDFR":
        raise ValueError("not a fiberd frame: it does not begin with FIBERDFR and a header of 512 bytes")
    header = dict(zip((name for name, _ in FIELDS), LAYOUT.unpack_from(body)))
    if header["schema"] != 1:
        raise ValueError(f"schema {header['schema']}; this reader knows schema 1")
    check_sums(body, header)
    del header["magic"], header["reserved"]
    for name in ("site", "name", "job", "unit", "axes"):
        header[name] = header[name].rstrip(b"\0").decode()
    for name, words in WORDS.items():
        if header[name] >= len(words):
            raise ValueError(f"{name} is {header[name]}, which schema 1 does not have")
        header[name] = words[header[name]]
    header["shape"] = list(struct.unpack("<4I", header["shape"])[: header["ndim"]])
    header["numpy_dtype"] = NUMPY[header["dtype"]]
    return header


def check_sums(body, header):
    """Raises ValueError when bytes are missing or have changed on the way."""
    size = header["header_bytes"]
    if len(body) != size + header["payload_bytes"]:
        raise ValueError(f"{len(body)} bytes; the header says {size} and {header['payload_bytes']}")
    # The checksum of the header is made with its own four bytes as zero.
    if zlib.crc32(body[:12] + bytes(4) + body[16:size]) != header["header_crc32"]:
        raise ValueError("the checksum of the header does not match")
    if zlib.crc32(body[size:]) != header["payload_crc32"]:
        raise ValueError("the checksum of the values does not match")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python3 header.py FRAME.bin")
    with open(sys.argv[1], "rb") as file:
        body = file.read()
    try:
        print(json.dumps(decode(body), ensure_ascii=False, indent=2))
    except ValueError as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
