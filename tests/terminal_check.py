"""Sits in front of `fiberd demo` as a person at a terminal does. Arguments: the binary, an empty folder with a scene."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import zlib

import numpy as np

BINARY, FOLDER = sys.argv[1:]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A demo in a terminal of 100 x 30."""

    def __init__(self, **environment):
        self.near, self.far = os.openpty()
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(self.far)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("FIBERD_", "COLORTERM", "NO_COLOR"))}
        env.update({"TERM": "xterm-256color", **environment})
        command = [BINARY, "demo", "--no-broker", "--http", "127.0.0.1:0", "--scene", "scene.toml"]
        self.child = subprocess.Popen(command, stdin=self.far, stdout=self.far, stderr=self.far, env=env, cwd=FOLDER,
                                      start_new_session=True)
        self.seen = b""

    def read(self, seconds):
        if select.select([self.near], [], [], seconds)[0]:
            self.seen += os.read(self.near, 1 << 16)

    def wait(self, text, since=0):
        """Reads until `text` has come; the place behind it."""
        end = time.monotonic() + 90
        while text not in self.seen[since:]:
            assert time.monotonic() < end and self.child.poll() is None, (text, self.seen[-4000:])
            self.read(0.1)
        return self.seen.index(text, since) + len(text)

    def press(self, keys):
        """Sends keys; the place in what is seen from which answers come."""
        since = len(self.seen)
        os.write(self.near, keys)
        return since

    def end(self):
        """Waits for the end; the terminal must be as before, and the last picture must stay."""
        end = time.monotonic() + 60
        while self.child.poll() is None:
            assert time.monotonic() < end, "the demo does not end"
            self.read(0.05)
        for _ in range(20):
            self.read(0.01)
        assert termios.tcgetattr(self.far) == self.before, "the terminal is not as it was"
        assert self.seen.count(ENTER) == self.seen.count(LEAVE) == 1, (self.seen.count(ENTER), self.seen.count(LEAVE))
        assert self.seen.rindex(b"\x1b[?25h") > self.seen.rindex(b"\x1b[?25l"), "the cursor is hidden"
        os.close(self.near), os.close(self.far)
        return self.seen[self.seen.index(LEAVE):]


def png(path):
    """Pixels of an 8-bit RGB image, and its texts. By the specification, without a library."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + size
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    assert (depth, colour, interlace) == (8, 2, 0)
    raw = np.frombuffer(zlib.decompress(b"".join(b for k, b in chunks if k == b"IDAT")), np.uint8)
    rows = raw.reshape(height, 1 + 3 * width)
    pixels = np.zeros((height + 1, width + 1, 3), int)  # a row above and a pixel to the left, of zeros
    for y, row in enumerate(rows, 1):
        line = row[1:].reshape(width, 3).astype(int)
        for x in range(width):
            left, up, corner = pixels[y, x], pixels[y - 1, x + 1], pixels[y - 1, x]
            if row[0] == 4:
                distances = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                paeth = np.where((distances[0] <= distances[1]) & (distances[0] <= distances[2]), left,
                                 np.where(distances[1] <= distances[2], up, corner))
            guess = [0, left, up, (left + up) // 2, paeth if row[0] == 4 else 0][row[0]]
            pixels[y, x + 1] = (line[x] + guess) % 256
    return pixels[1:, 1:], b"".join(body for kind, body in chunks if kind in (b"iTXt", b"tEXt"))


def saved(terminal):
    since = terminal.press(b"s")
    terminal.wait(b"saved fiberd-demo-", since)
    terminal.wait(b".npy", since)
    names = re.findall(rb"saved (\S+\.png) and (\S+\.npy)", terminal.seen[since:])[0]
    image, array = [os.path.join(FOLDER, name.decode()) for name in names]
    decibels, (pixels, text) = np.load(array), png(image)
    assert decibels.dtype == np.float32 and decibels.shape[1] == 300, decibels.shape
    assert pixels.shape == (decibels.shape[0] * 8, 600, 3), pixels.shape
    assert b"energy from 5 to 200 Hz" in text and b"dB re 1 " in text, text
    # Each cell of the image is as bright as its number says.
    finite = np.isfinite(decibels)
    luminance = (pixels[4::8, 1::2] @ [0.2126, 0.7152, 0.0722])[finite]
    order = np.argsort(decibels[finite])
    assert (np.diff(luminance[order]) > -1.0).all() and np.ptp(luminance) > 100, luminance


def keys():
    terminal = Terminal()
    terminal.wait(b"dB re 1 ")
    terminal.wait(b"\x1b[38;5;")
    time.sleep(2)
    saved(terminal)
    terminal.wait(b"energy from 50 to 200 Hz", terminal.press(b"bb"))
    terminal.wait(b"the mean of each place", terminal.press(b"n"))
    terminal.wait(b"a row is 1 s", terminal.press(b"+"))
    terminal.wait(b"spectrum of channel", terminal.press(b"\t"))
    terminal.wait(b"this help", terminal.press(b"?"))
    terminal.wait(b"spectrum of channel", terminal.press(b"?"))
    terminal.press(b"q")
    assert b"spectrum of channel" in terminal.end(), "the last picture stays"
    assert terminal.child.returncode == 0


def signals():
    for count in (1, 2):
        terminal = Terminal(COLORTERM="truecolor")
        terminal.wait(b"\x1b[38;2;")
        for _ in range(count):
            terminal.child.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        terminal.end()
        assert terminal.child.returncode == 0, terminal.child.returncode


def dumb():
    terminal = Terminal(TERM="dumb")
    terminal.wait(b"\r\n|")
    assert b"\x1b" not in terminal.seen, terminal.seen
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.child.wait(60) == 0


keys()
signals()
dumb()
print("all as it should be")
