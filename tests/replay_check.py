"""What an independent reader finds in captures, for tests/replay.rs.

    replay_check.py captures CAPTURES OUT   the real captures, read with DASCore and h5py
    replay_check.py variants OUT            files made here, of what no real capture shows
    replay_check.py numpy PAGE FILE OUT     our own format, read with the code that stands in CAPTURE.md
    replay_check.py golden OUT              the golden capture, packed by hand from CAPTURE.md

Each of the first two writes OUT/cases.json: files to replay, and what must come out, epoch by epoch: samples (raw
bytes), the time of each trace (int64 ns) and the distance of each channel (float64), or the words of the error.
"""

import json
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np

import replay_other
from replay_container import container_cases

NS = 1_000_000_000


class Cases:
    def __init__(self, out):
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.cases = []
        self.count = 0

    def put(self, array):
        self.count += 1
        path = self.out / f"expected-{self.count}.bin"
        path.write_bytes(np.ascontiguousarray(array).tobytes())
        return str(path)

    def epoch(self, data, times, distances, prr, levels=None, **known):
        assert data.shape == (len(times), len(distances)), (data.shape, len(times), len(distances))
        dtype = {"<i2": "int16", "<f4": "float32"}[data.dtype.str]
        return dict(
            samples=self.put(data),
            times=self.put(np.asarray(times, "i8")),
            distances=self.put(np.asarray(distances, "f8")),
            dtype=dtype,
            prr=prr,
            levels=None if levels is None else [self.put(np.asarray(levels, "f8"))],
            known=known,
        )

    def good(self, name, files, *epochs):
        self.cases.append(dict(name=name, files=[str(f) for f in files], epochs=list(epochs), error=None))

    def bad(self, name, files, error):
        self.cases.append(dict(name=name, files=[str(f) for f in files], epochs=[], error=error))

    def save(self):
        (self.out / "cases.json").write_text(json.dumps(self.cases))


def grid(start_ns, rows, prr):
    return start_ns + np.round(np.arange(rows) * (NS / prr)).astype("i8")


# --- real captures -------------------------------------------------------------------------------------------------


def captures(folder, out):
    import dascore
    import replay_vendors

    cases, folder = Cases(out), Path(folder)
    raw = {
        "iDAS005_hdf5_example.626.h5": "Acquisition/Raw[0]/RawData",
        "decimated_optodas.hdf5": "data",
        "terra15_v5_test_file.hdf5": "data_product/data",
        "gdr_1.h5": "DasRawData/RawData",
    }
    # From captures/README.md, and what the files say about themselves.
    known = {
        "iDAS005_hdf5_example.626.h5": dict(prr=1000, gauge=10.0, quantity="strain_rate", unit="(nm/m)/s * Hz/m", shape=(1000, 1152)),
        "decimated_optodas.hdf5": dict(prr=500, gauge=10.213001907746815, quantity="strain_rate", unit="strain/s", shape=(5000, 51)),
        "terra15_v5_test_file.hdf5": dict(prr=3217.8043, gauge=2.4502857212913773, quantity="velocity", unit="m/s", shape=(2060, 43)),
        "gdr_1.h5": dict(prr=1000, gauge=10.0, quantity="counts", unit="", shape=(10000, 10)),
    }
    for name, told in known.items():
        patch = dascore.read(folder / name)[0].transpose("time", "distance")
        data = patch.data
        assert data.shape == told["shape"], (name, data.shape)
        if name in raw:
            with h5py.File(folder / name) as file:
                assert np.array_equal(data, file[raw[name]][...], equal_nan=True), name
        times = patch.get_coord("time").values.astype("datetime64[ns]").astype("i8")
        epoch = cases.epoch(
            data, times, patch.get_coord("distance").values, told["prr"],
            gauge=told["gauge"], quantity=told["quantity"], unit=told["unit"], scale=1.0,
        )
        cases.good(name, [folder / name], epoch)

    # Decibels over frequency, 3001 of them, that DASCore takes for 1050 samples in time.
    cases.bad("febus_2.h5", [folder / "febus_2.h5"], "PSD [dB re 1 nStrain|sqrt(Hz)]: `dB re 1 nStrain/sqrt(Hz)` is a logarithmic scale")
    fbe = folder / "prodml_fbe_1.h5"
    with h5py.File(fbe) as file:
        group = file["Acquisition/Processed/Fbe[0]"]
        times = group["FbeDataTime"][...] * 1000
        told = dict(gauge=float(file["Acquisition"].attrs["GaugeLength"]), quantity="band_energy", unit="rad2/Hz", scale=1.0)
        for band, name in [(0, fbe), (0, f"{fbe}#FbeData[0]"), (3, f"{fbe}#FbeData[3]")]:
            epoch = cases.epoch(group[f"FbeData[{band}]"][...], times, 1.0209523 * np.arange(301), 1 / 5.12, **told)
            cases.good(f"{name}: band {band}", [name], epoch)
    cases.bad("a band that is not there", [f"{fbe}#FbeData[5]"], "there is FbeData[0], FbeData[1], FbeData[2], FbeData[3], FbeData[4]")
    (cases.out / "lines.json").write_text(json.dumps(lines(folder / "prodml_fbe_1.h5")))

    data, times = sintela_by_hand((folder / "sintela_protobuf_1.pb").read_bytes())
    assert data.shape == (1480, 200)
    epoch = cases.epoch(data, times, 10.0 * np.arange(200), 500, gauge=10.0, quantity="phase", unit="rad", scale=1.0)
    cases.good("sintela_protobuf_1.pb", [folder / "sintela_protobuf_1.pb"], epoch)
    replay_other.captures(cases, folder)
    replay_vendors.captures(cases, folder)
    cases.save()


