"""Files for replay_check.py that show the HDF5 container in all its forms: filters, layouts, links, files being written.

h5py is the judge: what it reads from a file must come out.
"""

import shutil
import struct

import h5py
import hdf5plugin
import numpy as np

RAW = "Acquisition/Raw[0]/RawData"
TIME = "Acquisition/Raw[0]/RawDataTime"


def container_cases(cases, prodml, noise, grid, start):
    case = Container(cases, prodml, noise, grid, start)
    for make in (filters, refused_filters, hostile_filters, layouts, types, links, columns, being_written):
        make(case)


class Container:
    def __init__(self, cases, prodml, noise, grid, start):
        self.cases, self.out, self.prodml = cases, cases.out, prodml
        self.grid, self.start, self.noise = grid, start, noise
        self.data = noise(300, 7)

    def path(self, name):
        return self.out / f"container-{name.replace(' ', '-').replace('/', '-').replace(',', '')}.h5"

    def make(self, name, data=None, **storage):
        return self.prodml(self.path(name), self.data if data is None else data, **storage)

    def good(self, name, path, turned=False, rows=None, judged=None):
        """What h5py reads (of `judged`, where it does not open the file itself) must come out: in int16 if it fits there
        by its type, else in float32."""
        with h5py.File(judged or path) as file:
            data = file[RAW][...]
        data = (data.T if turned else data)[:rows]
        small = data.dtype.kind in "iu" and data.dtype.itemsize == 1 or data.dtype.kind == "i" and data.dtype.itemsize == 2
        data = data.astype("<i2" if small else "<f4")
        times = self.grid(self.start, len(data), 1000)
        distances = 2.5 * (np.arange(data.shape[1]) - 4)
        epoch = self.cases.epoch(data, times, distances, 1000, gauge=10.0, quantity="phase", unit="rad", scale=1.0)
        self.cases.good(f"container: {name}", [path], epoch)

    def bad(self, name, path, words):
        self.cases.bad(f"container: {name}", [path], words)


def replaced(path, make):
    """Replaces the samples by what `make` puts into the group, and keeps their attributes."""
    with h5py.File(path, "r+") as file:
        group, attrs = file[RAW].parent, dict(file[RAW].attrs)
        del group["RawData"]
        make(group)
        if isinstance(group.get("RawData", getlink=True), h5py.HardLink):
            group["RawData"].attrs.update(attrs)
    return path


def low_level(group, shape, tid, data, chunks, prepare):
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks:
        dcpl.set_chunk(chunks)
    prepare(dcpl)
    dataset = h5py.h5d.create(group.id, b"RawData", tid, h5py.h5s.create_simple(shape), dcpl)
    if data is not None:
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(data))


