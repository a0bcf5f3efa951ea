"""Files that fiberd exported, read by independent readers, for tests/export.rs.

    export_check.py make FOLDER             a capture with a gap and a dead channel, FOLDER/gap.h5, Terra15's layout
    export_check.py check FOLDER CAPTURES   what was exported into FOLDER, against the captures

PRODML is read with DASCore and h5py and xdas and DASPy, arrays with NumPy, sound and text with
Python's own `wave` and `csv`, the picture with matplotlib.
"""

import csv
import sys
import wave
from pathlib import Path

import h5py
import numpy as np

NS = 1_000_000_000
T0 = 1_700_000_000 * NS
RATE = 500
ROWS, GAP_AT, MISSING, CHANNELS = 2000, 1200, 300, 12


def gap_data():
    """Samples and times of gap.h5."""
    rng = np.random.default_rng(5)
    data = rng.normal(0, 2e-6, (ROWS, CHANNELS)).astype("f4")
    data[:, 4] = 0
    rows = np.arange(ROWS) + np.where(np.arange(ROWS) < GAP_AT, 0, MISSING)
    return data, T0 + rows * (NS // RATE)


def make(folder):
    data, times = gap_data()
    with h5py.File(Path(folder) / "gap.h5", "w") as file:
        file.attrs.update({
            "file_version": 5, "data_product": "velocity", "data_product_units": "m/s", "dx": 2.0, "nx": CHANNELS,
            "sensing_range_start": 40.0, "gauge_length": 10.0, "pulse_rate": 2 * RATE, "gps_locked": True, "dt_computer": 1 / RATE,
        })
        group = file.create_group("data_product")
        group["data"] = data
        group["data"].attrs.update({"dT": 1 / RATE, "dx": 2.0, "nx": CHANNELS})
        group["gps_time"] = group["posix_time"] = times / NS


def same_times(found, right, what):
    found = np.asarray(found).astype("datetime64[ns]").astype("i8")
    assert found.shape == right.shape and np.abs(found - right).max() <= 1000, what


def prodml(path, data, times, distances, gauge):
    import dascore

    patch = dascore.read(path)[0].transpose("time", "distance")
    assert np.array_equal(patch.data, data, equal_nan=True) and patch.data.dtype == data.dtype, path
    same_times(patch.get_coord("time").values, times, path)
    assert np.allclose(patch.get_coord("distance").values, distances, atol=1e-6), path
    assert np.isclose(patch.attrs.gauge_length, gauge), path
    with h5py.File(path) as file:
        assert list(file) == ["Acquisition"], path
        raw = file["Acquisition/Raw[0]"]
        assert np.array_equal(raw["RawData"][...], data, equal_nan=True)
        assert np.array_equal(raw["RawDataTime"][...], np.round(times / 1000).astype("i8")), path
        assert raw["RawData"].attrs["PartStartTime"].endswith(b"+00:00"), path
        assert raw["RawData"].attrs["Count"] == data.size, path
    others(path, data, times)


def others(path, data, times):
    import daspy
    import xdas

    array = xdas.open_dataarray(path, engine="prodml")
    assert np.array_equal(array.values, data, equal_nan=True), path
    same_times(array["time"].values, times, path)
    section = daspy.read(str(path))
    assert np.array_equal(section.data.T, data, equal_nan=True), path


def check(folder, captures):
    folder, captures = Path(folder), Path(captures)
    data, times = gap_data()
    distances = 40 + 2.0 * np.arange(CHANNELS)
    parts = [slice(0, GAP_AT), slice(GAP_AT, None)]
    for part, name in zip(parts, ["gap", "gap-2"]):
        prodml(folder / f"{name}.h5", data[part], times[part], distances, 10.0)
        assert np.array_equal(np.load(folder / f"{name}.npy"), data[part])
        with np.load(folder / f"{name}.npz") as archive:
            assert np.array_equal(archive["data"], data[part])
            same_times(archive["times"], times[part], name)
            assert np.array_equal(archive["distances"], distances)
            assert (archive["unit"], archive["rate_hz"], archive["scale"]) == ("m/s", RATE, 1)
            assert archive["start_utc"].item().startswith(str(times[part][0].astype("datetime64[ns]"))[:19])
        with wave.open(str(folder / f"{name}.wav")) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (2, 3, RATE)
            bytes_ = np.frombuffer(sound.readframes(sound.getnframes()), "u1").reshape(-1, 2, 3)
            heard = (bytes_.astype("i4") << [8, 16, 24]).sum(2, dtype="i4") >> 8
            right = data[part, 2:4].astype("f8") * (2**23 - 1) / np.abs(data[:, 2:4]).max()
            assert np.abs(heard - right).max() <= 0.51, name
    with open(folder / "gap.csv", newline="") as text:
        first, *lines = csv.reader(text)
    assert first == ["utc", "channel 7 (m/s)"]
    inside = (times >= T0 + 2 * NS) & (times < T0 + 3 * NS + NS // 2)
    same_times([np.datetime64(line[0].rstrip("Z")) for line in lines], times[inside], "csv")
    assert np.array_equal(np.array([line[1] for line in lines], "f4"), data[inside, 6])
    ours, physical = np.load(folder / "raw.npy"), np.load(folder / "scaled.npy")
    assert ours.dtype == "i2" and physical.dtype == "f4"
    assert np.array_equal((ours * 0.5).astype("f4"), physical) and ours.any()
    counts = np.load(folder / "long.npy")
    with h5py.File(folder / "long.h5") as file:
        raw = file["Acquisition/Raw[0]/RawData"]
        assert raw.dtype == counts.dtype == "i4" and np.array_equal(raw[...], counts) and np.abs(counts).max() > 2**16
    with h5py.File(captures / "iDAS005_hdf5_example.626.h5") as file:
        raw = file["Acquisition/Raw[0]"]
        original, stamps = raw["RawData"][...], raw["RawDataTime"][...] * 1000
        dx = file["Acquisition"].attrs["SpatialSamplingInterval"]
        first = file["Acquisition"].attrs["StartLocusIndex"]
    prodml(folder / "idas.h5", original[:, 99:300], stamps, (first + 99 + np.arange(201)) * dx, 10.0)
    picture(folder / "gap.png")


def picture(path):
    """The gap is a red stripe as high as it is long, between two coloured parts."""
    import matplotlib.image

    image = (matplotlib.image.imread(path)[..., :3] * 255).round().astype("i4")
    assert image.shape == (1000, 1400, 3)
    red = (image == [150, 30, 60]).all(2)
    rows = np.flatnonzero(red.sum(1) > 800)
    share = len(rows) / 635
    assert abs(share - MISSING / (ROWS + MISSING)) < 0.01 and np.ptp(rows) == len(rows) - 1, share


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
