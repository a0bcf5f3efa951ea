"""More vendors' HDF5 layouts, for replay_check.py: the real captures as DASCore, xdas and h5py find them, and small files
of each layout."""

import datetime

import h5py
import numpy as np
from replay_check import NS, START, grid, iso, noise


def in_ns(times):
    return np.asarray(times).astype("datetime64[ns]").astype("i8")


def captures(cases, folder):
    """Where DASCore and xdas disagree about distances, the one that follows the file's own numbers counts."""
    import dascore
    import xdas

    def patch(name, place="distance"):
        found = dascore.read(folder / name)[0].transpose("time", place)
        return found.data, in_ns(found.get_coord("time").values), found.get_coord(place).values.astype("f8")

    def good(name, data, times, distances, prr, **told):
        cases.good(name, [folder / name], cases.epoch(data, times, distances, prr, **told))

    # DASCore begins at StartPosition + MeasureLength; the file says that channel 0 lies at `Start Distance (m)`, and that
    # the last lies at `Stop Distance (m)`, to within a rounded multiplier.
    name = "silixa_h5_1.hdf5"
    data, times, wrong = patch(name)
    with h5py.File(folder / name) as file:
        said = dict(file["Acoustic"].attrs)
    dx = float(said["SpatialResolution[m]"]) * float(said["Fibre Length Multiplier"])
    assert abs(wrong[1] - wrong[0] - dx) < 1e-9
    distances = float(said["Start Distance (m)"]) + dx * np.arange(data.shape[1])
    assert abs(distances[-1] - float(said["Stop Distance (m)"])) < 0.1
    good(name, data, times, distances, 500, gauge=10.0, quantity="strain_rate", unit="nstrain/s", scale=116 * 500 / (10 * 8192))

    # DASCore spreads channels from PositionStart to PositionEnd; xdas has them every SpatialSampling.
    name = "ap_sensing_1.hdf5"
    data, times, _ = patch(name)
    theirs = xdas.open_dataarray(str(folder / name), engine="apsensing")
    with h5py.File(folder / name) as file:
        points = round((file["DAQ/PositionEnd"][0] - file["DAQ/PositionStart"][0]) / file["DAQ/SamplingInterval"][0])
        step, gauge = file["ProcessingServer/SpatialSamplingPoints"][0], file["ProcessingServer/GaugeLengthPoints"][0]
        assert (points - gauge) // step + 1 == data.shape[1], "as many channels as gauge lengths fit"
    assert np.array_equal(in_ns(theirs["time"].values), times)
    good(name, data.astype("<f4"), times, theirs["distance"].values, 500, gauge=4.9005713, quantity="phase", unit="", scale=1.0)

    name = "neubrex_das_1.h5"
    good(name, *patch(name), 1000, gauge=0.2053373, quantity="strain_rate", unit="micro-strain/second", scale=1.0)

    name = "dispersion_event.h5"
    good(name, *patch(name), 2000, gauge=None, quantity="velocity", unit="m / s", scale=1.0)

    name = "h5_simple_1.h5"
    with h5py.File(folder / name) as file:
        stamps = file["timestamp"][...]
    good(name, *patch(name, "channel"), 199 / (stamps[-1] - stamps[0]), gauge=None, quantity="counts", unit="", scale=1.0)

    name = "xdas_netcdf.nc"
    theirs = xdas.open_dataarray(str(folder / name))
    assert theirs.dims == ("time", "distance")
    good(name, theirs.values.astype("<f4"), in_ns(theirs["time"].values), theirs["distance"].values, 50, gauge=None, quantity="counts", unit="", scale=1.0)


def silixa(path, data, *, drop=(), **other):
    attrs = {
        "SamplingFrequency[Hz]": "500", "SpatialResolution[m]": "2", "Fibre Length Multiplier": "1.020952", "Start Distance (m)": "-4.5",
        "StartPosition[m]": "242", "GaugeLength": "10", "Unit Calibration (nm)": "116", "iDASVersion": "2.4.1.111",
        "GPSTimeStamp": "14/11/2023 22:13:20.123456 (UTC)", "CPUTimeStamp": "14/11/2023 22:20:00.000 (UTC)",
        "SystemInfomation.GPS.Status": "Self Survey Complete",
    }
    with h5py.File(path, "w") as file:
        file["Acoustic"] = data
        for key, value in {**attrs, **other}.items():
            if key not in drop:
                file["Acoustic"].attrs[key] = value
    return path


