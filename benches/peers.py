"""What Python's FFT libraries make of fiberd's workloads, end to end: from time-major int16 counts in memory to
finished float32 lines. Nothing is timed before its values agree with float64.

    python3 -m venv target/peers
    target/peers/bin/pip install -r benches/peers-requirements.txt
    target/peers/bin/python benches/peers.py

Each library has the same careful program around it; only the FFT differs. Counts go chunk by chunk (some channels,
some lines) to float32, times the window, through the FFT, to power, to the output. A chunk is transposed to
[channel][line][sample] ("rows") or left as [sample][channel] with the FFT along its first axis ("columns"); both are
tried in several sizes, and the fastest is kept and named. There are three ways to use two cores:

    1 thread  everything on one thread
    own 2     the FFT alone on two threads of the library (scipy workers=2, FFTW threads=2, MKL as it comes)
    2 chunks  two Python threads, each with its own chunks and one FFT thread

All take turns (A B C, A B C, ...). "M samples/s": input samples, each counted once although it is in two windows, by
the clock, median of the rounds; "best" is the best round, and "per core" goes by the seconds that cores spent (as
`cargo bench --bench dsp` does). "x real": how many such fibres would keep up. "ratio": to the best of as many cores.
"busy": cores had, on average; below 1 (or 2 for "2 chunks") others were using the machine and rates are too low.
"""

import argparse
import ctypes
import importlib
import json
import math
import os
import platform
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

SCALE = 1e-3  # radians a count


@dataclass(frozen=True)
class Workload:
    """`prr` and `band` in Hz; a line every `hop` traces from the newest `nfft`; a pass makes `lines` of them."""

    name: str
    channels: int
    prr: int
    nfft: int
    hop: int
    lines: int
    output: str  # "dB" of each bin of the band, or "energy": the power of the band in one sum
    band: tuple

    @property
    def bins(self):
        """Those whose frequency is within the band, ends included."""
        low, high = (f * self.nfft / self.prr for f in self.band)
        return slice(math.ceil(low), math.floor(high) + 1)