def lines(path):
    """What DASCore and h5py find in a file of band energies."""
    import dascore

    patches = dascore.read(path)
    times = patches[0].get_coord("time").values.astype("datetime64[ns]").astype("i8")
    distances = patches[0].get_coord("distance").values
    with h5py.File(path) as file:
        group = file["Acquisition/Processed/Fbe[0]"]
        unit = group.attrs["FbeDataUnit"].decode()
        bands = [[name, *(group[name].attrs[key] for key in ("StartFrequency", "EndFrequency"))] for name in group if "Data[" in name]
    return dict(lines=len(times), loci=len(distances), start_utc_ns=int(times[0]), end_utc_ns=int(times[-1]),
                distance_start_m=distances[0], distance_end_m=distances[-1], line_rate_hz=1 / 5.12, unit=unit, bands=bands)


def fields(message):
    """Field numbers and values of a protobuf message, without any library."""
    out, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            size = varint()
            value, at = message[at : at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = message[at : at + size], at + size
        out[key >> 3] = value
    return out


def sintela_by_hand(raw):
    at, blocks, times = 0, [], []
    while at < len(raw):
        magic, tag, size = raw[at : at + 4], raw[at + 4 : at + 8], struct.unpack_from("<I", raw, at + 8)[0]
        assert magic == b"PBUF"
        message, at = raw[at + 12 : at + 12 + size], at + 12 + size
        if tag != b"TS05":
            continue
        packet = fields(message)
        header = fields(packet[1])
        common = fields(header[1])
        stamp = fields(common[1])
        rate = struct.unpack("<f", common[3])[0]
        blocks.append(np.frombuffer(packet[3], "<f4").reshape(header[3], common[2]))
        times.append(grid(stamp[1] * NS + stamp.get(2, 0), header[3], rate))
    return np.concatenate(blocks), np.concatenate(times)


# --- variants ------------------------------------------------------------------------------------------------------

START = 1_700_000_000 * NS + 123_456_000


def noise(rows, channels, dtype="<i2", seed=1):
    values = np.random.default_rng(seed).normal(0, 3000, (rows, channels))
    return values.astype(dtype)


def iso(ns):
    return (str(np.datetime64(int(ns), "ns")) + "+00:00").encode()


def prodml(path, data, *, start=START, prr=1000.0, dx=2.5, first=-4, version="2.1", turned=False, times=None, acq=None,
           raw=None, dims=True, stamps=None, **storage):
    rows, channels = data.shape
    times = grid(start, rows, prr) if times is None else times
    with h5py.File(path, "w") as file:
        group = file.create_group("Acquisition")
        old = version == "2.0"
        attrs = {
            "schemaVersion": version.encode(), "uuid": b"x", "PulseRate": prr, "PulseWidth": 10.0, "NumberOfLoci": channels,
            "StartLocusIndex": first, "SpatialSamplingInterval": dx, "GaugeLength": 10.0,
            ("SpatialSamplingIntervalUnit" if old else "SpatialSamplingInterval.uom"): b"m",
            ("GaugeLengthUnit" if old else "GaugeLength.uom"): b"m",
        }
        for key, value in {**attrs, **(acq or {})}.items():
            if value is not None:
                group.attrs[key] = value
        node = group.create_group("Raw[0]")
        for key, value in {"OutputDataRate": prr, "RawDataUnit": b"rad", "RawDescription": b"Phase", **(raw or {})}.items():
            if value is not None:
                node.attrs[key] = value
        dataset = node.create_dataset("RawData", data=data.T if turned else data, **storage)
        if dims:
            dataset.attrs["Dimensions"] = [b"locus", b"time"] if turned else [b"time", b"locus"]
        stamps = np.asarray(times) // 1000 if stamps is None else stamps
        column = node.create_dataset("RawDataTime", data=stamps)
        for target in (dataset, column):
            target.attrs["PartStartTime"] = iso(times[0])
            target.attrs["PartEndTime"] = iso(times[-1])
    return path


def prodml_cases(cases):
    out = cases.out
    distances = 2.5 * (np.arange(7) - 4)
    told = dict(gauge=10.0, quantity="phase", unit="rad", scale=1.0)

    data = noise(300, 7)
    expected = cases.epoch(data, grid(START, 300, 1000), distances, 1000, **told)
    cases.good("prodml 2.1", [prodml(out / "p21.h5", data)], expected)
    cases.good("prodml 2.0", [prodml(out / "p20.h5", data, version="2.0")], expected)
    cases.good("a name that lies", [prodml(out / "p21.fdas", data)], expected)
    cases.good("dimensions not said", [prodml(out / "nodims.h5", data, turned=True, dims=False)], expected)
    cases.good("locus first, chunked", [prodml(out / "turned.h5", data, turned=True, chunks=(3, 50), compression="gzip")], expected)
    cases.good("small chunks, shuffle, deflate, fletcher", [prodml(out / "chunked.h5", data, chunks=(64, 3), compression="gzip", shuffle=True, fletcher32=True)], expected)
    cases.good("big-endian", [prodml(out / "big.h5", data.astype(">i2"))], expected)
    cases.good("eight bits", [prodml(out / "i8.h5", (data // 256).astype("i1"))],
               cases.epoch((data // 256).astype("<i2"), grid(START, 300, 1000), distances, 1000, **told))
    floats = noise(300, 7, "<f8")
    cases.good("doubles", [prodml(out / "f64.h5", floats)],
               cases.epoch(floats.astype("<f4"), grid(START, 300, 1000), distances, 1000, **told))
    ints = noise(300, 7, "<i4") * 1001
    cases.good("OptaSense counts, locus first", [prodml(out / "i32.h5", ints, turned=True, version="2.0", raw={"RawDataUnit": b"rad * 2PI/2^16"})],
               cases.epoch(ints.astype("<f4"), grid(START, 300, 1000), distances, 1000, gauge=10.0, quantity="phase", unit="rad", scale=2 * np.pi / 65536))
    cases.good("feet and kilohertz", [prodml(out / "feet.h5", data, acq={"SpatialSamplingInterval.uom": b"ft", "GaugeLength.uom": b"ft"}, raw={"OutputDataRate": 1.0, "OutputDataRate.uom": b"kHz"})],
               cases.epoch(data, grid(START, 300, 1000), distances * 0.3048, 1000, gauge=3.048, quantity="phase", unit="rad", scale=1.0))
    cases.good("a declared rate that is wrong", [prodml(out / "lies.h5", data, raw={"OutputDataRate": 4000.0}, acq={"PulseRate": 4000.0})], expected)
    cases.good("a gauge length that is not known", [prodml(out / "nan.h5", data, acq={"GaugeLength": np.nan})],
               cases.epoch(data, grid(START, 300, 1000), distances, 1000, gauge=None, quantity="phase", unit="rad", scale=1.0))
    cases.good("one third of a kilohertz", [prodml(out / "third.h5", data, prr=1000 / 3)],
               cases.epoch(data, grid(START, 300, 1000 / 3), distances, 1000 / 3, **told))

    prodml_times(cases, data, distances, told)

    # Several files: following, with a gap of 37 traces, back in time, with other parameters; and a gap inside of one.
    a, b = noise(300, 7, seed=2), noise(250, 7, seed=3)
    later = grid(START, 550, 1000)
    first = prodml(out / "a.h5", a)
    cases.good("two files", [first, prodml(out / "b0.h5", b, start=int(later[300]))],
               cases.epoch(np.concatenate([a, b]), later, distances, 1000, **told))
    gap = np.concatenate([later[:300], later[300:] + 37_000_000])
    gappy = cases.epoch(np.concatenate([a, b]), gap, distances, 1000, **told)
    cases.good("a gap between files", [first, prodml(out / "b1.h5", b, start=int(gap[300]))], gappy)
    cases.good("a gap inside a file", [prodml(out / "gap.h5", np.concatenate([a, b]), times=gap)], gappy)
    alone = cases.epoch(a, later[:300], distances, 1000, **told)
    cases.good("files that overlap", [first, prodml(out / "b2.h5", b, start=int(later[290]))],
               alone, cases.epoch(b, grid(int(later[290]), 250, 1000), distances, 1000, **told))
    cases.good("another gauge length", [first, prodml(out / "b3.h5", b, start=int(later[300]), acq={"GaugeLength": 20.0})],
               alone, cases.epoch(b, later[300:], distances, 1000, gauge=20.0, quantity="phase", unit="rad", scale=1.0))

    part = {"NumberOfLoci": 7, "StartLocusIndex": 30}
    cases.good("samples of a part of the loci", [prodml(out / "part.h5", data, acq={"NumberOfLoci": 100, "StartLocusIndex": 0}, raw=part)],
               cases.epoch(data, grid(START, 300, 1000), 2.5 * (30 + np.arange(7)), 1000, **told))
    cases.good("a NumberOfLoci of Raw that is wrong", [prodml(out / "few.h5", data, raw={"NumberOfLoci": 3})], expected)
    both = prodml(out / "raw-and-fbe.h5", data)
    with h5py.File(both, "a") as file:
        file["Acquisition/Processed/Fbe[0]/FbeData[0]"] = np.ones((4, 7))
    cases.good("samples beside lines of band energy", [both], expected)
    cases.bad("a spectrum", [prodml(out / "psd.h5", data, raw={"RawDataUnit": b"rad^2/Hz"})], "spectrum")
    with h5py.File(prodml(out / "freq.h5", data), "a") as file:
        file["Acquisition/Raw[0]/RawData"].attrs["Dimensions"] = [b"time", b"frequency"]
    cases.bad("a dimension of frequencies", [out / "freq.h5"], "spectra")
    cases.bad("NumberOfLoci that contradicts", [prodml(out / "loci.h5", data, acq={"NumberOfLoci": 8})], "NumberOfLoci")
    cases.bad("three dimensions", [prodml_shape(out / "three.h5", (4, 5, 6), data=np.zeros((4, 5, 6)))], "two dimensions")
    cases.bad("no samples", [prodml_shape(out / "none.h5", (0, 7))], "")
    cases.bad("dx that is not a number", [prodml(out / "dx.h5", data, acq={"SpatialSamplingInterval": np.nan})], "SpatialSamplingInterval")
    cases.bad("dx of zero", [prodml(out / "dx0.h5", data, dx=0.0)], "apart")
    cases.bad("an unknown unit", [prodml(out / "unit.h5", data, acq={"SpatialSamplingInterval.uom": b"furlong"})], "furlong")
    cases.bad("huge dimensions", [prodml_shape(out / "huge.h5", (1 << 40, 1 << 20), chunks=(1, 1024))], "can hold")
    cases.bad("a huge chunk", [prodml_shape(out / "chunk.h5", (1 << 20, 1 << 10), chunks=(1 << 20, 1 << 10))], "can hold")
    with h5py.File(prodml(out / "long.h5", data, chunks=(150, 7), compression="gzip"), "r") as file:
        stored = file["Acquisition/Raw[0]/RawData"].id.get_chunk_info(0).size
    entry, content = struct.pack("<II", stored, 0), (out / "long.h5").read_bytes()
    assert content.count(entry) == 1, "the index entry of the first chunk: its length and filter mask"
    (out / "long.h5").write_bytes(content.replace(entry, struct.pack("<II", 0xFFFFFFFF, 0)))
    cases.bad("a chunk longer than the file", [out / "long.h5"], "beyond the end")
    whole = (out / "p21.h5").read_bytes()
    for part in (60, 900, len(whole) // 2):
        path = out / f"cut-{part}.h5"
        path.write_bytes(whole[:part])
        cases.bad(f"cut at {part}", [path], "")
    cases.bad("a good and a bad file", [first, out / "cut-900.h5"], "cut-900.h5")


def fbe(path, bands, times, *, unit=b"rad2/Hz", turned=False, edges=((1.0, 10.0), (10.0, 50.0))):
    with h5py.File(path, "w") as file:
        file.create_group("Acquisition").attrs.update(dict(schemaVersion=b"2.0", NumberOfLoci=50, StartLocusIndex=3, SpatialSamplingInterval=2.0,
                                                           SpatialSamplingIntervalUnit=b"m", GaugeLength=8.0, GaugeLengthUnit=b"m"))
        group = file.create_group("Acquisition/Processed/Fbe[0]")
        group.attrs.update(dict(FbeDataUnit=unit, OutputDataRate=2.0, StartLocusIndex=10, NumberOfLoci=bands[0].shape[1]))
        for number, (band, edge) in enumerate(zip(bands, edges)):
            dataset = group.create_dataset(f"FbeData[{number}]", data=band.T if turned else band)
            dataset.attrs["Dimensions"] = [b"locus", b"time"] if turned else [b"time", b"locus"]
            if edge:
                dataset.attrs["StartFrequency"], dataset.attrs["EndFrequency"] = edge
        group["FbeDataTime"] = np.asarray(times) // 1000
    return path


def fbe_cases(cases):
    """Lines of band energy: two bands of 40 lines at 2 Hz, of 7 loci."""
    out = cases.out
    bands = [np.abs(noise(40, 7, "<f4", seed)) ** 3 for seed in (5, 6)]
    times, distances = grid(START, 40, 2), 2.0 * (13 + np.arange(7))
    told = dict(gauge=8.0, quantity="band_energy", unit="rad2/Hz", scale=1.0)
    epochs = [cases.epoch(band, times, distances, 2, **told) for band in bands]
    cases.good("FBE", [fbe(out / "e.h5", bands, times)], epochs[0])
    cases.good("FBE, the second band", [f"{out / 'e.h5'}#FbeData[1]"], epochs[1])
    cases.good("FBE, locus first", [f"{fbe(out / 'et.h5', bands, times, turned=True)}#FbeData[1]"], epochs[1])
    cases.good("FBE, doubles", [fbe(out / "ed.h5", [band.astype("f8") for band in bands], times)], epochs[0])
    gap = np.where(np.arange(40) < 15, times, times + 6 * NS)
    cases.good("FBE, twelve lines lost", [fbe(out / "eg.h5", bands, gap)], cases.epoch(bands[0], gap, distances, 2, **told))
    cases.good("FBE, a band of which nobody knows which it is", [fbe(out / "ee.h5", bands, times, edges=(None, (10.0, 50.0)))], epochs[1])
    cases.bad("FBE, no band is known", [fbe(out / "en.h5", bands, times, edges=(None, (50.0, 10.0)))], "which band")
    cases.bad("FBE in dB", [fbe(out / "eb.h5", bands, times, unit=b"dB re 1 rad2/Hz")], "logarithmic")
    cases.bad("FBE, amplitudes", [fbe(out / "ea.h5", bands, times, unit=b"nstrain/s")], "amplitude")
    cases.bad("FBE, whole numbers", [fbe(out / "ei.h5", [band.astype("i2") for band in bands], times)], "floats")


def prodml_times(cases, data, distances, told):
    """Stamps that users of such files have met."""
    out = cases.out
    times = grid(START, 300, 1000)
    expected = cases.epoch(data, times, distances, 1000, **told)
    micros = times // 1000
    for name, stamps in [
        ("a column", micros.reshape(-1, 1)), ("a row", micros.reshape(1, -1)), ("nanoseconds", times),
        ("seconds as doubles", times / NS), ("counted from the start", micros - micros[0]),
        ("one that is late", np.where(np.arange(300) == 150, micros + 250_000, micros)),
        ("one that was never written", np.where(np.arange(300) == 150, 0, micros)),
        ("a first one of another age", np.where(np.arange(300) == 0, 5, micros)),
        ("all never written", np.zeros(300, "i8")),
    ]:
        path = prodml(out / f"stamps-{name.replace(' ', '-')}.h5", data, stamps=stamps)
        cases.good(f"PRODML stamps: {name}", [path], expected)
    for name, tail in [("zero", np.int64(0)), ("the same again", micros[259])]:
        path = prodml(out / f"tail-{name.replace(' ', '-')}.h5", data, stamps=np.where(np.arange(300) < 260, micros, tail))
        cases.good(f"PRODML, unwritten end, {name}", [path], cases.epoch(data[:260], times[:260], distances, 1000, **told))
    # Milliseconds at 4 kHz: four lines share a stamp.
    start = START // 1_000_000 * 1_000_000
    fast = grid(start, 300, 4000)
    path = prodml(out / "coarse.h5", data, start=start, prr=4000.0, stamps=fast // 1_000_000)
    cases.good("PRODML stamps in milliseconds at 4 kHz", [path], cases.epoch(data, fast, distances, 4000, **told))
    lost = np.where(np.arange(300) < 120, fast, fast + 10_000_000)
    path = prodml(out / "coarse-gap.h5", data, start=start, prr=4000.0, stamps=lost // 1_000_000)
    cases.good("PRODML stamps in milliseconds at 4 kHz, 40 lines lost", [path], cases.epoch(data, lost, distances, 4000, **told))


def prodml_shape(path, shape, **storage):
    prodml(path, noise(4, 7))
    with h5py.File(path, "a") as file:
        node = file["Acquisition/Raw[0]"]
        del node["RawData"], node["RawDataTime"]
        node.create_dataset("RawData", shape, "<i2", **storage).attrs["PartStartTime"] = iso(START)
        del file["Acquisition"].attrs["NumberOfLoci"]
    return path


def optodas(path, data, channels, *, dt=0.005, scale=1.0, version=10, roi=(100, 4), drop=()):
    with h5py.File(path, "w") as file:
        for key, value in {
            "fileVersion": version, "header/dt": dt, "header/dx": 1.25, "header/time": START / NS, "header/gaugeLength": 10.0,
            "header/channels": np.asarray(channels, "i4"), "header/dataScale": np.float32(scale), "header/unit": b"rad/(s.m)",
            "header/name": b"Phase rate per distance", "header/dimensionNames": [b"time", b"distance"],
            "demodSpec/roiStart": [roi[0]], "demodSpec/roiDec": [roi[1]], "cableSpec/refractiveIndex": 1.47, "data": data,
        }.items():
            if key not in drop:
                file[key] = value
    return path


def optodas_cases(cases):
    out, data = cases.out, noise(200, 5)
    numbers = 100 + 4 * np.arange(5)
    told = dict(gauge=10.0, quantity="phase_rate", unit="rad/(s.m)", scale=0.25)
    expected = cases.epoch(data, grid(START, 200, 200), 1.25 * numbers, 200, **told)
    cases.good("OptoDAS, int16, scaled", [optodas(out / "o.h5", data, numbers, scale=0.25)], expected)
    cases.good("OptoDAS without channels", [optodas(out / "o2.h5", data, numbers, scale=0.25, drop=("header/channels",))], expected)
    cases.bad("OptoDAS, wrong channels", [optodas(out / "o3.h5", data, numbers[:4])], "header/channels")
    cases.bad("OptoDAS, no time", [optodas(out / "o4.h5", data, numbers, drop=("header/time",))], "header/time")
    for name, words in (("unit", b"dB re 1 rad"), ("name", b"Power spectral density")):
        with h5py.File(optodas(out / f"of{name}.h5", data, numbers, drop=(f"header/{name}",)), "a") as file:
            file[f"header/{name}"] = words
        cases.bad(f"OptoDAS, a spectrum by its {name}", [out / f"of{name}.h5"], words.decode())
    cases.bad("OptoDAS, dt not a number", [optodas(out / "o5.h5", data, numbers, dt=np.nan)], "header/dt")


def terra15(path, data, times, *, version=6, node="data_product", column="gps_time"):
    with h5py.File(path, "w") as file:
        file.attrs.update(dict(file_version=version, data_product="velocity", data_product_units="m/s", dx=1.5,
                               sensing_range_start=30.0, nx=data.shape[1], gauge_length=2.5, pulse_rate=16000.0))
        file[f"{node}/data"] = data
        file[f"{node}/{column}"] = times
    return path


def terra15_cases(cases):
    out, data = cases.out, noise(400, 6, "<f4")
    seconds = START / NS + np.arange(400) / 500.0
    told = dict(gauge=2.5, quantity="velocity", unit="m/s", scale=1.0)
    distances = 30.0 + 1.5 * np.arange(6)
    times = np.round(seconds * 1e7).astype("i8") * 100
    expected = cases.epoch(data, times, distances, 500, **told)
    cases.good("Terra15 version 4", [terra15(out / "t4.h5", data, seconds, version=4, node="velocity", column="posix_time")], expected)
    unwritten = np.where(np.arange(400) < 333, seconds, 0.0)
    cases.good("Terra15, last frame not filled", [terra15(out / "t0.h5", data, unwritten)],
               cases.epoch(data[:333], times[:333], distances, 500, **told))
    gap = np.where(np.arange(400) < 200, seconds, seconds + 0.5)
    cases.good("Terra15 with a gap", [terra15(out / "tg.h5", data, gap)],
               cases.epoch(data, np.where(np.arange(400) < 200, times, times + NS // 2), distances, 500, **told))
    for lost in (1, 5):
        few = np.where(np.arange(400) < 200, times, times + lost * 2_000_000)
        cases.good(f"Terra15, {lost} lost", [terra15(out / f"tl{lost}.h5", data, few / NS)],
                   cases.epoch(data, few, distances, 500, **told))
    set_back = np.where(np.arange(400) < 200, times, times - NS)
    cases.good("Terra15, clock set back", [terra15(out / "tsb.h5", data, set_back / NS)],
               cases.epoch(data[:200], set_back[:200], distances, 500, **told),
               cases.epoch(data[200:], set_back[200:], distances, 500, **told))
    late = np.where(np.arange(400) == 50, times + 240_000_000, np.where(np.arange(400) < 200, times, times + NS // 2))
    cases.good("Terra15, a gap behind a late stamp", [terra15(out / "tlg.h5", data, late / NS)],
               cases.epoch(data, np.where(np.arange(400) < 200, times, times + NS // 2), distances, 500, **told))
    half = [terra15(out / "ta.h5", data[:200], seconds[:200]), terra15(out / "tb.h5", data[200:], seconds[200:])]
    cases.good("Terra15, two files", half, expected)
    cases.bad("Terra15, times that stand still", [terra15(out / "ts.h5", data, np.full(400, START / NS))], "rate")
    with h5py.File(terra15(out / "tp.h5", data, seconds), "a") as file:
        file.attrs["data_product"] = "frequency_band_energy"
    cases.bad("Terra15, a spectrum", [out / "tp.h5"], "spectrum")
    cases.bad("Terra15, too few times", [terra15(out / "tf.h5", data, seconds[:399])], "399")


def febus(path, blocks, stamps, *, version=True, extent=(10, 14, 0, 0), overlap=100, name="StrainRate"):
    with h5py.File(path, "w") as file:
        zone = file.create_group("fa1-x/Source1/Zone1")
        for group in (zone, zone.parent):
            group.attrs.update(dict(AmpliPower=np.array([1]), Hostname=b"fa1-x", WholeExtent=np.zeros(6, "i4"), SamplingRate=np.array([500]),
                                    Extent=np.array([extent[0], extent[1], extent[2], extent[3], 0, 0], "i4"), GaugeLength=np.array([4.0]),
                                    Spacing=np.array([0.8, 2.0, 1.0]), Origin=np.array([1.0, -200.0, 0.0]), BlockRate=np.array([1000], "i4"),
                                    BlockOverlap=np.array([overlap], "i4"), PulseRateFreq=np.array([1000], "i4")))
            if version:
                group.attrs["Version"] = b"2.1.0"
        zone[name] = blocks
        zone.parent["time"] = np.asarray(stamps, "f8")
    return path


def febus_cases(cases):
    """Blocks of 2 s every second at 500 Hz, cut out of one long signal: each trace must come back exactly once."""
    out, signal = cases.out, noise(3000, 5, "<f4")
    starts = np.array([0, 500, 1000, 1500])
    blocks = np.stack([signal[s : s + 1000] for s in starts])
    stamps = START / NS + starts / 500.0
    # Half a second is cut at both sides; Origin says that the stamp is 0.2 s behind the first stored row.
    times = START - NS // 5 + NS // 2 + np.arange(2000) * (NS // 500)
    distances = 1.0 + 0.8 * np.arange(10, 15)
    told = dict(gauge=4.0, quantity="strain_rate", unit="nstrain/s", scale=1.0)
    expected = cases.epoch(signal[250:2250], times, distances, 500, **told)
    path = febus(out / "f2.h5", blocks, stamps, extent=(10, 14, 0, 999))
    cases.good("Febus, four blocks", [path], expected)
    import dascore

    patch = dascore.read(path)[0].transpose("time", "distance")
    assert np.array_equal(patch.data, signal[250:2250])
    theirs = patch.get_coord("time").values.astype("datetime64[ns]").astype("i8")
    assert np.abs(theirs - times).max() < 1000, np.abs(theirs - times).max()
    late = stamps + np.array([0, 0, 3, 3])
    gap = times + np.repeat([0, 0, 3, 3], 500) * NS
    cases.good("Febus, three blocks lost", [febus(out / "fg.h5", blocks, late, extent=(10, 14, 0, 999))],
               cases.epoch(signal[250:2250], gap, distances, 500, **told))
    for overlap in (0, 50):
        path = febus(out / f"fo{overlap}.h5", blocks, stamps, extent=(10, 14, 0, 999), overlap=overlap)
        cases.good(f"Febus, half overlaps, {overlap} % said", [path], expected)
        whole = signal[:3000].reshape(3, 1000, 5)
        path = febus(out / f"fw{overlap}.h5", whole, START / NS + 2.0 * np.arange(3), extent=(10, 14, 0, 999), overlap=overlap)
        cases.good(f"Febus, nothing overlaps, {overlap} % said", [path],
                   cases.epoch(signal, START - NS // 5 + np.arange(3000) * (NS // 500), distances, 500, **told))
    cases.bad("Febus, a spectrum", [febus(out / "fp.h5", blocks, stamps, extent=(10, 14, 0, 999), name="FFT [nStrain]")], "spectrum")
    cases.bad("Febus, too few times", [febus(out / "ft.h5", blocks, stamps[:2], extent=(10, 14, 0, 999))], "4 blocks")
    cases.bad("Febus, blocks shorter than their step", [febus(out / "fs.h5", blocks[:, :100], stamps, extent=(10, 14, 5, 104))], "count")


def dasrcn(path, data, times, *, turned=False, rate="1000"):
    with h5py.File(path, "w") as file:
        acq = file.create_group("DasMetadata/Interrogator/Acquisition")
        acq.attrs.update(dict(AcquisitionSampleRate=rate, AcquisitionSampleRateUnit="Hz", GaugeLength="NaN", UnitOfMeasure="NaN",
                              SpatialSamplingInterval="1.5", SpatialSamplingIntervalUnit="meters"))
        dataset = file.create_dataset("DasRawData/RawData", data=data.T if turned else data)
        dataset.attrs["DasDimensions"] = ["locus", "time step"] if turned else ["time step", "locus"]
        file["DasRawData/DasTimeArray"] = np.asarray(times, "u8")
    return path


def dasrcn_cases(cases):
    out, data = cases.out, noise(300, 6, "<f4")
    expected = cases.epoch(data, grid(START, 300, 1000), 1.5 * np.arange(6), 1000, gauge=None, quantity="counts", unit="", scale=1.0)
    cases.good("DAS-RCN, locus first", [dasrcn(out / "r.h5", data, grid(START, 300, 1000), turned=True)], expected)
    cases.good("DAS-RCN, rate from the times", [dasrcn(out / "rn.h5", data, grid(START, 300, 1000), rate="NaN")], expected)
    with h5py.File(dasrcn(out / "rp.h5", data, grid(START, 300, 1000)), "a") as file:
        file["DasMetadata/Interrogator/Acquisition"].attrs["UnitOfMeasure"] = "nstrain^2/Hz"
    cases.bad("DAS-RCN, a spectrum", [out / "rp.h5"], "spectrum")
    cases.bad("DAS-RCN, too few times", [dasrcn(out / "rt.h5", data, grid(START, 299, 1000))], "299")


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def pb(number, value):
    """One protobuf field: int as varint, float as fixed32, bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sintela_record(tag, message):
    return b"PBUF" + tag + struct.pack("<I", len(message)) + message


def sintela_packet(data, utc_ns, count, *, rate=3217.8, dropped=0, **change):
    common = pb(1, pb(1, utc_ns // NS) + pb(2, utc_ns % NS)) + pb(2, data.shape[1]) + pb(3, change.get("rate", rate))
    common += pb(4, 0.8) + pb(5, 8.0) + pb(6, 50) + pb(10, dropped) + pb(11, 4)
    header = pb(1, common) + pb(2, count) + pb(3, len(data)) + pb(4, 2)
    return sintela_record(b"TS05", pb(1, header) + pb(3, data.astype("<f4").tobytes()))


def sintela_cases(cases):
    out, data = cases.out, noise(160, 9, "<f4")
    told = dict(gauge=8.0, quantity="strain_rate", unit="ustrain/s", scale=1.0)
    distances = 0.8 * 50 + 1.6 * np.arange(9)
    # Lines 80 to 112 are lost, and the count wraps before that.
    index = np.concatenate([np.arange(80), np.arange(112, 192)])
    times = START + np.round(index * (NS / 3217.8)).astype("i8")
    packets = [sintela_packet(data[i : i + 8], int(times[i]), (2**32 - 40 + int(index[i])) % 2**32, dropped=int(i == 80)) for i in range(0, 160, 8)]
    meta = sintela_record(b"META", b"whatever")
    path = out / "s.pb"
    path.write_bytes(meta + b"".join(packets))
    cases.good("Sintela, wrapped and dropped", [path], cases.epoch(data, times, distances, 3217.8, **told))
    cut = out / "cut.pb"
    cut.write_bytes((meta + b"".join(packets))[:-50])
    cases.good("Sintela, cut off", [cut], cases.epoch(data[:152], times[:152], distances, 3217.8, **told))
    # The fourth packet says more lines than it has: those lines are a gap.
    broken = out / "broken.pb"
    lies = packets[3].replace(pb(3, 8) + pb(4, 2), pb(3, 9) + pb(4, 2))
    broken.write_bytes(b"".join(packets[:3]) + lies)
    cases.good("Sintela, a packet that lies", [broken], cases.epoch(data[:24], times[:24], distances, 3217.8, **told))
    nothing = out / "no-channels.pb"
    nothing.write_bytes(sintela_packet(data[:8, :0], START, 0))
    cases.bad("Sintela, packets of no channel", [nothing], "0 channels")
    empty = out / "empty.pb"
    empty.write_bytes(meta)
    cases.bad("Sintela without samples", [empty], "TS05")


def pieces_cases(cases):
    """Files of several pieces: one after the other, or side by side."""
    out = cases.out
    numbers = np.concatenate([np.arange(20), np.arange(1000, 1010), np.arange(2000, 2030, 3)])
    data = noise(200, len(numbers))
    told = dict(gauge=10.0, quantity="phase_rate", unit="rad/(s.m)", scale=1.0)
    expected = cases.epoch(data, grid(START, 200, 200), 1.25 * numbers, 200, **told)
    cases.good("OptoDAS, three regions", [optodas(out / "regions.h5", data, numbers)], expected)
    path = optodas(out / "regions-of-interest.h5", data, numbers, drop=("header/channels",))
    with h5py.File(path, "a") as file:
        del file["demodSpec/roiStart"], file["demodSpec/roiDec"]
        file["demodSpec/roiStart"], file["demodSpec/roiEnd"], file["demodSpec/roiDec"] = [0, 1000, 2000], [19, 1009, 2027], [1, 1, 3]
    cases.good("OptoDAS, three regions of interest without channels", [path], expected)
    cases.bad("OptoDAS, channels that do not rise", [optodas(out / "falls.h5", data[:, :5], [4, 3, 2, 1, 0])], "do not rise")

    told = dict(gauge=10.0, quantity="phase", unit="rad", scale=1.0)
    a, b = noise(300, 7), noise(250, 7, seed=2)
    times = grid(START, 550, 1000)
    whole = cases.epoch(np.concatenate([a, b]), times, 2.5 * (np.arange(7) - 4), 1000, **told)
    for name, first in [("in turn", 0), ("in turn, the later first", 1)]:
        path = prodml(out / f"raws-{first}.h5", [a, b][first], times=[times[:300], times[300:]][first])
        other = prodml(out / "other.h5", [b, a][first], times=[times[300:], times[:300]][first])
        with h5py.File(path, "a") as file, h5py.File(other) as more:
            more.copy("Acquisition/Raw[0]", file["Acquisition"], "Raw[1]")
        cases.good(f"PRODML, two Raw groups {name}", [path], whole)
    later = times[300:] + 10 * NS
    path = prodml(out / "raws-gap.h5", a, times=times[:300])
    prodml(out / "other.h5", b, times=later)
    with h5py.File(path, "a") as file, h5py.File(out / "other.h5") as more:
        more.copy("Acquisition/Raw[0]", file["Acquisition"], "Raw[1]")
    gap = cases.epoch(np.concatenate([a, b]), np.concatenate([times[:300], later]), 2.5 * (np.arange(7) - 4), 1000, **told)
    cases.good("PRODML, two Raw groups and a gap between them", [path], gap)
    path = shutil.copy(path, out / "raws-one-empty.h5")
    with h5py.File(path, "a") as file:
        for name in ("RawData", "RawDataTime"):
            attrs = dict(file[f"Acquisition/Raw[1]/{name}"].attrs)
            shape, dtype = file[f"Acquisition/Raw[1]/{name}"].shape, file[f"Acquisition/Raw[1]/{name}"].dtype
            del file[f"Acquisition/Raw[1]/{name}"]
            file["Acquisition/Raw[1]"].create_dataset(name, (0, *shape[1:]), dtype).attrs.update(attrs)
    alone = cases.epoch(a, times[:300], 2.5 * (np.arange(7) - 4), 1000, **told)
    cases.good("PRODML, a second Raw group without a row", [path], alone)
    # Far from zero each file counts from its own first trace: the next one is no sequel.
    far = 1e9 + np.random.default_rng(5).normal(0, 3, (600, 7))
    files, epochs = [], []
    for part in (slice(0, 300), slice(300, 600)):
        when = grid(START, 600, 1000)[part]
        files.append(prodml(out / f"far-{part.start}.h5", far[part], times=when))
        epochs.append(cases.epoch((far[part] - far[part][0]).astype("<f4"), when, 2.5 * (np.arange(7) - 4), 1000, levels=far[part][0], **told))
    cases.good("PRODML, two files far from zero", files, *epochs)
    with h5py.File(prodml(out / "terabyte.h5", a), "a") as file:
        attrs = dict(file["Acquisition/Raw[0]/RawData"].attrs)
        del file["Acquisition/Raw[0]/RawData"], file["Acquisition/Raw[0]/RawDataTime"], file["Acquisition"].attrs["NumberOfLoci"]
        file["Acquisition/Raw[0]"].create_dataset("RawData", (1, 2**37), "f8").attrs.update(attrs)
    cases.bad("a terabyte that was never written", [out / "terabyte.h5"], "no values were written")
    path = prodml(out / "beside.h5", a)
    other = prodml(out / "other.h5", noise(300, 4, seed=3), raw={"StartLocusIndex": 100, "NumberOfLoci": 4})
    with h5py.File(path, "a") as file, h5py.File(other) as more:
        more.copy("Acquisition/Raw[0]", file["Acquisition"], "Raw[1]")
    one = cases.epoch(a, times[:300], 2.5 * (np.arange(7) - 4), 1000, **told)
    cases.good("PRODML, two Raw groups side by side", [path], one)
    cases.good("PRODML, the first of them by name", [f"{path}#Raw[0]"], one)
    cases.good("PRODML, the second of them by name", [f"{path}#Raw[1]"],
               cases.epoch(noise(300, 4, seed=3), times[:300], 2.5 * (100 + np.arange(4)), 1000, **told))
    cases.bad("PRODML, a name that is not there", [f"{path}#Raw[2]"], "there is Raw[0], Raw[1]")

    signal = noise(2000, 5, "<f4")
    path = febus(out / "zones.h5", signal.reshape(2, 1000, 5), START / NS + 2.0 * np.arange(2), extent=(10, 14, 0, 999))
    with h5py.File(path, "a") as file:
        source = file["fa1-x/Source1"]
        zone = source.create_group("Zone2")
        zone.attrs.update(source["Zone1"].attrs)
        zone.attrs["Origin"] = np.array([501.0, -200.0, 0.0])
        zone["StrainRate"] = -signal.reshape(2, 1000, 5)
    told = dict(gauge=4.0, quantity="strain_rate", unit="nstrain/s", scale=1.0)
    times = START - NS // 5 + np.arange(2000) * (NS // 500)
    cases.good("Febus, the first of two zones", [path], cases.epoch(signal, times, 9.0 + 0.8 * np.arange(5), 500, **told))
    cases.good("Febus, the second of two zones", [f"{path}#fa1-x/Source1/Zone2"],
               cases.epoch(-signal, times, 509.0 + 0.8 * np.arange(5), 500, **told))

    # A recorded stream whose layout and then rate change, with a second of silence in between.
    told = dict(gauge=8.0, quantity="strain_rate", unit="ustrain/s", scale=1.0)
    data, fewer, slower = noise(80, 9, "<f4"), noise(40, 4, "<f4"), noise(16, 4, "<f4")
    spans = [(data, 3217.8, START), (fewer, 3217.8, START + NS), (slower, 1000.0, START + 2 * NS)]
    packets, epochs = [], []
    for values, rate, start in spans:
        times = grid(start, len(values), rate)
        packets += [sintela_packet(values[i : i + 8], int(times[i]), i, rate=rate) for i in range(0, len(values), 8)]
        distances = 0.8 * 50 + 1.6 * np.arange(values.shape[1])
        epochs.append(cases.epoch(values, times, distances, rate, **told))
    path = out / "changes.pb"
    path.write_bytes(b"".join(packets))
    cases.good("Sintela, layout and rate change", [path], *epochs)


def unknown_cases(cases):
    out = cases.out
    for name, content, words in [
        ("empty", b"", "empty"), ("text", b"hello, this is no capture", "no known capture format"), ("tdms", b"TDSm" + bytes(60), "TDMS"),
        ("short", b"FDAS\r\n\x1a\n\x01", ""), ("fdas-huge", b"FDAS\r\n\x1a\n" + struct.pack("<II", 1, 0xFFFFFFC0) + bytes(200), "header length"),
    ]:
        (out / name).write_bytes(content)
        cases.bad(name, [out / name], words)
    with h5py.File(out / "other.h5", "w") as file:
        file["something/else"] = np.arange(5)
    cases.bad("other HDF5", [out / "other.h5"], "no known layout")


def variants(out):
    import replay_vendors

    cases = Cases(out)
    ours = (prodml_cases, fbe_cases, optodas_cases, terra15_cases, febus_cases, dasrcn_cases, sintela_cases, pieces_cases, unknown_cases)
    others = (replay_other.tdms_cases, replay_other.mseed_cases, replay_other.segy_cases)
    for make in ours + others + replay_vendors.VARIANTS:
        make(cases)
    container_cases(cases, prodml, noise, grid, START)
    cases.save()


# --- our own format ------------------------------------------------------------------------------------------------


def numpy_reader(page, path, out):
    code = re.search(r"```python\n(.*?)```", Path(page).read_text(), re.S).group(1)
    scope = {}
    exec(code, scope)
    data, times, distances, prr = scope["read_fdas"](path)
    cases = Cases(out)
    cases.good("numpy", [path], cases.epoch(data, times, distances, prr))
    cases.save()


def golden(out):
    """Two chunks of 3 and 2 traces, 3 channels of int16, 4 traces missing between them."""
    unit, text = "nstrain/s".encode(), "Faser 7 – süd".encode()
    head = b"FDAS\r\n\x1a\n" + struct.pack("<II", 1, 192) + struct.pack("<QQQ", 77, 16089, 5) + struct.pack("<II", 3, 1)
    head += struct.pack("<6d", 1.25, -10.0, 10.0, float("nan"), 1.4682, 0.5) + struct.pack("<IIII", 5, 2, len(unit), len(text))
    head += struct.pack("<II", 0, 1)
    head = head.ljust(128, b"\0") + unit + text
    head = head.ljust(188, b"\0")
    out_bytes = head + struct.pack("<I", zlib.crc32(head))

    def signed(part):
        part = part.ljust(60, b"\0")
        return part + struct.pack("<I", zlib.crc32(part))

    samples = np.arange(15, dtype="<i2").reshape(5, 3) * 1000 - 7000
    for first, gap, rows in ((0, 0, samples[:3]), (7, 4, samples[3:])):
        raw = rows.tobytes()
        utc = START + int(np.round(first * 5 * NS / 16089))
        out_bytes += signed(b"CHNK" + struct.pack("<IQqQII", len(rows), first, utc, gap, len(raw), zlib.crc32(raw)))
        out_bytes += raw.ljust(64, b"\0")
    out_bytes += signed(b"FEND" + bytes(4) + struct.pack("<QQQ", 2, 5, 4))
    Path(out).write_bytes(out_bytes)


if __name__ == "__main__":
    {"captures": captures, "variants": variants, "numpy": numpy_reader, "golden": golden}[sys.argv[1]](*sys.argv[2:])