def silixa_cases(cases):
    out, data = cases.out, noise(300, 7)
    distances = -4.5 + 2.041904 * np.arange(7)
    times = grid(START, 300, 500)
    told = dict(gauge=10.0, quantity="strain_rate", unit="nstrain/s", scale=116 * 500 / (10 * 8192))
    expected = cases.epoch(data, times, distances, 500, **told)
    cases.good("Silixa", [silixa(out / "si.h5", data)], expected)
    cases.good("Silixa, numbers that are numbers", [silixa(out / "sin.h5", data, **{"SamplingFrequency[Hz]": 500, "GaugeLength": np.float32(10)})], expected)
    cases.good("Silixa, time by ISO 8601 only", [silixa(out / "sii.h5", data, drop=("GPSTimeStamp",), **{"ISO8601 Timestamp": "2023-11-14T23:13:20.123456+01:00"})], expected)
    unknown = cases.epoch(data, times, distances, 500, gauge=None, quantity="strain_rate", unit="", scale=1.0)
    cases.good("Silixa without a gauge length", [silixa(out / "sig.h5", data, drop=("GaugeLength",))], unknown)
    cases.bad("Silixa without a rate", [silixa(out / "sir.h5", data, **{"SamplingFrequency[Hz]": "fast"})], "SamplingFrequency[Hz] is `fast`")
    cases.bad("Silixa at a rate of zero", [silixa(out / "si0.h5", data, **{"SamplingFrequency[Hz]": "0"})], "SamplingFrequency[Hz]")
    cases.bad("Silixa without a time", [silixa(out / "sit.h5", data, drop=("GPSTimeStamp", "CPUTimeStamp"))], "when it begins")
    cases.bad("Silixa with dx below zero", [silixa(out / "six.h5", data, **{"Fibre Length Multiplier": "-1"})], "apart")
    cases.bad("Silixa of three dimensions", [silixa(out / "si3.h5", data.reshape(10, 30, 7))], "two dimensions")


def ap_sensing(path, data, *, drop=(), stamps=None, **other):
    items = {
        "DAS": data, "ProcessingServer/DataRate": np.array([500], "i4"), "ProcessingServer/SpatialSampling": np.array([1.25], "f4"),
        "ProcessingServer/GaugeLength": np.array([5.0], "f4"), "ProcessingServer/DataType": [b"SCALED_DIFFERENTIAL_PHASE_32"],
        "ProcessingServer/RadiansToNanoStrain": np.array([21.54]), "Metadata/Timestamp": [b"2023-11-14T22:13:20.123456Z"],
        "Metadata/Timezone": [b"UTC"], "Metadata/TraceCount": np.array([300], "i4"), "DAQ/PositionStart": np.array([100.0]),
    }
    with h5py.File(path, "w") as file:
        file.attrs["FileVersion"] = np.array([10], "i4")
        for key, value in {**items, **other}.items():
            if key not in drop:
                file[key] = value
        if stamps is not None:
            file["Timestamps/DataTimestamps"] = stamps
    return path