def hann(nfft):
    """Periodic, float64 [sample]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(nfft) / nfft)


# `lines` makes the counts more than 30 MB, beyond the caches, and keeps a pass below 2 s.
WORKLOADS = [
    Workload("W1", 2337, 2000, 1024, 512, 16, "dB", (0, 500)),
    Workload("W2", 2337, 2000, 256, 128, 64, "energy", (5, 200)),
    Workload("W3", 10_000, 1000, 256, 128, 16, "energy", (5, 200)),
    Workload("W4", 1, 2000, 65536, 32768, 512, "dB", (0, 1000)),
    Workload("W5", 50_000, 1000, 256, 128, 16, "energy", (5, 200)),
]


def reference(w, raw, lines, channels):
    """Power in rad² by the definition, float64: [line][channel][bin], or [line][channel] for energy."""
    sides = np.full(w.nfft // 2 + 1, 2.0)
    sides[[0, -1]] = 1
    x = np.stack([raw[n * w.hop :][: w.nfft, channels].T for n in lines]) * SCALE
    power = sides * np.abs(np.fft.rfft(x * hann(w.nfft))) ** 2 / (w.nfft * np.sum(hann(w.nfft) ** 2))
    return power[..., w.bins].sum(-1) if w.output == "energy" else power[..., w.bins]


def aligned(*shape, dtype=np.float32):
    """Uninitialised, contiguous, on a 64-byte boundary."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def spectrum(x, axis, multiple=1):
    """complex64 for the transform of `x` along `axis`; rows may take up a multiple of so many values in memory."""
    shape = list(x.shape)
    shape[axis] = shape[axis] // 2 + 1
    return aligned(*shape[:-1], -(-shape[-1] // multiple) * multiple, dtype=np.complex64)[..., : shape[-1]]


# These return a function that transforms float32 `x` along `axis` and returns complex64.
def numpy_fft(module, x, axis, threads):
    y = spectrum(x, axis)
    return lambda: module.rfft(x, axis=axis, out=y)


def scipy_fft(module, x, axis, threads):
    return lambda: module.rfft(x, axis=axis, workers=threads)


def fftw(module, x, axis, threads):
    y = spectrum(x, axis, 8)  # 15 % faster than rows that are not aligned
    return module.FFTW(x, y, axes=(axis,), flags=("FFTW_MEASURE",), threads=threads)


def mkl(module, x, axis, threads):
    y, runtime = spectrum(x, axis), ctypes.CDLL(mapped("libmkl_rt")[0])

    def run():
        runtime.MKL_Set_Num_Threads_Local(1 if threads == 1 else 0)  # of the calling thread; 0: MKL's own choice
        return module.rfft(x, axis=axis, out=y)

    return run


LIBRARIES = {"numpy": ("numpy.fft", numpy_fft), "scipy": ("scipy.fft", scipy_fft), "pyfftw": ("pyfftw", fftw),
             "mkl_fft": ("mkl_fft", mkl)}


def mapped(start):
    """Paths of the libraries in this process whose name starts so."""
    with open("/proc/self/maps") as maps:
        return sorted(set(re.findall(rf"/\S*/{start}\S*", maps.read())))


class Chunk:
    """Buffers for `width` channels × `lines` lines and what is done to them, by one thread at a time."""

    def __init__(self, w, library, module, arrangement, width, lines, threads):
        self.w, self.columns, self.width, self.lines = w, arrangement == "columns", width, lines
        # Scale, norm and two sides in one, so that |X|² is the power, but twice it at DC and Nyquist.
        window = hann(w.nfft) * SCALE * math.sqrt(2 / (w.nfft * np.sum(hann(w.nfft) ** 2)))
        window = window.astype(np.float32)
        traces = w.nfft + (lines - 1) * w.hop
        self.counts = aligned(traces, width + 8)[:, :width]  # [trace][channel]; +8 lest columns collide in the cache
        self.window = window[:, None] if self.columns else window
        self.x = aligned(w.nfft, width) if self.columns else aligned(width, lines, w.nfft)
        self.series = aligned(width, traces)  # [channel][trace]
        windows = np.lib.stride_tricks.sliding_window_view(self.series, w.nfft, axis=1)
        self.windows = windows[:, :: w.hop]  # [channel][line][sample], overlapping
        bins = w.bins.stop - w.bins.start
        self.sums = aligned(bins, width) if self.columns else aligned(width, lines, bins)
        self.squares = aligned(*self.sums.shape[:-1], 2 * self.sums.shape[-1])
        self.fft = LIBRARIES[library][1](module, self.x, 0 if self.columns else -1, threads)

    def run(self, raw, line, channel, out):
        """Fills out[line..][channel..] from int16 raw[trace][channel]."""
        w, channels = self.w, slice(channel, channel + self.width)
        np.copyto(self.counts, raw[line * w.hop :][: len(self.counts), channels])
        if self.columns:
            for n in range(self.lines):
                np.multiply(self.counts[n * w.hop :][: w.nfft], self.window, out=self.x)
                self.power(self.fft(), out[line + n, channels])
        else:
            np.copyto(self.series, self.counts.T)
            np.multiply(self.windows, self.window, out=self.x)
            self.power(self.fft(), out[line : line + self.lines, channels].swapaxes(0, 1))

    def power(self, X, out):
        """From complex64 [bin][channel] to `out` [channel] or [channel][bin], and from [channel][line][bin] to
        [channel][line] or [channel][line][bin]."""
        bins = self.w.bins
        parts = (X[bins] if self.columns else X[..., bins]).view(np.float32)  # real, imaginary, real, ...
        if self.w.output == "energy" and not self.columns:
            np.einsum("clk,clk->cl", parts, parts, out=out)
            return
        squares = np.multiply(parts, parts, out=self.squares)
        if self.w.output == "energy":
            energy = squares.sum(0)
            np.add(energy[::2], energy[1::2], out=out)
            return
        power = np.add(squares[..., ::2], squares[..., 1::2], out=self.sums)
        np.log(power, out=power)  # 3.5 times as fast as log10, which numpy has not vectorised for AVX2
        np.multiply(power.T if self.columns else power, np.float32(10 / math.log(10)), out=out)
        if bins.start == 0:  # DC and Nyquist have one side
            out[..., 0] -= np.float32(10 * math.log10(2))
        if bins.stop == self.w.nfft // 2 + 1:
            out[..., -1] -= np.float32(10 * math.log10(2))


class Contender:
    """A library, a way to use the cores and a size of chunk (arrangement, channels, lines)."""

    def __init__(self, w, library, module, way, size):
        self.library, self.way, self.cores = library, way, 1 if way == "1 thread" else 2
        width = -(-w.channels // -(-w.channels // size[1]))  # as many chunks, as equal as can be
        self.size = (size[0], width, size[2])
        threads, chunks = 2 if way == "own 2" else 1, 2 if way == "2 chunks" else 1
        self.chunks = [Chunk(w, library, module, *self.size, threads) for _ in range(chunks)]
        self.map = ThreadPoolExecutor(2).map if chunks == 2 else map
        # The last chunk of channels is moved back where it would not fit, and does some of them again.
        firsts = [min(c, w.channels - width) for c in range(0, w.channels, width)]
        self.places = [(n, c) for n in range(0, w.lines, size[2]) for c in firsts]

    def run(self, raw, out):
        """Seconds on the clock and seconds of all cores for one pass."""
        clock, cpu = time.perf_counter(), time.process_time()
        places = iter(self.places)  # shared: who is free takes the next
        list(self.map(lambda chunk: [chunk.run(raw, *place, out) for place in places], self.chunks))
        spent = time.perf_counter() - clock, time.process_time() - cpu
        if self.way == "own 2":
            time.sleep(0.3)  # OpenMP threads spin on for 0.2 s, at the next one's expense
        return spent

    def verify(self, raw, out, lines, channels, expected):
        """Amplitudes as the definition has them, within 2e-5 of themselves and their RMS; no value left out."""
        out.fill(np.nan)
        self.run(raw, out)
        got = out[np.ix_(lines, channels)].astype(np.float64)
        got = np.sqrt(10 ** (got / 10) if out.ndim == 3 else got)
        error = np.max(np.abs(got - np.sqrt(expected)) / (np.sqrt(expected) + np.sqrt(np.mean(expected))))
        if not (error < 2e-5 and np.isfinite(out).all()):
            sys.exit(f"{self.library}, {self.way}, {self.size}: wrong values, error {error:.1e}")


def sizes(w):
    """Chunks worth trying: 2^16 to 2^20 float32 values in windows, 256 kB to 4 MB."""
    for values in (2**16, 2**18, 2**20):
        for lines in (1, 4, 16) if w.channels == 1 else (4, 16):
            if lines * w.nfft <= values:
                yield "rows", min(w.channels, values // (lines * w.nfft)), lines
        if w.channels > 1:
            yield "columns", min(w.channels, values // w.nfft), 4


def contenders(w, modules, raw, out, check):
    """Each library in each way in its fastest size, all of them verified."""
    for library, module in modules.items():
        best = {}
        for way in ("1 thread", "own 2", "2 chunks"):
            if (library, way) == ("numpy", "own 2"):
                continue  # it has no threads
            worth_trying = [best["1 thread"].size] if way == "2 chunks" else dict.fromkeys(sizes(w))
            trial = [Contender(w, library, module, way, size) for size in worth_trying]
            for contender in trial:
                contender.verify(raw, out, *check)
            turns = [[contender.run(raw, out) for contender in trial] for _ in range(3)]
            # By seconds of cores where one thread does it all: others on the machine disturb them less than the clock.
            spent = [min(turn[0 if way == "own 2" else 1] for turn in times) for times in zip(*turns)]
            best[way] = trial[spent.index(min(spent))]
            yield best[way]


def measure(w, modules, rounds):
    """Verifies, chooses, takes turns, prints; returns a dictionary for each contender."""
    rng = np.random.default_rng(1)
    raw = rng.integers(-(2**15), 2**15, (w.nfft + (w.lines - 1) * w.hop, w.channels), np.int16)
    out = np.empty((w.lines, w.channels) + ((w.bins.stop - w.bins.start,) if w.output == "dB" else ()), np.float32)
    lines = np.linspace(0, w.lines - 1, 5).astype(int)
    channels = np.unique([0, w.channels - 1, *rng.integers(0, w.channels, 14)])
    everyone = list(contenders(w, modules, raw, out, (lines, channels, reference(w, raw, lines, channels))))
    turns = [[contender.run(raw, out) for contender in everyone] for _ in range(rounds)]
    samples, results = w.lines * w.hop * w.channels, []
    for contender, times in zip(everyone, zip(*turns)):
        clock, cpu = map(list, zip(*times))
        results.append({"workload": w.name, "library": contender.library, "way": contender.way,
                        "cores": contender.cores, "chunk": contender.size, "busy": sum(cpu) / sum(clock),
                        "samples_per_second": samples / statistics.median(clock), "best": samples / min(clock),
                        "per_core": samples / statistics.median(cpu), "clock_seconds": clock, "cpu_seconds": cpu})
    print(f"\n{w.name}: {w.channels} channels, {w.prr} Hz, nfft {w.nfft} every {w.hop}, {w.output} of {w.band[0]}-"
          f"{w.band[1]} Hz; {raw.nbytes / 1e6:.0f} MB in, {out.nbytes / 1e6:.1f} MB out; {rounds} rounds")
    print("library  way       M samples/s   best per core   x real  ratio  busy  chunk")
    for r in results:
        rate = r["samples_per_second"]
        r["x_real"] = rate / (w.channels * w.prr)
        r["ratio"] = rate / max(other["samples_per_second"] for other in results if other["cores"] == r["cores"])
        print("{library:8} {way:9} {:11.1f} {:6.1f} {:8.1f} {x_real:8.1f} {ratio:6.2f} {busy:5.2f}".format(
            rate / 1e6, r["best"] / 1e6, r["per_core"] / 1e6, **r), end="  ")
        print("{}, {} channels x {} lines".format(*r["chunk"]), flush=True)
    return results


def facts(modules):
    """Versions, and what the libraries tell of the instructions that they use."""
    with open("/proc/cpuinfo") as info:
        told = {"cpu": re.search(r"model name\s*: (.*)", info.read())[1], "cores": len(os.sched_getaffinity(0))}
    told["python"] = platform.python_version()
    told |= {name: sys.modules[LIBRARIES[name][0].split(".")[0]].__version__ for name in modules}
    if "pyfftw" in modules:
        told["fftw"] = getattr(modules["pyfftw"].pyfftw, "_fftw_version_dict", {}).get("32", "unknown")
    if "mkl_fft" in modules:
        modules["mkl_fft"].rfft(np.zeros((2, 256), np.float32))  # the first transform loads the kernels
        loaded = re.findall(r"libmkl_(?:def|mc3|avx\w*)", " ".join(mapped("libmkl_")))
        told["mkl kernels"] = " ".join(loaded)  # def: the plain ones, for any x86-64
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [w.name for w in WORKLOADS]
    parser.add_argument("--workload", action="append", choices=names, help="only this one (may be repeated)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender, 5 at least to be trusted (7)")
    parser.add_argument("--json", metavar="FILE", help="also write versions, rates, and the seconds of every round")
    args = parser.parse_args()
    modules = {}
    for library, (module, _) in LIBRARIES.items():
        try:
            modules[library] = importlib.import_module(module)
        except ImportError as error:
            print(f"without {library}: {error}")
    # Memory once had is kept, or glibc gives large arrays back each time: numpy and scipy up to 1.9 times as slow.
    ctypes.CDLL(None).mallopt(-3, 2**28)  # M_MMAP_THRESHOLD
    ctypes.CDLL(None).mallopt(-1, 2**29)  # M_TRIM_THRESHOLD
    told, results = facts(modules), []
    print(", ".join(f"{name}: {value}" for name, value in told.items()), flush=True)
    for w in WORKLOADS:
        if w.name in (args.workload or names):
            results += measure(w, modules, max(1, args.rounds))
            if args.json:
                with open(args.json, "w") as file:
                    json.dump({"machine": told, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
