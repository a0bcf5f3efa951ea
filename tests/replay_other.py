"""Files of TDMS, miniSEED and SEG-Y, and what nptdms and ObsPy find in them; used by replay_check.py.

The writers here are of this file alone, so that each layout can be made that the standards allow; whatever the two readers
can read must be what was meant.
"""

import io
import struct
from datetime import datetime, timezone

import numpy as np

NS = 1_000_000_000
START = 1_700_000_000 * NS + 123_456_000
# SEG-Y has whole seconds.
WHOLE = 1_700_000_000


def grid(start_ns, rows, prr):
    return start_ns + np.round(np.arange(rows) * (NS / prr)).astype("i8")


def noise(rows, channels, dtype="<i2", seed=1):
    return np.random.default_rng(seed).normal(0, 3000, (rows, channels)).astype(dtype)


# --- real captures -------------------------------------------------------------------------------------------------


def far_from_zero(cases, name, path, values, times, distances, rate, **told):
    """Single precision would lose what is on 10^9: the first trace is taken off, and told."""
    single = (values - values[0].astype("f8")).astype("<f4")
    cases.good(name, [path], cases.epoch(single, times, distances, rate, levels=values[0], **told))


def captures(cases, folder):
    import nptdms
    import obspy

    path = folder / "sample_tdms_file_v4713.tdms"
    file = nptdms.TdmsFile.read(path)
    data, says = np.stack([channel[:] for channel in file["Measurement"].channels()], axis=1), file.properties
    assert data.shape == (216, 2432)
    start = says["GPSTimeStamp"].astype("datetime64[ns]").astype("i8")
    rate = says["SamplingFrequency[Hz]"]
    dx = says["SpatialResolution[m]"] * says["Fibre Length Multiplier"]
    distances = says["Start Distance (m)"] + dx * np.arange(2432)
    scale = says["Unit Calibration (nm)"] * rate / (says["GaugeLength"] * 8192)
    epoch = cases.epoch(data, grid(start, 216, rate), distances, rate, gauge=says["GaugeLength"], quantity="strain_rate", unit="nstrain/s", scale=scale)
    cases.good(path.name, [path], epoch)

    told = dict(gauge=None, quantity="counts", unit="", scale=1.0)
    for name, kind in [("geofon_1D_HSF.mseed", "MSEED"), ("small_channel_patch.sgy", "SEGY")]:
        stream = obspy.read(folder / name, format=kind)
        stats = stream[0].stats
        assert all(trace.stats.starttime == stats.starttime and trace.stats.npts == stats.npts for trace in stream)
        data = np.stack([trace.data for trace in stream], axis=1).astype("<f4")
        times = grid(stats.starttime.ns, stats.npts, stats.sampling_rate)
        cases.good(name, [folder / name], cases.epoch(data, times, np.arange(len(stream)), stats.sampling_rate, **told))


# --- Silixa TDMS ---------------------------------------------------------------------------------------------------

CODES = {"i1": 1, "i2": 2, "i4": 3, "f4": 9, "f8": 10}
PROPERTIES = {
    "name": "made", "SamplingFrequency[Hz]": 500.0, "SpatialResolution[m]": 2.0, "Fibre Length Multiplier": 1.25,
    "Start Distance (m)": -4.0, "StartPosition[m]": 240.0, "GaugeLength": 10.0, "Unit Calibration (nm)": 116.0,
    "GPSTimeStamp": START, "CPUTimeStamp": START + 5 * NS, "iDASVersion": "2.4", "Continuous Mode": True, "P": np.int32(15),
}


def packed(end, *parts):
    """Text with its length, integers of four bytes."""
    out = b""
    for part in parts:
        text = part.encode() if isinstance(part, str) else None
        out += struct.pack(end + "I", len(text)) + text if text is not None else struct.pack(end + "I", part)
    return out


