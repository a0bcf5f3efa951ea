"""Recordings in PRODML, read by independent readers, for tests/record_hdf5.rs.

    record_check.py FILE...     prints the rows of each as JSON

Each is opened unmodified with h5py, DASCore, xdas and DASPy, which must agree on samples, times, distances and gauge length;
those that follow each other are one array for xdas, with a gap nowhere.
"""

import json
import sys

import dascore
import daspy
import h5py
import numpy as np
import xdas


def ns(times):
    return np.asarray(times).astype("datetime64[ns]").astype("i8")


def check(path):
    with h5py.File(path) as file:
        acquisition, raw = file["Acquisition"], file["Acquisition/Raw[0]"]
        samples, times = raw["RawData"][...], raw["RawDataTime"][...] * 1000
        dx, first = acquisition.attrs["SpatialSamplingInterval"], acquisition.attrs["StartLocusIndex"]
        gauge, loci = acquisition.attrs["GaugeLength"], acquisition.attrs["NumberOfLoci"]
        assert raw["RawData"].attrs["Count"] == samples.size and raw["RawDataTime"].attrs["Count"] == len(times), path
        assert samples.shape == (len(times), loci), path
        ends = [raw[name].attrs["PartEndTime"] for name in ("RawData", "RawDataTime")]
    steps = np.diff(times)
    assert len(times) < 2 or np.ptp(steps) <= 1_000_000 and steps.min() > 0, (path, steps.min(), steps.max())
    assert all(abs(ns(end.decode().removesuffix("+00:00")) - times[-1]) <= 1000 for end in ends), (path, ends, times[-1])

    # The file may grow meanwhile.
    rows = len(times)
    patch = dascore.read(path)[0].transpose("time", "distance")
    assert np.array_equal(patch.data[:rows], samples), path
    assert np.abs(ns(patch.get_coord("time").values)[:rows] - times).max() <= 1_000_000, path
    assert np.allclose(patch.get_coord("distance").values, (first + np.arange(loci)) * dx), path
    assert np.isclose(patch.attrs.gauge_length, gauge), path
    array = xdas.open_dataarray(path, engine="prodml")
    assert np.array_equal(array.values[:rows], samples), path
    assert np.abs(ns(array["time"].values)[:rows] - times).max() <= 1_000_000, path
    section = daspy.read(path).data
    if section.shape[0] != section.shape[1]:
        assert np.array_equal(section.T[:rows], samples), path
    return rows


def main():
    files = sys.argv[1:]
    rows = [check(path) for path in files]
    print(json.dumps(rows))


main()