def ap_sensing_cases(cases):
    out, data = cases.out, noise(300, 7, "<i4")
    told = dict(gauge=5.0, quantity="phase", unit="", scale=1.0)
    distances, times = 100.0 + 1.25 * np.arange(7), grid(START, 300, 500)
    expected = cases.epoch(data.astype("<f4"), times, distances, 500, **told)
    cases.good("AP Sensing", [ap_sensing(out / "ap.h5", data)], expected)
    cases.good("AP Sensing, channel first", [ap_sensing(out / "apc.h5", data.T)], expected)
    late = np.where(np.arange(300) < 200, times, times + 40_000_000)
    stamps = (late // 1000).reshape(-1, 1)
    cases.good("AP Sensing, stamps with a gap", [ap_sensing(out / "aps.h5", data.T, stamps=stamps, drop=("Metadata/TraceCount",))],
               cases.epoch(data.astype("<f4"), late, distances, 500, **told))
    cases.bad("AP Sensing in another zone", [ap_sensing(out / "apz.h5", data, **{"Metadata/Timestamp": [b"2023-11-14T22:13:20"], "Metadata/Timezone": [b"CET"]})], "CET")
    cases.bad("AP Sensing, other traces", [ap_sensing(out / "apt.h5", data, **{"Metadata/TraceCount": np.array([299], "i4")})], "299")
    cases.bad("AP Sensing, a spectrum", [ap_sensing(out / "apf.h5", data, **{"ProcessingServer/DataType": [b"FBE"]})], "spectrum")
    cases.bad("AP Sensing, rate of zero", [ap_sensing(out / "ap0.h5", data, **{"ProcessingServer/DataRate": np.array([0], "i4")})], "DataRate")


def neubrex(path, data, *, drop=(), **other):
    attrs = {
        "NEUBRESCOPE.DAS.Model": "NBX-S4110", "DataPhysicalUnit": "micro-strain/second", "DataType": "strain-rate",
        "TimeSamplingInterval(seconds)": np.float32(0.002), "SpatialSamplingInterval": np.float32(0.41), "SpatialSamplingIntervalUnit": "m",
        "StartPosition": np.float32(10), "StartStopPositionUnit": "m", "GaugeLength": np.float32(0.2), "GaugeLengthUnit": "m",
        "GPSTimeStamp(UTC)": "2023-11-14 22:13:20.123456", "CPUTimeStamp(UTC)": "2023-11-14 22:13:20.5",
        "SystemInformation.GPS.Status": "FineLock",
    }
    with h5py.File(path, "w") as file:
        file["Acoustic"] = data
        for key, value in {**attrs, **other}.items():
            if key not in drop:
                file["Acoustic"].attrs[key] = value
    return path


def neubrex_cases(cases):
    out, data = cases.out, noise(300, 7, "<f4")
    told = dict(gauge=0.2, quantity="strain_rate", unit="micro-strain/second", scale=1.0)
    expected = cases.epoch(data, grid(START, 300, 500), 10 + 0.41 * np.arange(7), 500, **told)
    cases.good("Neubrex", [neubrex(out / "nb.h5", data)], expected)
    cases.bad("Neubrex, period of zero", [neubrex(out / "nb0.h5", data, **{"TimeSamplingInterval(seconds)": np.float32(0)})], "TimeSamplingInterval")
    cases.bad("Neubrex, period that is no number", [neubrex(out / "nbn.h5", data, **{"TimeSamplingInterval(seconds)": np.nan})], "TimeSamplingInterval")
    cases.bad("Neubrex, a spectrum", [neubrex(out / "nbs.h5", data, DataType="PSD")], "spectrum")
    cases.bad("Neubrex, decibels", [neubrex(out / "nbd.h5", data, DataPhysicalUnit="dB")], "logarithmic")
    cases.bad("Neubrex without spacing", [neubrex(out / "nbx.h5", data, drop=("SpatialSamplingInterval",))], "SpatialSamplingInterval")


def odh4(path, data, *, drop=(), **other):
    """`data` is [channel][time]."""
    attrs = {
        "GL m": 16.3, "channel spacing m": 2.5, "channel_start": 40, "channel_end": 40 + len(data), "starttime": "2023-11-14T22:13:20.123456",
        "endtime": "2023-11-14T22:13:20.723456", "sampling rate Hz": 500.0, "scale factor to strain": 1.7e-9,
        "raw_data_units": "phase shift in radians",
    }
    with h5py.File(path, "w") as file:
        file["raw_data"] = data
        for key, value in {**attrs, **other}.items():
            if key not in drop:
                file.attrs[key] = value
    return path


def odh4_cases(cases):
    out, data = cases.out, noise(300, 7, "<f4")
    told = dict(gauge=16.3, quantity="strain", unit="strain", scale=1.7e-9)
    expected = cases.epoch(data, grid(START, 300, 500), 2.5 * (40 + np.arange(7)), 500, **told)
    cases.good("ODH4", [odh4(out / "od.h5", data.T)], expected)
    told = dict(gauge=16.3, quantity="phase", unit="phase shift in radians", scale=1.0)
    radians = cases.epoch(data, grid(START, 300, 500), 2.5 * (40 + np.arange(7)), 500, **told)
    cases.good("ODH4 without a factor", [odh4(out / "odr.h5", data.T, drop=("scale factor to strain",))], radians)
    cases.bad("ODH4, turned round", [odh4(out / "odt.h5", data, channel_end=47)], "channels 40 to 47")
    cases.bad("ODH4, no rate", [odh4(out / "od0.h5", data.T, **{"sampling rate Hz": 0.0})], "sampling rate Hz")
    cases.bad("ODH4, no start", [odh4(out / "ods.h5", data.T, starttime="noon")], "when it begins")


def dasdae_cases(cases):
    """Files as DASCore writes them."""
    import dascore

    out, data, times = cases.out, noise(300, 7, "<f4"), grid(START, 300, 500)
    distances = 10.0 + 0.5 * np.arange(7)

    def patch(data, times, distances, dims=("time", "distance"), **attrs):
        coords = {dims[0]: times, dims[1]: distances}
        return dascore.Patch(data=data, coords=coords, dims=dims, attrs=attrs)

    def write(name, *patches):
        path = out / name
        path.unlink(missing_ok=True)
        dascore.spool(list(patches)).io.write(path, "dasdae") if len(patches) > 1 else patches[0].io.write(path, "dasdae")
        return path

    stamps = times.astype("datetime64[ns]")
    told = dict(gauge=None, quantity="strain_rate", unit="1 / s", scale=1.0)
    expected = cases.epoch(data, times, distances, 500, **told)
    known = dict(data_type="strain_rate", data_units="1/s")
    cases.good("DASDAE", [write("dd.h5", patch(data, stamps, distances, **known))], expected)
    turned = patch(data, stamps, distances, **known).transpose("distance", "time")
    cases.good("DASDAE, distance first", [write("ddt.h5", turned)], expected)
    late = np.where(np.arange(300) < 120, times, times + 74_000_000)
    apart = np.where(np.arange(7) < 4, distances, distances + 100)
    cases.good("DASDAE, a gap and two regions", [write("ddg.h5", patch(data, late.astype("datetime64[ns]"), apart, **known))],
               cases.epoch(data, late, apart, 500, **told))
    spectrum = patch(data, np.arange(300.0), distances, dims=("frequency", "distance"))
    cases.bad("DASDAE, a spectrum", [write("dds.h5", spectrum)], "frequency and distance")
    with h5py.File(write("ddx.h5", patch(data, stamps, distances, **known)), "a") as file:
        del next(iter(file["waveforms"].values()))["_coord_distance"]
    cases.bad("DASDAE without distances", [out / "ddx.h5"], "_coord_distance")
    cases.bad("DASDAE, distances that fall", [write("ddf.h5", patch(data, stamps, distances[::-1].copy()))], "do not rise")


def xdas_cases(cases):
    """Files as xdas writes them, and in the spelling of its older versions."""
    import xdas

    out, data = cases.out, noise(300, 7, "<f4")
    start = np.datetime64(START, "ns")
    told = dict(gauge=None, quantity="counts", unit="", scale=1.0)

    def write(name, time, distance, data=data, dims=("time", "distance"), **kwargs):
        array = xdas.DataArray(data, dict(zip(dims, (time, distance))))
        array.to_netcdf(str(out / name), **kwargs)
        back = xdas.open_dataarray(str(out / name))
        return out / name, in_ns(back["time"].values), back["distance"].values

    lapse = lambda rows, prr: np.timedelta64(round(rows * NS / prr), "ns")
    straight = {"tie_indices": [0, 299], "tie_values": [start, start + lapse(299, 500)]}
    even = {"tie_indices": [0, 6], "tie_values": [100.0, 115.0]}
    path, times, distances = write("xd.nc", straight, even)
    cases.good("xdas", [path], cases.epoch(data, times, distances, 500, **told))
    path, times, distances = write("xdt.nc", even, straight, data.T.copy(), ("distance", "time"))
    cases.good("xdas, distance first", [path], cases.epoch(data, times, distances, 500, **told))
    square = noise(7, 7, "<f4")
    short = {"tie_indices": [0, 6], "tie_values": [start, start + lapse(6, 500)]}
    path, times, distances = write("xdq.nc", even, short, square.T.copy(), ("distance", "time"))
    cases.good("xdas, as many channels as traces", [path], cases.epoch(square, times, distances, 500, **told))

    # 37 traces are missing after the hundredth; channels lie in two regions.
    jump = {"tie_indices": [0, 99, 100, 299], "tie_values": [start + lapse(n, 500) for n in (0, 99, 137, 336)]}
    regions = {"tie_indices": [0, 3, 4, 6], "tie_values": [0.0, 30.0, 100.0, 120.0]}
    path, times, distances = write("xdg.nc", jump, regions)
    gappy = cases.epoch(data, times, distances, 500, **told)
    assert np.diff(times).max() == 38 * 2_000_000
    cases.good("xdas, a gap and two regions", [path], gappy)
    sampled = {"tie_values": [start, start + lapse(137, 500)], "tie_lengths": [100, 200], "sampling_interval": np.timedelta64(2_000_000, "ns")}
    path, same, _ = write("xds.nc", sampled, regions)
    assert np.array_equal(same, times)
    cases.good("xdas, stretches", [path], gappy)
    uneven = {"tie_indices": [0, 299], "tie_values": [start, start + lapse(299, 3217.8)]}
    path, times, distances = write("xdu.nc", uneven, even)
    cases.good("xdas, a rate that is no whole number", [path], cases.epoch(data, times, distances, 3217.8, **told))

    whole = xdas.open_dataarray(str(out / "xd.nc"))
    whole.to_netcdf(str(out / "xdv.nc"), virtual=True)
    cases.bad("xdas, a virtual dataset", [out / "xdv.nc"], "other files")

    def old(name, indices=(0, 299), values=(0, 598), unit="milliseconds since 2023-11-14 22:13:20.123456", places=(100.0, 115.0), mapping=None):
        mapping = mapping or "time: time_indices time_values distance: distance_indices distance_values"
        with h5py.File(out / name, "w") as file:
            file.attrs["Conventions"] = "CF-1.9"
            file["values"] = data
            file["values"].attrs["coordinate_interpolation"] = mapping
            file["time_indices"], file["time_values"] = np.array(indices), np.array(values)
            file["time_values"].attrs["units"] = unit
            file["distance_indices"], file["distance_values"] = np.array([0, 6]), np.array(places)
        return out / name

    expected = cases.epoch(data, grid(START, 300, 500), 100 + 2.5 * np.arange(7), 500, **told)
    cases.good("xdas, old spelling", [old("xdo.nc")], expected)
    cases.good("xdas, times as doubles", [old("xdf.nc", values=(0.0, 0.598), unit="seconds since 2023-11-14 22:13:20.123456")], expected)
    for name, words, file in [
        ("tie points beyond the samples", "which dimension", dict(indices=(0, 300))),
        ("tie points that fall", "which dimension", dict(indices=(299, 0))),
        ("too few values", "2 tie points have 1 values", dict(values=(0,))),
        ("times that stand still", "rate", dict(values=(5, 5))),
        ("times that are none", "no time", dict(values=(0.0, np.nan), unit="seconds since 1970-01-01")),
        ("distances that fall", "do not rise", dict(places=(115.0, 100.0))),
        ("distances that are none", "do not rise", dict(places=(0.0, np.nan))),
        ("a mapping of nonsense", "no known way", dict(mapping="time: a b c d")),
        ("names of nothing", "time and distance", dict(mapping="time: time_indices time_values")),
    ]:
        path = old(f"xdb-{name.replace(' ', '-')}.nc", **file)
        cases.bad(f"xdas, {name}", [path], words)


def plain(path, items, **attrs):
    with h5py.File(path, "w") as file:
        for key, value in items.items():
            file[key] = value
        file.attrs.update(attrs)
    return path


def plain_cases(cases):
    """What people make by hand."""
    out, data, times = cases.out, noise(300, 7, "<f4"), grid(START, 300, 500)
    distances, seconds = 20.0 + 4.0 * np.arange(7), START / NS + np.arange(300) / 500
    told = dict(gauge=None, quantity="counts", unit="", scale=1.0)
    expected = cases.epoch(data, times, distances, 500, **told)
    begin = datetime.datetime.fromtimestamp(START // NS, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + ".123456"
    undated = cases.epoch(data, grid(0, 300, 500), distances, 500, **told)
    apart = np.where(np.arange(7) < 4, distances, distances + 100)
    for name, right, items, attrs in [
        ("axes", expected, dict(data=data, time=seconds, distance=distances), {}),
        ("channel first", expected, dict(data=data.T, time=seconds, distance=distances), {}),
        ("microseconds", expected, dict(raw=data, t=times // 1000, x=distances), {}),
        ("in a group", expected, {"das/Data": data, "das/Times": times, "das/Distance": distances}, {}),
        ("fs, dx and start_time", expected, {"strain": data}, dict(fs=500, dx=4.0, start_distance=20.0, start_time=begin, dims="time,distance")),
        ("dt in single precision", expected, {"strain": data.T, "distance": distances}, dict(dt=np.float32(0.002), t0=START / NS)),
        ("single values", expected, {"strain": data, "fs": 500.0, "x_axis": distances}, dict(start_time=begin)),
        ("times from zero and a start", expected, dict(data=data, t=np.arange(300) / 500, x=distances), dict(start_time=begin)),
        ("times from zero", undated, dict(data=data, t_axis=np.arange(300) / 500, x_axis=distances), {}),
        ("ODH3", undated, dict(data=data.T, t_axis=np.arange(300) / 500, x_axis=distances), {}),
        ("two regions", cases.epoch(data, times, apart, 500, **told), dict(data=data, time=seconds, distance=apart), {}),
        ("a place on the map", cases.epoch(data, times, 4.0 * np.arange(7), 500, **told),
         dict(data=data, time=seconds, x=distances + 500_000, y=distances), dict(dx=4.0)),
        ("numbers of channels", cases.epoch(data, times, 4.0 * np.arange(3, 10), 500, **told),
         dict(data=data, time=seconds, channel=np.arange(3, 10)), dict(dx=4.0)),
    ]:
        cases.good(f"plain, {name}", [plain(out / f"pl-{name.replace(' ', '-')}.h5", items, **attrs)], right)
    square = noise(7, 7, "<f4")
    few = cases.epoch(square, times[:7], distances, 500, **told)
    cases.good("plain, square with dims", [plain(out / "pls.h5", dict(data=square, time=times[:7], distance=distances), dims="time,distance")], few)
    path = plain(out / "plc.h5", dict(data=data, time=np.arange(300) * 2, distance=distances))
    with h5py.File(path, "a") as file:
        file["time"].attrs["units"] = f"milliseconds since {begin.replace('T', ' ')}"
        file["distance"].attrs["units"] = "m"
        file["data"].attrs.update(dict(units="m/s", gauge_length=8.0))
    cases.good("plain, CF units", [path], cases.epoch(data, times, distances, 500, gauge=8.0, quantity="velocity", unit="m/s", scale=1.0))
    both = dict(data=data, time=seconds, distance=distances)
    for name, words, items, attrs in [
        ("no rate", "fs", dict(data=data, distance=distances), {}),
        ("rate of zero", "fs", dict(data=data, distance=distances), dict(fs=0)),
        ("period of zero", "fs", dict(data=data, distance=distances), dict(dt=0.0)),
        ("period below zero", "fs", dict(data=data, distance=distances), dict(dt=-0.002)),
        ("a rate in words", "fs", dict(data=data, distance=distances), dict(fs="fast")),
        ("times that are none", "rate", {**both, "time": np.full(300, np.nan)}, {}),
        ("times that stand still", "rate", {**both, "time": np.full(300, START)}, {}),
        ("too few times", "299 times", {**both, "time": seconds[:299]}, {}),
        ("square", "which of its dimensions", dict(data=square, time=times[:7], distance=distances), {}),
        ("no axes at all", "which of its dimensions", dict(data=data), dict(fs=500)),
        ("dims that contradict", "do not fit", both, dict(dims="distance,time")),
        ("distances that fall", "do not rise", {**both, "distance": distances[::-1]}, {}),
        ("distances that are none", "do not rise", {**both, "distance": np.full(7, np.nan)}, {}),
        ("dx below zero", "apart", dict(data=data, time=seconds), dict(dx=-1.0)),
        ("decibels", "logarithmic", both, dict(units="dB re 1 rad")),
        ("a spectrum", "spectrum", dict(psd=data, time=seconds, distance=distances), {}),
        ("over frequency", "spectrum", dict(data=data, time=seconds, frequency=distances), {}),
        ("two of them", "have two dimensions", dict(a=data, b=data, time=seconds), {}),
        ("no samples", "", dict(data=np.zeros((0, 7), "f4"), time=np.zeros(0), distance=distances), {}),
    ]:
        cases.bad(f"plain, {name}", [plain(out / f"plb-{name.replace(' ', '-')}.h5", items, **attrs)], words)


def cut_cases(cases):
    """Each layout, cut off anywhere, is refused and does no harm."""
    for name in ("si.h5", "ap.h5", "nb.h5", "od.h5", "dd.h5", "xd.nc", "pl-axes.h5"):
        whole = (cases.out / name).read_bytes()
        for tenth in range(1, 10):
            path = cases.out / f"cut-{tenth}-{name}"
            path.write_bytes(whole[: len(whole) * tenth // 10])
            cases.bad(f"{name} cut after {tenth} tenths", [path], ": ")


VARIANTS = (silixa_cases, ap_sensing_cases, neubrex_cases, odh4_cases, dasdae_cases, xdas_cases, plain_cases, cut_cases)
