"""The procedures by which interrogators are compared (SEAFOM, as pySEAFOM computes them), on a simulated interrogator.

Usage: performance_check.py FIBERD AMQP_URI FOLDER CAPTURE_PAGE

Each scene says what is true. It is recorded by `fiberd record` and read with the code of CAPTURE.md; and it is replayed
through the whole daemon, whose frames are taken from the broker. Both must be what the scene says: amplitudes to 0.1 dB,
times to one sample, places to a tenth of a channel.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time

os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pika
import pySEAFOM
from pySEAFOM.dynamic_range import compute_dynamic_range_hilbert
from pySEAFOM.frequency_response import compute_frequency_response

FIBERD, URI, FOLDER, PAGE = sys.argv[1:]
PRR = 2000.0
K = 4 * np.pi * 1.468 * 0.78 * 10.0 / 1550.0  # radians per nanostrain: n, the photo-elastic factor, G in m, wavelength in nm
FIBER = """
[fiber]
channels = {channels}
dx_m = 1.0
gauge_length_m = 10.0
attenuation_db_per_km = 0
fading = false
[interrogator]
prr_hz = 2000
sample_format = "{samples}"
{more}
[noise]
receiver_rad_per_sqrt_hz = {noise}
laser_rad_per_sqrt_hz_at_1hz = 0
dark_counts = 0
"""


def quiet(call, *args, **named):
    """The procedures print reports."""
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*args, **named)


def near_db(what, got, true, limit=0.1):
    error = 20 * np.log10(np.asarray(got, float) / np.asarray(true, float))
    assert np.all(np.abs(error) <= limit), f"{what}: {got} for {true}, {error} dB"
    print(f"{what}: within {np.abs(error).max():.4f} dB")


def record(name, seconds, channels, *sources, samples="f32", noise=0.0, more=""):
    """Records a scene; the path, and [trace][channel] in counts as the page's own code reads it."""
    scene, path = f"{FOLDER}/{name}.toml", f"{FOLDER}/{name}.fdas"
    text = "" if sources else "source = []\n"
    text += FIBER.format(channels=channels, samples=samples, noise=noise, more=more)
    for source in sources:
        text += "[[source]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in source.items())
    open(scene, "w").write(text)
    subprocess.run([FIBERD, "record", path, "--scene", scene, "--for", str(seconds)], check=True, capture_output=True)
    code = {}
    exec(re.search(r"```python\n(.*?)```", open(PAGE).read(), re.S)[1], code)
    return path, code["read_fdas"](path)[0]


def frames(path, name, views, processing=""):
    """Replays a capture through the daemon; by name of view: values of all lines, and the headers of the first frame."""
    config, exchange = f"{FOLDER}/{name}.toml", f"frames-{name}"
    text = f'site = "{name}"\n[broker]\nuri = "{URI}"\nframes_exchange = "{exchange}"\nstatus_exchange = "{exchange}.status"\n'
    open(config, "w").write(text + "[processing]\n" + processing + views)
    channel = pika.BlockingConnection(pika.URLParameters(URI.replace("amqp://", "amqp://guest:guest@"))).channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, "#")
    replay = [FIBERD, "replay", path, "--speed", "max", "--config", config, "--http", "127.0.0.1:0"]
    subprocess.run(replay, check=True, capture_output=True, timeout=300)
    lines = {}
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=1):
        if method is None:
            break
        h = properties.headers
        values = np.frombuffer(body, h["dtype"], offset=h["offset"]).reshape(h["shape"]).astype("f8")
        key = (h["name"], h["stream"])
        lines.setdefault(key, (h, []))[1].append((h["first_line"], values))
    assert lines, f"{name}: no frames came"
    return {key: (h, np.concatenate([v for _, v in sorted(of, key=lambda f: f[0])])) for key, (h, of) in lines.items()}


def view(kind, name, **keys):
    def written(value):
        return json.dumps(value)

    return f'[[view]]\nkind = "{kind}"\nname = "{name}"\n' + "".join(f"{key} = {written(v)}\n" for key, v in keys.items())


def tone(**keys):
    return dict(kind="tone", **keys)


def amplitudes(h, lines, frequency):
    """Of a sine at `frequency`, from the powers of the bins of its main lobe, meaned over whole lines; per channel."""
    start, step = float(h["frequency_start_hz"]), PRR / 4096
    bins = start + step * np.arange(lines.shape[-1])
    lobe = np.abs(bins - frequency) < 4.5 * step
    return np.sqrt(2 * lines[2:-2, ..., lobe].sum(-1).mean(0))


SPECTRUM = dict(nfft=4096, line_period_ms=1024, value="power")


