"""Decodes the header of a fiberd frame, schema 2 and 1, with nothing but Python. FRAME.md beside this file explains it.

Shown as JSON:        python3 header.py FRAME.bin
From a program:       header = decode(body)
                      values = numpy.frombuffer(body, header["numpy_dtype"], offset=header["header_bytes"])
                      values = values.reshape(header["shape"]) * header["scale"] + header["offset"]
                      metres = distances_m(header)
"""

import json
import math
import struct
import sys
import zlib

# Every field in the order of the bytes, with its type in the words of `struct`; first those that all schemas share.
COMMON = (
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
)
FIELDS = {
    1: (
        *COMMON,
        ("reserved", "11s"),
        ("site", "64s"),
        ("name", "64s"),
        ("job", "64s"),
        ("unit", "32s"),
        ("axes", "32s"),
    ),
    2: (
        *COMMON,
        ("window", "B"),
        ("difference_corrected", "B"),
        ("computed_by", "B"),
        ("regions", "I"),
        ("missing", "I"),
        ("site", "64s"),
        ("name", "64s"),
        ("job", "64s"),
        ("unit", "64s"),
        ("axes", "32s"),
        ("unit_factor", "d"),
        ("gauge_length_m", "d"),
        ("power_factor", "d"),
        ("db_floor", "d"),
        ("db_ceiling", "d"),
        ("utc_uncertainty_ns", "Q"),
        ("window_offset", "q"),
        ("windows", "I"),
        ("window_hop", "I"),
        ("clipped_low", "I"),
        ("clipped_high", "I"),
        ("reserved_end", "24s"),
    ),
}
LAYOUTS = {schema: struct.Struct("<" + "".join(kind for _, kind in fields)) for schema, fields in FIELDS.items()}
REGION = struct.Struct("<IIdd")
MISSING = struct.Struct("<QQ")

# What the codes of one byte mean.
WORDS = {
    "view": ("multi", "single", "waterfall"),
    "value": ("amplitude", "power", "db"),
    "dtype": ("f32", "f16", "u8"),
    "clock": ("free-running", "NTP", "PTP", "GPS"),
    "source": ("ring", "replay", "synthetic"),
    "computed_by": ("fiberd", "interrogator"),
    "window": ("hann", "hamming", "blackman", "blackman-harris", "rectangular"),
}
NUMPY = {"f32": "<f4", "f16": "<f2", "u8": "|u1"}


def decode(body):
    """All fields of the header by name, checked, and `numpy_dtype`. `regions` is a list of [first channel, metres, metres
    from channel to channel], `missing` one of [first trace, end]. Raises ValueError for what is no whole frame."""
    if len(body) < 512 or body[:8] != b"FIBERDFR":
        raise ValueError("not a fiberd frame: it does not begin with FIBERDFR and a header")
    schema = struct.unpack_from("<H", body, 8)[0]
    if schema not in FIELDS:
        raise ValueError(f"schema {schema}; this reader knows schema 1 and 2")
    layout = LAYOUTS[schema]
    if len(body) < layout.size:
        raise ValueError(f"{len(body)} bytes; the header alone has {layout.size}")
    header = dict(zip((name for name, _ in FIELDS[schema]), layout.unpack_from(body)))
    check_sums(body, header)
    header = {name: value for name, value in header.items() if name != "magic" and not name.startswith("reserved")}
    for name in ("site", "name", "job", "unit", "axes"):
        header[name] = header[name].rstrip(b"\0").decode()
    for name, words in WORDS.items():
        if header.get(name, 0) >= len(words):
            raise ValueError(f"{name} is {header[name]}, which schema {schema} does not have")
        if name in header:
            header[name] = words[header[name]]
    header["shape"] = list(struct.unpack("<4I", header["shape"])[: header["ndim"]])
    header["numpy_dtype"] = NUMPY[header["dtype"]]
    tables(body, header, layout.size)
    return header


def tables(body, header, at):
    """Reads the two tables that stand at byte `at`; in schema 1 there are none."""
    regions, missing = header.get("regions", 0), header.get("missing", 0)
    middle = at + regions * REGION.size
    end = middle + missing * MISSING.size
    if end > header["header_bytes"]:
        raise ValueError(f"the tables end at byte {end}, behind the header of {header['header_bytes']} bytes")
    rows = REGION.iter_unpack(body[at:middle])
    header["regions"] = [[channel, start_m, dx_m] for channel, _, start_m, dx_m in rows]
    header["missing"] = [list(row) for row in MISSING.iter_unpack(body[middle:end])]
    if math.isnan(header.get("gauge_length_m", 0.0)):
        header["gauge_length_m"] = None


def distances_m(header):
    """Metres on the fiber of each channel of the frame."""
    first, step = header["channel_start"], header["channel_step"]
    channels = range(first, first + header["channel_count"] * step, step)
    regions = [[0, header["fiber_start_m"], header["dx_m"]], *header["regions"]]
    found = []
    for channel in channels:
        begin, start_m, dx_m = [region for region in regions if region[0] <= channel][-1]
        found.append(start_m + (channel - begin) * dx_m)
    return found


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
