"""Files that are no model: foreign, damaged, lying, or made to do harm; each is written on the spot.

What a pickle here would do if it were ever unpickled is to create a file named :data:`MARK`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from diffeo.files import save
from diffeo.flows import NICE, Flow

#: What the payloads would create beside the files.
MARK = "EXECUTED"


def small_flow() -> Flow:
    """Return a flow whose file is a few kilobytes, its weights fixed.

    >>> small_flow().event_shape
    torch.Size([3])
    """
    flow = NICE(3, couplings=2, hidden=(4,))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return flow


def model_bytes() -> bytes:
    """Return the bytes of a valid model file: of :func:`small_flow`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(small_flow(), path)
        return path.read_bytes()


def packed(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file of a header (JSON, or the bytes themselves) and data, checked by nobody."""
    raw: bytes = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def unpacked(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of a safetensors file."""
    stop = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:stop]), content[stop:]


def malicious_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the files into ``folder`` one by one; yield what each is, and its path.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(list(malicious_files(Path(folder)))) > 100
    True
    """
    groups: dict[str, Callable[[Path], dict[str, bytes]]] = {
        "foreign": _foreign,
        "pickle": _pickles,
        "header": lambda _: _headers(),
        "tensors": lambda _: _tensor_entries(),
        "cut": lambda _: _cuts(),
    }
    for group, files in groups.items():
        for number, (name, content) in enumerate(files(folder).items()):
            path = folder / f"{group}-{number}.safetensors"
            path.write_bytes(content)
            yield f"{group}: {name}", path
    yield from _no_plain_files(folder)


def _foreign(folder: Path) -> dict[str, bytes]:
    gzipped = gzip.compress(bytes(5_000_000))
    return {
        "empty": b"",
        "one byte": b"\0",
        "text": b"This is no model.\n" * 20,
        "table": b"a,b\n" + b"1.0,2.0\n" * 50,
        "JSON": b'{"model": "flows.Flow"}',
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "array": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
        + b" " * 60,
        "data base": b"SQLite format 3\0" + bytes(200),
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "gzip bomb": gzipped,
        "zip bomb": _zipped({f"{k}.bin": bytes(1_000_000) for k in range(8)}),
        "zip with a path out of its folder": _zipped({f"../../{MARK}": b"x"}),
        "script": f"#!/bin/sh\ntouch {folder / MARK}\n".encode(),
    }


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _pickles(folder: Path) -> dict[str, bytes]:
    # Written as opcodes: GLOBAL, a tuple of one string, REDUCE.
    def calls(module: str, name: str, argument: str) -> bytes:
        return f"c{module}\n{name}\n(V{argument}\ntR.".encode()

    touch = f"touch {folder / MARK}"
    create = f"open({str(folder / MARK)!r}, 'w').close()"
    payloads = {
        "os.system": calls("os", "system", touch),
        "posix.system": calls("posix", "system", touch),
        "builtins.eval": calls("builtins", "eval", create),
        "builtins.exec": calls("builtins", "exec", create),
        "builtins.__import__": calls("builtins", "__import__", "antigravity"),
        "subprocess.getoutput": calls("subprocess", "getoutput", touch),
        "runpy.run_path": calls("runpy", "run_path", str(folder / "foreign-14.safetensors")),
        "INST": f"(V{touch}\nios\nsystem\n.".encode(),
    }
    protocol_2 = {f"{name}, protocol 2": b"\x80\x02" + code for name, code in payloads.items()}
    code = b"\x80\x02" + payloads["os.system"]
    # torch.save wrote a bare pickle stream (magic number, protocol, the object) before it wrote archives.
    legacy = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + code
    archive = {"archive/data.pkl": code, "archive/version": b"3\n", "archive/byteorder": b"little"}
    return {
        **payloads,
        **protocol_2,
        "torch.save, archive": _zipped(archive),
        "torch.save, stream": legacy,
        "in a header": packed(code),
        "in the metadata": packed({"__metadata__": {"diffeo": code.decode("latin-1")}}),
        "in the data": packed({"__metadata__": {"diffeo": "{}"}}, code),
        "behind a model": model_bytes() + code,
    }


def _headers() -> dict[str, bytes]:
    header, data = unpacked(model_bytes())
    text = header["__metadata__"]["diffeo"]
    raw = json.dumps(header).encode()

    def saying(diffeo: str) -> bytes:
        return packed({**header, "__metadata__": {"diffeo": diffeo}}, data)

    lengths = (0, 1, len(raw) - 1, len(raw) + 1, len(raw) + len(data) + 1, 10**8, 2**31, 2**63, 2**64 - 1)
    deep = 10**6
    first = next(name for name in header if name != "__metadata__")
    twice = f"{{{json.dumps(first)}: {json.dumps(header[first])}, ".encode()
    files = {f"length {length}": packed(raw, data, length) for length in lengths}
    bodies = {
        "empty": b"",
        "list": b"[]",
        "number": b"1",
        "null": b"null",
        "no JSON": b"{'diffeo': 1}",
        "million deep lists": b"[" * deep + b"]" * deep,
        "million deep objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "million deep, unclosed": b"[" * deep,
        "no UTF-8": raw.replace(b"diffeo", b"diff\xff\xfe", 1),
        "UTF-16": raw.decode().encode("utf-16"),
        "byte order mark": b"\xef\xbb\xbf" + raw,
        "zero bytes": bytes(64),
        "more behind": raw + raw,
        "a tensor twice": twice + raw[1:],
        "metadata twice": b'{"__metadata__": {"diffeo": "{}"}, ' + raw[1:],
        "no metadata": json.dumps({k: v for k, v in header.items() if k != "__metadata__"}).encode(),
        "metadata without diffeo": json.dumps({**header, "__metadata__": {"format": "pt"}}).encode(),
        "metadata list": json.dumps({**header, "__metadata__": ["diffeo"]}).encode(),
        "metadata text": json.dumps({**header, "__metadata__": "diffeo"}).encode(),
        "diffeo object": json.dumps({**header, "__metadata__": {"diffeo": {}}}).encode(),
    }
    files |= {name: packed(body, data) for name, body in bodies.items()}
    entries = {
        "entry empty": "",
        "entry no JSON": "diffeo",
        "entry list": "[]",
        "entry text": '"model"',
        "entry null": "null",
        "entry empty object": "{}",
        "entry million deep": "[" * deep + "]" * deep,
        "entry deep in extra": text.replace('"extra": {}', f'"extra": {"[" * 970 + "]" * 970}'),
        "entry with NaN": text.replace('"extra": {}', '"extra": {"a": NaN}'),
        "entry with Infinity": text.replace('"extra": {}', '"extra": {"a": -Infinity}'),
        "entry with 1e999": text.replace('"extra": {}', '"extra": {"a": 1e999}'),
        "entry with a number of 5000 digits": text.replace(
            '"extra": {}', f'"extra": {{"a": {"7" * 5000}}}'
        ),
        "entry with a key twice": text.replace('"extra": {}', '"extra": {}, "extra": {}'),
        "entry with half a character": text.replace('"extra": {}', '"extra": {"a": "\\ud800"}'),
    }
    return files | {name: saying(entry) for name, entry in entries.items()}


def _tensor_entries() -> dict[str, bytes]:
    header, data = unpacked(model_bytes())
    names = [name for name in header if name != "__metadata__"]
    by_start = sorted(names, key=lambda name: header[name]["data_offsets"])
    first, second, last = by_start[0], by_start[1], by_start[-1]

    def changed(name: str, **entry: Any) -> bytes:
        return packed({**header, name: {**header[name], **entry}}, data)

    start, stop = header[last]["data_offsets"]
    size = len(data)
    offsets: list[Any] = [
        [-8, stop - start - 8], [start + 8, stop + 8], [size, size + stop - start], [stop, start],
        [2**63, 2**63 + 8], [start, 2**64], [float(start), float(stop)], [str(start), str(stop)], [start],
        [start, stop, stop], [True, False], [None, None], None, "all", {}, header[first]["data_offsets"],
    ]  # fmt: skip
    shapes: list[Any] = [
        [-1], [-4, -1], [2**63], [2**40, 2**40], [10**6] * 50, [1] * 100_000, [0], [2.5], ["4"], [True, 3],
        [[3]], None, 3, "3", {},
    ]  # fmt: skip
    dtypes: list[Any] = ["F33", "f32", "", "C64", "F64", "I8", None, 32, ["F32"], "os.system"]
    files = {f"offsets {given}": changed(last, data_offsets=given) for given in offsets}
    files |= {f"shape {str(given)[:40]}": changed(last, shape=given) for given in shapes}
    files |= {f"dtype {given}": changed(last, dtype=given) for given in dtypes}
    rest = {name: entry for name, entry in header.items() if name != last}
    other_names = ["../../etc/passwd", "/etc/passwd", "..\\..\\win.ini", "", "\0", "__class__", "a" * 10**6]
    files |= {f"name {name[:20]!r}": packed({**rest, name: header[last]}, data) for name in other_names}
    for entry in (None, [], 5, "F32", {}):
        files[f"entry {entry!r}"] = packed({**header, last: entry}, data)
    declared = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    return files | {
        "overlap": changed(
            second, data_offsets=header[first]["data_offsets"], shape=header[first]["shape"]
        ),
        "a gap": packed({name: entry for name, entry in header.items() if name != first}, data),
        "more data than declared": packed(header, data + bytes(8)),
        "no data": packed(header),
        "a terabyte declared": packed({"__metadata__": header["__metadata__"], last: declared}, data),
        "a bit of a tensor": packed(header, bytes([data[0] ^ 1]) + data[1:]),
        "tensors of other data": packed(header, bytes(size)),
    }


def _cuts() -> dict[str, bytes]:
    whole = model_bytes()
    header, data = unpacked(whole)
    begin = len(whole) - len(data)
    ends = {begin + entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
    places = {1, 4, 7, 8, 9, begin // 2, begin - 1, begin, begin + 1, *ends, len(whole) - 1} - {len(whole)}
    files = {f"to {place} bytes": whole[:place] for place in sorted(places)}
    return files | {
        "a byte lost in front": whole[1:],
        "a byte more in front": b"\0" + whole,
        "twice": whole + whole,
    }


def _no_plain_files(folder: Path) -> Iterator[tuple[str, Path]]:
    inside = folder / "a folder.safetensors"
    inside.mkdir()
    yield "no file: a folder", inside
    yield "no file: nothing", folder / "absent.safetensors"
    yield "no file: a path through a file", folder / "foreign-2.safetensors" / "model.safetensors"
    yield "no file: a name too long", folder / ("a" * 300)
    links = {"itself": "loop.safetensors", "nothing": "absent", "a folder": ".", "a file": "/etc/passwd"}
    for what, target in links.items():
        link = folder / ("loop.safetensors" if what == "itself" else f"link to {what}.safetensors")
        link.symlink_to(target)
        yield f"no file: a link to {what}", link
    if hasattr(os, "mkfifo"):
        pipe = folder / "pipe.safetensors"
        os.mkfifo(pipe)
        yield "no file: a pipe", pipe
    for device in ("/dev/zero", "/dev/null"):
        if os.path.exists(device):
            yield f"no file: {device}", Path(device)