def self_noise():
    density = 4e-4
    path, data = record("self_noise", 20, 32, noise=density)
    [(f, asd)] = quiet(pySEAFOM.calculate_self_noise, [data.T], PRR, "blackman-harris", "phase")
    band = (f >= 20) & (f <= 900)
    near_db("self-noise, recorded", np.sqrt(np.mean(asd[band] ** 2)), density)
    views = view("waterfall", "noise", nfft=1024, line_period_ms=512, bands_hz=[[100, 900]])
    [(h, power)] = frames(path, "self_noise", views).values()
    bins = np.fft.rfftfreq(1024, 1 / PRR)
    count = np.sum((bins >= 100) & (bins <= 900))
    near_db("self-noise, waterfall", np.sqrt(power[2:].mean() / (count * PRR / 1024)), density)


def frequency_response():
    tones = np.linspace(20, 800, 14)
    sources = [tone(frequency_hz=float(f), strength_nstrain=10.0, channel_min=11, channel_max=40) for f in tones]
    path, data = record("frequency_response", 20, 64, *sources)
    micro = data[:, 20] / K / 1000  # microstrain
    response = quiet(compute_frequency_response, signal_microstrain=micro, interrogation_rate_hz=PRR, n_steps=14)
    assert np.allclose(response["freq_points_hz"], tones)
    near_db("frequency response, recorded", 10 ** (response["normalized_db"] / 20), np.ones(14))
    at = np.round(tones * len(micro) / PRR).astype(int)
    near_db("amplitudes, recorded", 2000 * response["amplitude_ue"][at], np.full(14, 10.0))
    views = view("single", "one", channel_min=21, channel_max=21, **SPECTRUM)
    [(h, lines)] = frames(path, "frequency_response", views).values()
    near_db("amplitudes of phase, spectrum", [amplitudes(h, lines, f) for f in tones], np.full(14, 10.0 * K))
    # Strain rate is the derivative, up to the highest tone.
    [(h, lines)] = frames(path, "strain_rate", views, "strain_rate = true\n").values()
    assert h["unit"] == "(nstrain/s)^2", h["unit"]
    near_db("amplitudes of strain rate, spectrum", [amplitudes(h, lines, f) for f in tones], 10.0 * 2 * np.pi * tones)


def distortion():
    # A pump has a second and third harmonic of 40 % and 15 %.
    pump = dict(kind="pump", place_m=32.0, strength_nstrain=8.0, frequency_hz=PRR / 4096 * 100)
    path, data = record("distortion", 24, 65, pump)
    got = quiet(pySEAFOM.fidelity.calculate_fidelity_thd, data[:, 32:33].T, fs=PRR, levels_time_steps=[0, 45056],
                stimulus_freq=PRR / 4096 * 100, fft_size=4096, harmonics=5)
    true = 100 * np.hypot(0.4, 0.15)
    near_db("distortion, recorded", got["sections"][0]["levels"][0]["thd_percent"], true)
    [(h, lines)] = frames(path, "distortion", view("single", "one", channel_min=33, channel_max=33, **SPECTRUM)).values()
    first, *others = [amplitudes(h, lines, PRR / 4096 * 100 * k)[()] for k in range(1, 6)]
    near_db("distortion, spectrum", 100 * np.sqrt(np.sum(np.square(others))) / first, true)
    # A pure tone is not distorted: nothing between instrument and frame makes harmonics.
    clean, data = record("pure", 24, 4, tone(frequency_hz=PRR / 4096 * 100, strength_nstrain=10.0))
    got = quiet(pySEAFOM.fidelity.calculate_fidelity_thd, data.T, fs=PRR, levels_time_steps=[0, 45056],
                stimulus_freq=PRR / 4096 * 100, fft_size=4096, harmonics=5)
    assert got["sections"][0]["levels"][0]["thd_percent"] < 1e-3
    [(h, lines)] = frames(clean, "pure", view("single", "one", channel_min=2, channel_max=2, **SPECTRUM)).values()
    first, *others = [amplitudes(h, lines, PRR / 4096 * 100 * k)[()] for k in range(1, 6)]
    assert np.sqrt(np.sum(np.square(others))) / first < 1e-4, (first, others)


