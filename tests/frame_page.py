"""Computes the values of frames again from samples, with nothing but what FRAME.md and their headers say; tests/frame_page.rs
makes both.

usage: frame_page.py FOLDER
FOLDER holds samples.bin (int16, [trace][channel]), about.json and frames as *.frame. The program of the page is taken as it
stands there.
"""

import importlib.util
import json
import pathlib
import re
import sys

import numpy as np

here = pathlib.Path(__file__).resolve().parent.parent / "src/wire"
spec = importlib.util.spec_from_file_location("header", here / "header.py")
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)
(program,) = re.findall(r"```python recompute\n(.*?)```", (here / "FRAME.md").read_text(), re.S)
exec(program)  # defines recompute

folder = pathlib.Path(sys.argv[1])
about = json.loads((folder / "about.json").read_text())
samples = np.fromfile(folder / "samples.bin", "<i2").reshape(-1, about["channels"]) * about["scale"]
# What was never sent must not be needed.
for first, end in about["missing"]:
    samples[first:end] = np.nan
# Of the largest of a line: what 32-bit arithmetic leaves, and what is stored in 16 bits.
ALLOWED = {"f32": 1e-5, "f16": 1e-5 + 2.0**-11}
seen = {}
for file in sorted(folder.glob("*.frame")):
    body = file.read_bytes()
    h = page.decode(body)
    stored = np.frombuffer(body, h["numpy_dtype"], offset=h["header_bytes"]).reshape(h["shape"])
    values = h["scale"] * stored.astype("f8") + h["offset"]
    wanted = recompute(h, samples)  # noqa: F821
    off, size = np.abs(values - wanted), np.abs(wanted)
    for line in range(h["line_count"]):
        if h["value"] == "db":
            allowed = 0.002 + (h["scale"] / 2 if h["dtype"] == "u8" else 0)
            inside = (wanted[line] > h["offset"]) & (wanted[line] < h["offset"] + 255 * h["scale"]) | (h["dtype"] != "u8")
            assert off[line][inside].max() <= allowed, (file.name, line, off[line].max())
        else:
            allowed = ALLOWED[h["dtype"]] * size[line].max()
            assert off[line].max() <= allowed, (file.name, line, off[line].max() / size[line].max())
    length = h["line_period_num"] / h["line_period_den"] * h["prr_num"] / h["prr_den"]
    assert h["window_offset"] <= 0 and h["first_trace"] + h["window_offset"] > h["first_trace"] - h["nfft"]
    assert h["windows"] == 1 or (h["windows"] - 1) * h["window_hop"] + h["nfft"] >= length - 1
    assert np.allclose(page.distances_m(h), [about["distances_m"][h["channel_start"] + i] for i in range(h["channel_count"])])
    of = seen.setdefault(f"{h['name']}.{h['stream']}", {"lines": 0, "partial": [], "unit": h["unit"], "clipped": 0})
    of["lines"] += h["line_count"]
    of["clipped"] += h["clipped_low"] + h["clipped_high"]
    of["partial"] += [h["first_line"]] if h["flags"] & 1 else []
for of in seen.values():
    of["partial"].sort()
print(json.dumps(seen))