def tdms_property(end, name, value):
    if isinstance(value, str):
        return packed(end, name, 0x20, value)
    if isinstance(value, bool):
        return packed(end, name, 0x21) + bytes([value])
    if isinstance(value, np.int32):
        return packed(end, name, 3) + struct.pack(end + "i", value)
    if isinstance(value, int):
        seconds, fraction = value // NS + 2_082_844_800, ((value % NS) << 64) // NS + 1
        stamp = struct.pack("<Qq", fraction, seconds) if end == "<" else struct.pack(">qQ", seconds, fraction)
        return packed(end, name, 0x44) + stamp
    return packed(end, name, 10) + struct.pack(end + "d", value)


def tdms_segment(data, *, chunks=1, interleaved=False, big=False, metadata="all", properties=PROPERTIES, other=None, length=None):
    """`data` [time][channel] in `chunks` chunks. Metadata `all`, `same` (as in the segment before) or None; `other` is a channel
    of another group, between the first channel and the second."""
    end = ">" if big else "<"
    rows, channels = data.shape[0] // chunks, data.shape[1]
    code = CODES[data.dtype.str[1:]]
    objects = []
    for path, says in [("/", properties), ("/'Measurement'", {})] if metadata == "all" else []:
        values = b"".join(tdms_property(end, name, value) for name, value in says.items())
        objects.append(packed(end, path, 0xFFFFFFFF, len(says)) + values)
    for channel in range(channels):
        index = packed(end, 20, code, 1) + struct.pack(end + "Q", rows) if metadata == "all" else packed(end, 0)
        objects.append(packed(end, f"/'Measurement'/'{channel}'") + index + packed(end, 1) + tdms_property(end, "unit", "none"))
        if other is not None and channel == 0:
            index = packed(end, 20, 10, 1) + struct.pack(end + "Q", rows) if metadata == "all" else packed(end, 0)
            objects.append(packed(end, "/'Other'/'temperature'") + index + packed(end, 0))
    head = packed(end, len(objects)) + b"".join(objects) if metadata else b""
    raw = b""
    for part in np.split(data.astype(data.dtype.newbyteorder(end)), chunks):
        columns = [part[:, [c]] for c in range(channels)]
        if other is not None:
            columns.insert(1, np.full((rows, 1), other, end + "f8"))
        if interleaved:
            raw += b"".join(column[row].tobytes() for row in range(rows) for column in columns)
        else:
            raw += b"".join(column.tobytes() for column in columns)
    contents = 8 | (6 if metadata == "all" else 2 if metadata else 0) | (32 if interleaved else 0) | (64 if big else 0)
    length = len(head) + len(raw) if length is None else length
    return b"TDSm" + struct.pack("<I", contents) + packed(end, 4713) + struct.pack(end + "QQ", length, len(head)) + head + raw