def crosstalk():
    f = PRR / 4096 * 200
    path, data = record("crosstalk", 20, 129, tone(frequency_hz=f, strength_nstrain=10.0, channel_min=60, channel_max=70))
    tell = lambda section: quiet(pySEAFOM.calculate_crosstalk, section_data=section, stimulus_freq=f, fs=PRR, fft_size=4096,
                                 gauge_length=10.0, stretcher_length=10.0, channel_spacing=1.0)
    # The truth is none at all.
    with np.errstate(divide="ignore"):
        assert tell(data.T)["max_xt_db"] < -140 or not np.isfinite(tell(data.T)["max_xt_db"])
    views = view("multi", "all", channel_min=1, channel_max=129, frequency_range_hz=[f - 10, f + 10], **SPECTRUM)
    [(h, lines)] = frames(path, "crosstalk", views).values()
    profile = amplitudes(h, lines, f)
    near_db("crosstalk, reference", profile[59:70], np.full(11, 10.0 * K))
    beside = np.delete(profile, np.arange(59, 70))
    assert np.all(beside <= profile[64] * 1e-5), 20 * np.log10(beside.max() / profile[64])
    print("crosstalk: below -100 dB")


def spatial_resolution():
    """The raw field of an interrogator: the gauge length is made by the daemon."""
    f, first, last = PRR / 4096 * 200, 60, 69
    path, _ = record("spatial", 20, 129, tone(frequency_hz=f, strength_nstrain=5.0, channel_min=first, channel_max=last), samples="iq16")
    views = view("multi", "all", channel_min=1, channel_max=119, frequency_range_hz=[f - 10, f + 10], **SPECTRUM)
    [(h, lines)] = frames(path, "spatial", views, "spatial_difference_channels = 10\n").values()
    profile = amplitudes(h, lines, f)
    assert len(profile) == 119
    metres = float(h["fiber_start_m"]) + np.arange(119) * float(h["dx_m"])
    # The procedure wants a series of each place; its tone has the amplitude that the daemon found.
    series = profile[:, None] * np.sin(2 * np.pi * f * np.arange(4096) / PRR)
    got = quiet(pySEAFOM.calculate_spatial_resolution, section_data=series, fs=PRR, ref_freq_hz=f, target_pos_m=64.0, gauge_length=10.0,
                delta_x_m=1.0, fft_size=4096, x_vec_m=metres, show_plot=False)
    # The stretched fiber reaches from channel 59 (counted from 0), whose segment begins half a channel before it.
    centre = (first - 1 + last - 1) / 2 - 0.5
    assert abs(got["peak_pos_m"] - centre) <= 0.1, (got["peak_pos_m"], centre)
    weight = np.sum(profile * metres) / np.sum(profile)
    assert abs(weight - centre) <= 0.1, (weight, centre)
    # Both fibers are as long as the gauge: the slopes are, too.
    assert abs(got["LL_m"] - 10) <= 0.1 and abs(got["LR_m"] - 10) <= 0.1, (got["LL_m"], got["LR_m"])
    near_db("spatial resolution, amplitude at the peak", profile.max(), 5.0 * K)
    print(f"spatial resolution: {got['LL_m']:.3f} m and {got['LR_m']:.3f} m for 10 m, at {weight:.3f} m for {centre} m")


def dynamic_range():
    """A tone that grows in steps until int16 samples are at their limit."""
    levels, step_s, f = np.arange(1, 61) * 10.0, 0.5, 50.0
    sources = [tone(frequency_hz=f, strength_nstrain=float(level), start_s=k * step_s, duration_s=step_s) for k, level in enumerate(levels)]
    path, data = record("dynamic_range", 30, 2, *sources, samples="i16")
    t = np.arange(len(data)) / PRR
    amplitude = levels[np.minimum((t / step_s + 1e-9).astype(int), 59)]
    true = np.clip(amplitude * K * np.sin(2 * np.pi * f * t), -32.767, 32.767)
    tell = lambda phase: quiet(compute_dynamic_range_hilbert, t, phase / K / 1000, max_strain_microstrain=0.6, ref_freq_hz=f, error_threshold_frac=0.15, safezone_s=4.0)
    got, right = tell(data[:, 0] * 1e-3), tell(true)
    near_db("dynamic range, recorded", got["dynamic_range_limit_strain"], right["dynamic_range_limit_strain"])
    assert got["dynamic_range_limit_strain"] > 32.767 / K / 1000, "the limit lies where samples saturate"
    assert abs(got["dynamic_range_limit_time"] - right["dynamic_range_limit_time"]) <= 1 / PRR


def onset():
    _, data = record("onset", 4, 2, tone(frequency_hz=500.0, strength_nstrain=10.0, start_s=1.5))
    moving = np.flatnonzero(np.abs(data[:, 0]) > 1e-6)
    # sin(0) is 0 at the very first sample.
    assert abs(int(moving[0]) - 3000) <= 1, moving[0]
    print(f"onset: sample {moving[0]} for 3000")


for procedure in (onset, self_noise, frequency_response, distortion, crosstalk, spatial_resolution, dynamic_range):
    begun = time.time()
    procedure()
    print(f"{procedure.__name__}: {time.time() - begun:.1f} s", flush=True)