def filters(case):
    smooth = np.cumsum(case.noise(300, 7) // 1000, axis=0).astype("<i2")
    floats = np.round(case.noise(300, 7, "<f4"), 2)
    doubles = np.round(case.noise(300, 7, "<f8"), 2)
    longs = smooth.astype("<i4") * 1001
    known = {
        "gzip": dict(compression="gzip"), "gzip and shuffle": dict(compression="gzip", shuffle=True),
        "lzf": dict(compression="lzf"), "lzf, shuffle, fletcher32": dict(compression="lzf", shuffle=True, fletcher32=True),
        "fletcher32": dict(fletcher32=True), "scale-offset": dict(scaleoffset=0), "scale-offset of 16": dict(scaleoffset=16),
        "lz4": hdf5plugin.LZ4(), "lz4, small blocks": hdf5plugin.LZ4(nbytes=100), "zstd": hdf5plugin.Zstd(),
        "zstd after shuffle": dict(shuffle=True, **hdf5plugin.Zstd(clevel=19)),
        "bitshuffle": hdf5plugin.Bitshuffle(), "bitshuffle alone": hdf5plugin.Bitshuffle(cname="none"),
        "bitshuffle, zstd": hdf5plugin.Bitshuffle(cname="zstd"), "bitshuffle, blocks of 64": hdf5plugin.Bitshuffle(nelems=64),
    }
    for cname in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        for shuffle in range(3):
            known[f"blosc {cname} {shuffle}"] = hdf5plugin.Blosc(cname=cname, clevel=9, shuffle=shuffle)
    known["blosc, level 0"] = hdf5plugin.Blosc(clevel=0)
    for name, how in known.items():
        for kind, data in (("i2", smooth), ("f4", floats), ("i4", longs), ("f8", doubles)):
            if "scaleoffset" in how and kind[0] == "f":
                continue
            case.good(f"{name} {kind}", case.make(f"{name} {kind}", data, chunks=(64, 5), **how))
    # Large enough for blocks that are split by the bytes of a value.
    large = np.cumsum(case.noise(3000, 40) // 1000, axis=0)
    for name in [name for name in known if name.startswith(("blosc", "bitshuffle", "lz4", "zstd"))]:
        for kind in ("<i2", "<f4", "<f8"):
            path = case.make(f"large {name} {kind[1:]}", large.astype(kind), chunks=(1500, 40), **known[name])
            case.good(f"large {name} {kind[1:]}", path)
    for kind in ("<f4", ">f8"):
        case.good(f"scale-offset by decimals {kind}", case.make(f"decimals {kind[1:]}", floats.astype(kind), chunks=(64, 5), scaleoffset=2))
    case.good("scale-offset, big-endian", case.make("so-big", smooth.astype(">i4"), chunks=(64, 5), scaleoffset=0))
    case.good("scale-offset of bytes", case.make("so-u1", (smooth & 127).astype("u1"), chunks=(64, 5), scaleoffset=0))
    constant = case.make("so-constant", np.full((300, 7), -77, "<i2"), chunks=(64, 5), scaleoffset=0)
    case.good("scale-offset of a constant", constant)
    for name, tid in (("i2", h5py.h5t.STD_I16LE), ("big i4", h5py.h5t.STD_I32BE), ("u2", h5py.h5t.STD_U16LE)):
        for offset in (0, 3):
            tid = tid.copy()
            tid.set_precision(12 if tid.get_size() == 2 else 28)
            tid.set_offset(offset)
            data = case.noise(300, 7) // 8 & (2047 if name == "u2" else -1)

            def nbit(group, filtered=True):
                low_level(group, (300, 7), tid, data.astype("<i2"), (64, 5), lambda dcpl: dcpl.set_filter(h5py.h5z.FILTER_NBIT) if filtered else None)

            case.good(f"n-bit {name} from bit {offset}", replaced(case.make(f"nbit {name} {offset}"), nbit))
            case.good(f"12 bits of {name} from bit {offset}", replaced(case.make(f"bits {name} {offset}"), lambda group: nbit(group, False)))
    skipped = case.make("skipped", np.frombuffer(np.random.default_rng(5).bytes(4200), "<i2").reshape(300, 7), chunks=(64, 5), compression="lzf", shuffle=True)
    case.good("chunks that a filter skipped", skipped)


def refused_filters(case):
    for name, how, words in (
        ("bzip2", hdf5plugin.BZip2(), "compressed with bzip2 (filter 307)"), ("zfp", hdf5plugin.Zfp(), "ZFP (filter 32013)"),
        ("blosc2", hdf5plugin.Blosc2(), "Blosc2 (filter 32026)"), ("sz3", hdf5plugin.SZ3(absolute=0.1), "SZ3 (filter 32024)"),
    ):
        case.bad(name, case.make(name, case.noise(300, 7, "<f4"), chunks=(100, 7), **how), words)
    case.bad("h5repack helps", case.path("bzip2"), "h5repack -f GZIP=1")


def hostile_filters(case):
    """Chunks whose heads lie about their lengths: said, not believed."""
    frames = {
        "blosc, too long": (32001, b"\x02\x01\x00\x02" + b"\xff\xff\xff\x7f" * 3), "blosc, no blocks": (32001, b"\x02\x01\x00\x02" + b"\x80\x02\0\0" + b"\0" * 8),
        "blosc, blocks elsewhere": (32001, b"\x02\x01\x20\x02" + b"\x80\x02\0\0\x80\x02\0\0\x20\0\0\0" + b"\xff\xff\xff\xff" * 4),
        "lz4, too long": (32004, b"\x7f" * 40), "lz4, blocks of nothing": (32004, b"\0" * 6 + b"\x02\x80" + b"\0" * 8),
        "bitshuffle, too long": (32008, b"\x7f" * 40), "zstd, a window of 3 TB": (32015, b"\x28\xb5\x2f\xfd\x00\xff" + b"\x03\x00\x00aaaa"),
        "zstd, cut off": (32015, b"\x28\xb5\x2f\xfd"), "lzf, before the beginning": (32000, b"\xff\xff\xff\xff"), "n-bit without parameters": (5, b"1234"),
    }
    for name, (filter_id, content) in frames.items():
        path = case.path(f"hostile {name}")

        def make(group):
            how = {32001: hdf5plugin.Blosc(), 32004: hdf5plugin.LZ4(), 32008: hdf5plugin.Bitshuffle(), 32015: hdf5plugin.Zstd(), 32000: dict(compression="lzf")}
            if filter_id == 5:
                low_level(group, (64, 5), h5py.h5t.STD_I16LE, None, (64, 5), lambda dcpl: dcpl.set_filter(5))
            else:
                group.create_dataset("RawData", (64, 5), "<i2", chunks=(64, 5), **how[filter_id])
            group["RawData"].id.write_direct_chunk((0, 0), content)

        case.bad(name, replaced(case.prodml(path, case.noise(64, 5)), make), "damaged")


def layouts(case):
    data = case.data
    for chunks in ((1, 1), (300, 1), (1, 7), (7, 3), (299, 6), (300, 7), (16, 7)):
        for how in ({}, dict(compression="gzip")):
            name = f"chunks of {chunks[0]} x {chunks[1]}{', gzip' if how else ''}"
            case.good(name, case.make(name, chunks=chunks, **how))
            turned = case.make(f"turned {name}", turned=True, chunks=chunks[::-1], **how)
            case.good(f"{name}, locus first", turned, turned=True)
    for name, how in (("fixed array, gzip", dict(chunks=(7, 3), compression="gzip", libver="v110")), ("fixed array", dict(chunks=(7, 3))), ("extensible array", dict(chunks=(7, 3), maxshape=(None, 7))),
                      ("extensible array, gzip", dict(chunks=(7, 7), maxshape=(None, 7), compression="gzip", libver="v110")),
                      ("single chunk", dict(chunks=(300, 7))), ("single chunk, gzip", dict(chunks=(300, 7), compression="gzip", libver="v110"))):
        path = case.path(f"new {name}")
        with_version(case, path, **how)
        case.good(f"{name}, new version", path)
    path = case.path("version 5")
    with_version(case, path, chunks=(300, 7), compression="gzip")
    case.bad("the layout of HDF5 2", path, "data layout 5")
    path = case.path("B-tree 2")
    with_version(case, path, chunks=(7, 3), maxshape=(None, None), libver="v110")
    case.bad("B-tree of version 2", path, "B-tree")
    case.good("compact", replaced(case.make("compact", case.noise(30, 7)), lambda group: low_level(
        group, (30, 7), h5py.h5t.STD_I16LE, case.noise(30, 7), None, lambda dcpl: dcpl.set_layout(h5py.h5d.COMPACT))))
    implicit = replaced(case.make("implicit"), lambda group: low_level(
        group, (300, 7), h5py.h5t.STD_I16LE, data, (7, 3), lambda dcpl: dcpl.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)))
    case.good("chunks allocated early", implicit)
    # A chunk in the middle that was never written reads as the fill value.
    def holes(group):
        dataset = group.create_dataset("RawData", (300, 7), "<i2", chunks=(50, 7), fillvalue=-5, compression="gzip")
        dataset[:100], dataset[150:] = data[:100], data[150:]

    case.good("a chunk that was never written", replaced(case.make("hole"), holes))
    case.bad("external storage", replaced(case.make("external"), lambda group: group.create_dataset(
        "RawData", data=data, external=[(str(case.out / "external.raw"), 0, h5py.h5f.UNLIMITED)])), "another file")

    def virtual(group):
        layout = h5py.VirtualLayout((300, 7), "<i2")
        layout[:] = h5py.VirtualSource(case.make("virtual source"), RAW, (300, 7))
        group.create_virtual_dataset("RawData", layout)

    case.bad("a virtual dataset", replaced(case.make("virtual"), virtual), "virtual")
    for length in (512, 1024, 8192):
        path = case.path(f"user block {length}")
        source = case.make("user block", chunks=(50, 7), compression="gzip")
        with h5py.File(source) as file, h5py.File(path, "w", userblock_size=length) as copy:
            file.copy("Acquisition", copy)
        case.good(f"a user block of {length}", path)
        with open(path, "r+b") as file:
            file.write(b"a word of the user".ljust(length, b"!"))
    odd = case.path("odd user block")
    odd.write_bytes(bytes(700) + case.make("plain").read_bytes())
    case.bad("a user block of 700", odd, "")


def with_version(case, path, libver="latest", **how):
    source = case.make("for a new version")
    with h5py.File(source) as file, h5py.File(path, "w", libver=(libver, libver)) as copy:
        file.copy("Acquisition", copy)
        attrs = dict(copy[RAW].attrs)
        del copy[RAW]
        copy.create_dataset(RAW, data=case.data, **how).attrs.update(attrs)


def types(case):
    data = case.noise(300, 7)
    for dtype in ("<u2", ">u2", "<i4", ">i4", "<u4", "<i8", ">u8", "<f2", ">f2", ">f4", ">f8", "u1", "i1"):
        case.good(f"type {dtype}", case.make(f"type {dtype.replace('<', 'le').replace('>', 'be')}", (data // 256 if "1" in dtype else data).astype(dtype)))

    def committed(group):
        group.file["a type"] = np.dtype("<i2")
        group.create_dataset("RawData", data=data, dtype=group.file["a type"])

    case.good("a committed type", replaced(case.make("committed"), committed))
    case.bad("complex samples", case.make("complex", data + 1j * data), "pairs of numbers")
    case.bad("texts as samples", replaced(case.make("texts"), lambda group: group.create_dataset("RawData", data=np.full((300, 7), b"x"))), "no numbers")


def links(case):
    def soft(group, target):
        group.file["elsewhere"] = case.data
        group.file["elsewhere"].attrs["Dimensions"] = [b"time", b"locus"]
        group["RawData"] = h5py.SoftLink(target)

    for name, target in (("absolute", "/elsewhere"), ("relative", "../Raw[0]/../../elsewhere"), ("of a link", "/second")):
        path = case.make(f"soft {name}")
        replaced(path, lambda group: soft(group, target))
        with h5py.File(path, "r+") as file:
            file["second"] = h5py.SoftLink("elsewhere")
        if name != "relative":
            case.good(f"a soft link, {name}", path)
    for libver in ("earliest", "latest"):
        path = case.path(f"group link {libver}")
        with h5py.File(case.make("linked")) as file, h5py.File(path, "w", libver=libver) as copy:
            file.copy("Acquisition/Raw[0]", copy, "there")
            file.copy("Acquisition/Raw[0]", copy, "Acquisition/Raw[0]")
            copy["Acquisition"].attrs.update(file["Acquisition"].attrs)
            del copy[RAW], copy[TIME]
            copy[RAW], copy[TIME] = h5py.SoftLink("/there/RawData"), h5py.SoftLink("/there/RawDataTime")
        case.good(f"soft links, {libver} version", path)
    path = replaced(case.make("cycle"), lambda group: group.__setitem__("RawData", h5py.SoftLink("RawData")))
    case.bad("a link to itself", path, "link")
    path = replaced(case.make("two links"), lambda group: group.__setitem__("RawData", h5py.SoftLink("/a")))
    with h5py.File(path, "r+") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
    case.bad("links in a circle", path, "link")
    path = replaced(case.make("dangling"), lambda group: group.__setitem__("RawData", h5py.SoftLink("/nowhere")))
    case.bad("a link to nothing", path, "there is nothing")
    for libver in ("earliest", "latest"):
        path = case.path(f"external link {libver}")
        with h5py.File(case.make("linked")) as file, h5py.File(path, "w", libver=libver) as copy:
            file.copy("Acquisition", copy)
            del copy[RAW]
            copy[RAW] = h5py.ExternalLink("other-file.h5", "/data")
        case.bad(f"an external link, {libver} version", path, "other-file.h5")


def columns(case):
    long = case.noise(70_000, 1)
    micros = case.grid(case.start, 70_000, 1000) // 1000
    for name, column in (("a row", micros.reshape(1, -1)), ("a column", micros.reshape(-1, 1))):
        for how, make in (("", lambda f, c: f.create_dataset(TIME, data=c)), (", Blosc", lambda f, c: f.create_dataset(TIME, data=c, **hdf5plugin.Blosc()))):
            path = case.make(f"times as {name}{how}", long)
            with h5py.File(path, "r+") as file:
                del file[TIME]
                make(file, column)
            case.good(f"times as {name}{how}", path)


def being_written(case):
    data = case.noise(300, 7)

    def partly(group):
        group.create_dataset("RawData", (300, 7), "<i2", chunks=(50, 7))[:150] = data[:150]

    path = replaced(case.make("partly"), partly)
    with h5py.File(path, "r+") as file:
        del file[TIME]
    case.good("rows that were allocated only", path, rows=150)
    # h5py refuses files that are marked as open; what it reads once they are closed is what was in them.
    for name, swmr in (("a live SWMR writer", True), ("a live writer", False)):
        live, path = case.path(f"{name} live"), case.path(name)
        with h5py.File(case.make("live source")) as file, h5py.File(live, "w", libver="latest") as copy:
            file.copy("Acquisition", copy)
            attrs = dict(copy[RAW].attrs)
            del copy[RAW]
            copy.create_dataset(RAW, data=data, chunks=(50, 7), maxshape=(None, 7)).attrs.update(attrs)
            if swmr:
                copy.swmr_mode = True
            copy.flush()
            shutil.copy(live, path)
        case.good(f"a file of {name}", path, judged=live)
    for name, rows, stamps in (("stamps ahead", 280, 300), ("samples ahead", 300, 280)):
        path = case.make(name, data, stamps=case.grid(case.start, stamps, 1000) // 1000)
        if rows < 300:
            replaced(path, lambda group: group.create_dataset("RawData", data=data[:rows]))
        case.good(name, path, rows=280)
    # Room for more rows than there are, as recorders of fixed files leave it: only the number of rows tells.
    path = case.make("room", case.noise(300, 7))
    with h5py.File(path) as file:
        offset = file[RAW].id.get_offset()
    content = path.read_bytes()
    shape = struct.pack("<QQ", 300, 7)
    layout = struct.pack("<QQ", offset, 300 * 7 * 2)
    assert content.count(shape) >= 1 and content.count(layout) == 1
    at = content.index(layout)
    begin = content.rindex(shape, 0, at)
    begin -= 16 if content[begin - 16 : begin] == shape else 0
    shorter = content[:begin] + struct.pack("<QQ", 200, 7) + content[begin + 16 :]
    path.write_bytes(shorter)
    case.good("room for more rows", path, rows=200)