def tdms_cases(cases):
    import nptdms

    out = cases.out
    distances = -4.0 + 2.5 * np.arange(6)
    told = dict(gauge=10.0, quantity="strain_rate", unit="nstrain/s", scale=116 * 500 / 81920)

    def made(name, content, data=None, *, start=START, check=True, **known):
        path = out / f"{name.replace(' ', '-').replace(',', '')}.tdms"
        path.write_bytes(content)
        if data is None:
            return path
        if check:
            file = nptdms.TdmsFile.read(path)
            found = np.stack([channel[:] for channel in file["Measurement"].channels()], axis=1)
            assert np.array_equal(found, data), name
        dtype = "<i2" if data.dtype.itemsize < 3 else "<f4"
        epoch = cases.epoch(data.astype(dtype), grid(start, len(data), 500), distances[: data.shape[1]], 500, **{**told, **known})
        cases.good(f"TDMS, {name}", [path], epoch)
        return path

    data = noise(120, 6)
    half, rest = data[:60], data[60:]
    made("t", tdms_segment(half, chunks=3) + tdms_segment(rest, chunks=3, metadata=None), data)
    made("as before", tdms_segment(half) + tdms_segment(rest, metadata="same", interleaved=True), data)
    made("listed anew", tdms_segment(data[:40]) + tdms_segment(rest[:0], metadata="all", properties={}) + tdms_segment(data[40:], chunks=4), data)
    made("interleaved", tdms_segment(data, interleaved=True, other=21.5), data)
    made("another group", tdms_segment(half, chunks=2, other=21.5) + tdms_segment(rest, chunks=2, metadata="same", other=20.0), data)
    made("big-endian", tdms_segment(data, big=True), data)
    for dtype in ("<i1", "<i4", "<f4", "<f8"):
        values = (data // 256).astype(dtype) if dtype == "<i1" else noise(120, 6, dtype)
        made(f"of {dtype[1:]}", tdms_segment(values), values)
    for dtype in ("<i4", "<f8"):
        far = 10**9 - data.astype(dtype)
        path = made(f"far from zero, {dtype[1:]}", tdms_segment(far))
        far_from_zero(cases, f"TDMS, far from zero, {dtype[1:]}", path, far, grid(START, 120, 500), distances, 500, **told)
    made("one channel", tdms_segment(data[:, :1]), data[:, :1])
    whole = tdms_segment(half, chunks=4) + tdms_segment(rest, chunks=4, metadata=None, length=2**64 - 1)
    made("being written", whole, data)
    made("being written, a part of a chunk", whole[:-70], data[:105], check=False)
    loose = tdms_segment(half) + tdms_segment(rest, metadata="same", interleaved=True, length=2**64 - 1)
    made("being written, a part of a row", loose[:-70], data[: 120 - 6], check=False)
    made("cut in metadata", (tdms_segment(half) + tdms_segment(rest))[: len(tdms_segment(half)) + 300], half, check=False)
    made("cut in a head", tdms_segment(half) + tdms_segment(rest)[:20], half, check=False)
    made("garbage behind", tdms_segment(half) + bytes(range(100)), half, check=False)
    changed = {**PROPERTIES, "GPSTimeStamp": -2_082_844_800 * NS}
    made("no GPS", tdms_segment(data, properties=changed), data, start=START + 5 * NS)
    made("other channels later", tdms_segment(half) + tdms_segment(rest[:, :4]), half, check=False)
    for name, content, words in [
        ("no rate", tdms_segment(data, properties={"name": "x"}), "SamplingFrequency[Hz]"),
        ("no samples", tdms_segment(data[:0]), "without samples"),
        ("DAQmx", tdms_segment(data).replace(packed("<", 20, 2, 1), packed("<", 0x1269, 2, 1)), "DAQmx"),
        ("two types", tdms_segment(data).replace(packed("<", 20, 2, 1), packed("<", 20, 3, 1), 1), "should be the same"),
        ("only a head", tdms_segment(data)[:28], "cut off"),
    ]:
        cases.bad(f"TDMS, {name}", [made(name, content)], words)


# --- miniSEED ------------------------------------------------------------------------------------------------------


def mseed_records(data, station, *, start=START, rate=500.0, encoding="STEIM2", reclen=512, **more):
    """Records of one channel, by ObsPy."""
    import obspy

    header = dict(network="1D", station=station, channel="HSF", sampling_rate=rate, starttime=obspy.UTCDateTime(ns=int(start)))
    with io.BytesIO() as out:
        obspy.Stream([obspy.Trace(np.ascontiguousarray(data), header)]).write(out, "MSEED", encoding=encoding, reclen=reclen, **more)
        content = out.getvalue()
    return [content[at : at + reclen] for at in range(0, len(content), reclen)]


def mseed_3(data, station, start):
    """A record of version 3, by hand: integers."""
    at, sid = datetime.fromtimestamp(start // NS, timezone.utc), f"FDSN:1D_{station}__H_S_F".encode()
    head = b"MS\3\0" + struct.pack("<IHHBBBBdIIBBHI", start % NS, at.year, at.timetuple().tm_yday, at.hour, at.minute, at.second, 3, 500.0, len(data), 0, 1, len(sid), 0, 4 * len(data))
    return head + sid + data.astype("<i4").tobytes()


def mseed_cases(cases):
    import obspy

    out, channels = cases.out, 4
    told = dict(gauge=None, quantity="counts", unit="", scale=1.0)
    data = noise(3000, channels, "<i4")
    times = grid(START, 3000, 500)
    distances = np.arange(channels)

    def made(name, records, *epochs, dtype="<f4", rate=500):
        path = out / f"{name.replace(' ', '-').replace(',', '')}.mseed"
        path.write_bytes(b"".join(records))
        if epochs:
            found = [cases.epoch(values.astype(dtype), when, distances, rate, **told) for values, when in epochs]
            cases.good(f"miniSEED, {name}", [path], *found)
        return path

    def each(values=data, **how):
        return [mseed_records(values[:, c], f"S{8 + c}", **how) for c in range(channels)]

    def mixed(of_channels):
        """Records of all channels, as an instrument sends them."""
        order = sorted(((i / len(records), c, i) for c, records in enumerate(of_channels) for i in range(len(records))))
        return [of_channels[c][i] for _, c, i in order]

    path = made("m", mixed(each()), (data, times))
    stream = obspy.read(path).merge()
    assert np.array_equal(np.stack([stream.select(station=f"S{8 + c}")[0].data for c in range(channels)], axis=1), data)
    made("one channel after the other", sum(each(encoding="STEIM1", reclen=4096), []), (data, times))
    small = noise(3000, channels, "<i2")
    made("of i2", mixed(each(small, encoding="INT16")), (small, times), dtype="<i2")
    for encoding, dtype in [("INT32", "<i4"), ("FLOAT32", "<f4"), ("FLOAT64", "<f8")]:
        values = noise(3000, channels, dtype)
        made(f"of {dtype[1:]}", mixed(each(values, encoding=encoding)), (values, times))
        made(f"of {dtype[1:]}, little-endian", mixed(each(values, encoding=encoding, byteorder=0)), (values, times))
    for encoding, dtype in [("INT32", "<i4"), ("STEIM1", "<i4"), ("FLOAT64", "<f8")]:
        far = 10**9 - small.astype(dtype)
        path = made(f"far from zero, {encoding}", mixed(each(far, encoding=encoding)))
        far_from_zero(cases, f"miniSEED, far from zero, {encoding}", path, far, times, distances, 500, **told)
    made("in any order", [mixed(each())[i] for i in np.random.default_rng(5).permutation(len(mixed(each())))], (data, times))

    # One channel has a gap, another begins later, a third has some samples twice.
    parts = each()
    parts[1] = mseed_records(data[:1000, 1], "S9") + mseed_records(data[1200:, 1], "S9", start=times[1200])
    parts[2] = mseed_records(data[50:, 2], "S10", start=times[50])
    parts[3] = mseed_records(data[:2000, 3], "S11") + mseed_records(data[1900:, 3], "S11", start=times[1900])
    keep = np.r_[50:1000, 1200:3000]
    made("gaps and overlaps", mixed(parts), (data[keep], times[keep]))
    # A clock that runs 40 ppm fast against the rate: nothing is missing or twice.
    drift = START + np.round(np.arange(3000) * (NS / 500) * (1 + 40e-6)).astype("i8")
    steps = [sum((mseed_records(data[at : at + 100, c], f"S{8 + c}", start=drift[at]) for at in range(0, 3000, 100)), []) for c in range(channels)]
    made("a clock that drifts", mixed(steps), (data, drift), rate=500 / (1 + 40e-6))
    again = np.where(np.arange(3000) < 1500, times, times - 20 * NS)
    back = mixed([mseed_records(data[:1500, c], f"S{8 + c}") + mseed_records(data[1500:, c], f"S{8 + c}", start=again[1500]) for c in range(channels)])
    made("a clock set back", back, (np.r_[data[1500:], data[:1500]], np.r_[again[1500:], times[:1500]]))

    records = mixed(each())
    made("cut off", [b"".join(records)[:-100]], *[])
    count = obspy.read(out / "cut-off.mseed")
    shortest = min(len(count.select(station=f"S{8 + c}").merge()[0]) for c in range(channels))
    made("cut off", [b"".join(records)[:-100]], (data[:shortest], times[:shortest]))
    made("garbage between", records[:5] + [bytes(256)] + records[5:], (data, times))
    three = [[mseed_3(data[at : at + 300, c], f"S{8 + c}", int(times[at])) for at in range(0, 3000, 300)] for c in range(channels)]
    made("version 3", mixed(three), (data, times))
    # A damaged record (its last sample is not the one that it says) is nothing for all.
    hurt = bytearray(records[-1])
    count = struct.unpack_from(">H", hurt, 30)[0]
    hurt[72] ^= 0x55
    made("damaged", records[:-1] + [bytes(hurt)], (data[:-count], times[:-count]))
    cases.bad("miniSEED, two rates", [made("two rates", records + mseed_records(data[:, 0], "S20", rate=250.0))], "one rate")
    strange = bytearray(records[0])
    strange[strange.index(struct.pack(">H", 1000), 46) + 4] = 30
    cases.bad("miniSEED, an old encoding", [made("old", [bytes(strange)])], "SRO")
    apart = mseed_records(data[:100, 0], "S1") + mseed_records(data[:100, 0], "S2", start=START + 60 * NS)
    cases.bad("miniSEED, nothing in common", [made("apart", apart)], "no time at which all of its 2 channels")


# --- SEG-Y ---------------------------------------------------------------------------------------------------------


def ibm(values):
    """Integers as hexadecimal floating point."""
    words = []
    for value in values:
        size, exponent = abs(int(value)), 64
        while size >= 16 ** (exponent - 64):
            exponent += 1
        words.append((value < 0) << 31 | exponent << 24 | (size * 16**6 // 16 ** (exponent - 64)))
    return np.array(words, ">u4")


def segy(data, *, code=5, big=True, revision=(1, 0), start=WHOLE, interval=2000, text="ascii", constant=True, offset=lambda c: 0,
         group_x=lambda c: 0, scalar=1, extra_texts=0, headers=True, feet=False, numbers=True):
    """Headers (unless told otherwise) and one record."""
    end = ">" if big else "<"
    at = datetime.fromtimestamp(start, timezone.utc)
    cards = "".join(f"C{i + 1:2} {'A FIBER OF 20 KM' if i == 0 else '':76}" for i in range(40))
    out = cards.encode("cp037" if text == "ebcdic" else "ascii")
    binary = bytearray(400)
    struct.pack_into(end + "H", binary, 16, interval if revision[0] < 2 else 0)
    struct.pack_into(end + "H", binary, 20, len(data))
    struct.pack_into(end + "H", binary, 24, code)
    struct.pack_into(end + "H", binary, 54, 2 if feet else 1)
    if revision[0] == 2:
        struct.pack_into(end + "d", binary, 72, float(interval))
        struct.pack_into(end + "I", binary, 96, 0x01020304 if constant else 0)
        binary[300:302] = bytes(revision)
    else:
        struct.pack_into(end + "H", binary, 300, revision[0] << 8 | revision[1])
    struct.pack_into(end + "h", binary, 304, extra_texts)
    out = out + bytes(binary) + out * extra_texts if headers else b""
    for c in range(data.shape[1]):
        head = bytearray(240)
        struct.pack_into(end + "i", head, 12, c + 1 if numbers else 0)
        struct.pack_into(end + "i", head, 36, offset(c))
        struct.pack_into(end + "h", head, 70, scalar)
        struct.pack_into(end + "i", head, 80, group_x(c))
        struct.pack_into(end + "HH", head, 114, len(data), interval if revision[0] < 2 else 0)
        struct.pack_into(end + "5h", head, 156, at.year, at.timetuple().tm_yday, at.hour, at.minute, at.second)
        column = ibm(data[:, c]) if code == 1 else data[:, c]
        out += bytes(head) + column.astype(column.dtype.newbyteorder(end)).tobytes()
    return out


def segy_cases(cases):
    import obspy

    out, told = cases.out, dict(gauge=None, quantity="counts", unit="", scale=1.0)
    data = noise(500, 5, "<i2")
    start = WHOLE * NS
    times = grid(start, 500, 500)

    def made(name, content, values=None, *, when=times, dx=1.0, first=0.0, check=True, rate=500, dtype=None):
        path = out / f"{name.replace(' ', '-').replace(',', '')}.sgy"
        path.write_bytes(content)
        if values is None:
            return path
        if check:
            stream = obspy.read(path, format="SEGY")
            assert np.array_equal(np.stack([trace.data for trace in stream], axis=1), values), name
            assert stream[0].stats.starttime.ns == when[0] and abs(stream[0].stats.sampling_rate / rate - 1) < 1e-5, (name, stream[0].stats)
        dtype = dtype or ("<i2" if values.dtype.itemsize < 3 else "<f4")
        cases.good(f"SEG-Y, {name}", [path], cases.epoch(values.astype(dtype), when, first + dx * np.arange(values.shape[1]), rate, **told))
        return path

    made("y", segy(data, code=3), data)
    made("IBM, EBCDIC, revision 0", segy(data, code=1, revision=(0, 0), text="ebcdic"), data, dtype="<f4")
    made("little-endian", segy(data, code=3, big=False), data)
    floats = noise(500, 5, "<f4")
    made("revision 2", segy(floats, revision=(2, 0), interval=2000), floats, check=False)
    made("revision 2, little-endian", segy(floats, revision=(2, 0), big=False), floats, check=False)
    made("a third of a kilohertz", segy(floats, revision=(2, 1), interval=3000), floats, when=grid(start, 500, 1e6 / 3000), rate=1e6 / 3000, check=False)
    longs = noise(500, 5, "<i4")
    made("of i4", segy(longs, code=2), longs)
    far = 10**9 - data.astype("<i4")
    far_from_zero(cases, "SEG-Y, far from zero", made("far from zero", segy(far, code=2)), far, times, np.arange(5), 500, **told)
    made("of i1", segy((data // 256).astype("i1"), code=8), (data // 256).astype("i1"), check=False)
    made("of f8", segy(noise(500, 5, "<f8"), code=6), noise(500, 5, "<f8"), check=False)
    made("two more texts", segy(data, code=3, extra_texts=2), data, check=False)
    made("offsets", segy(data, code=3, offset=lambda c: 40 + 8 * c), data, first=40.0, dx=8.0)
    made("offsets in feet", segy(data, code=3, offset=lambda c: 40 + 10 * c, feet=True), data, first=12.192, dx=3.048)
    made("receivers", segy(data, code=3, group_x=lambda c: -300 + 204 * c, scalar=-100), data, first=-3.0, dx=2.04)
    made("uneven offsets", segy(data, code=3, offset=lambda c: c**3), data)
    made("one trace", segy(data[:, :1], code=3), data[:, :1])

    # Records of a second each follow each other, or leave a second out.
    more = noise(1500, 5, "<i2", seed=3)
    parts = [segy(more[i : i + 500], code=3, start=WHOLE + i // 500, headers=i == 0) for i in (0, 500, 1000)]
    made("three records", b"".join(parts), more, when=grid(start, 1500, 500), check=False)
    parts[2] = segy(more[1000:], code=3, start=WHOLE + 7, headers=False)
    gap = np.where(np.arange(1500) < 1000, grid(start, 1500, 500), grid(start, 1500, 500) + 5 * NS)
    made("a gap between records", b"".join(parts), more, when=gap, check=False)
    odd = bytearray(segy(more[500:1000], code=3, start=WHOLE + 1, headers=False))
    struct.pack_into(">h", odd, 2 * 1240 + 156, 1999)
    made("a wrong time in the middle of a record", parts[0] + odd + segy(more[1000:], code=3, start=WHOLE + 2, headers=False), more, when=grid(start, 1500, 500), check=False)
    short = [segy(more[i : i + 200], code=3, start=WHOLE + i // 500, headers=i == 0) for i in range(0, 1400, 200)]
    made("records of 0.4 s", b"".join(short), more[:1400], when=grid(start, 1400, 500), check=False)
    made("cut off", segy(data, code=3) + parts[2][:3000], data, check=False)
    made("cut off in a head", segy(data, code=3) + parts[1][:100], data, check=False)
    for name, content, words in [
        ("cut in the first trace", segy(data, code=3)[:4000], "cut off"),
        ("gain ranged", segy(longs, code=4), ""),
        ("no time", segy(data, code=3).replace(struct.pack(">h", datetime.fromtimestamp(WHOLE, timezone.utc).year), b"\0\0"), "when it begins"),
        ("no rate", segy(data, code=3, interval=0), "rate"),
        ("traces of two lengths", segy(data, code=3) + segy(data[:70], code=3, headers=False, numbers=False), "70 samples"),
    ]:
        cases.bad(f"SEG-Y, {name}", [made(name, content)], words)
