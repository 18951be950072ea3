"""The child side of the pipe to a mask model: one file of Python 3.9 and numpy, for any environment.

    /opt/lisa/bin/python -I mask_child.py --adapter lisa_adapter.py --repo /opt/LISA

1. The pipe is standard input and output. `private_pipe` takes both away from everybody else: what a model
   prints goes to standard error.
2. A message is a frame: 4 bytes `TQM1`; uint32 H; uint64 P (both little-endian); H bytes of a JSON object in
   UTF-8; P bytes of payload. Every request has an `id`, and gets one reply with that `id`, in order.
3. Requests, by `op`:
   `hello`   {options}                   -> {protocol, name, version, repository, versions, options, paths,
             one_mask}. Imports the adapter, and nothing heavy.
   `load`    {options}                   -> {}. Loads the weights.
   `answer`  {height, width, queries}    payload: height * width * 3 bytes, rows of red, green, blue
             -> {answers}: for each query {n, scores, text} or {error}. Payload: the masks of all queries in
             order, each packed alone: row by row, eight pixels a byte, the first in the highest bit, the last
             byte filled up with zeros.
   A reply to what failed as a whole is {id, error}. The child ends when its input ends.

An adapter is a Python file with:

NAME, VERSION   what answers, and the version of the adapter
OPTIONS         option -> default; None: it must be given
PATHS           options that name files or folders, or repositories of a model hub
ONE_MASK        True: the mask of a query holds all of its objects, which are to be told apart
load(options)                  -> model
prepare(model, rgb)            -> picture, once for all queries; rgb is uint8 (H, W, 3)
answer(model, picture, query)  -> masks bool (N, H, W), scores (N,) in 0..1, text; N = 0: nothing is here

What `answer` raises fails that query alone.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import os
import platform
import struct
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

try:
    import numpy as np
except ImportError:
    sys.exit(f"numpy is not installed in this environment ({sys.executable})")

PROTOCOL = 1
MAGIC = b"TQM1"
HEAD = struct.Struct("<4sIQ")
MAX_HEADER_BYTES = 1 << 24
MAX_PAYLOAD_BYTES = 1 << 31
"""A frame that announces more is refused before it is read."""

ADAPTER = ("NAME", "VERSION", "OPTIONS", "PATHS", "ONE_MASK", "load", "prepare", "answer")
"""What an adapter's file must have."""

LIBRARIES = ("numpy", "torch", "transformers")
"""Whose versions are told."""


class FrameError(Exception):
    """What came is no frame."""


def pack_frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    return HEAD.pack(MAGIC, len(text), len(payload)) + text + payload


def read_frame(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message. `read(n)` gives exactly n bytes. Raises FrameError, and what `read` raises."""
    magic, header_bytes, payload_bytes = HEAD.unpack(read(HEAD.size))
    if magic != MAGIC:
        raise FrameError(f"a frame begins with {MAGIC!r}, and this with {magic!r}")
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise FrameError(f"a frame of {header_bytes} and {payload_bytes} bytes is too large")
    try:
        header = json.loads(read(header_bytes).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame's header is JSON, and this is not: {error}") from error
    if not isinstance(header, dict):
        raise FrameError(f"a frame's header is a JSON object, not {type(header).__name__}")
    return header, read(payload_bytes)


def exactly(stream: BinaryIO) -> Callable[[int], bytes]:
    """Read exactly so many bytes of a stream. What it returns raises EOFError at its end."""

    def read(size: int) -> bytes:
        parts = []
        while size:
            part = stream.read(min(size, 1 << 20))
            if not part:
                raise EOFError("the pipe ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read


def pack_masks(masks: np.ndarray[Any, Any]) -> bytes:
    """Masks (N, H, W) as bytes, each packed alone."""
    n, height, width = masks.shape
    return np.packbits(masks.reshape(n, height * width), axis=1).tobytes()


def private_pipe() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for the protocol; from now on, others read nothing and print to standard
    error."""
    receive = os.fdopen(os.dup(0), "rb")
    send = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # which is written line by line, so that last words are not lost
    return receive, send


def load_adapter(path: str) -> Any:
    """Import an adapter from its file. Raises what that raises, and ValueError for one that lacks a part."""
    spec = importlib.util.spec_from_file_location("mask_adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    lacking = [name for name in ADAPTER if not hasattr(adapter, name)]
    if lacking:
        raise ValueError(f"an adapter must have {', '.join(ADAPTER)}; {path} has no {', no '.join(lacking)}")
    return adapter


def settled_options(adapter: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The options with their defaults. Raises ValueError for one that is unknown, missing, or of another
    type."""
    known = adapter.OPTIONS
    unknown = sorted(set(given) - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        told = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
        raise ValueError(f"{adapter.NAME} has no option {unknown[0]!r}; {told}")
    options = {**known, **given}
    missing = sorted(name for name, value in options.items() if value is None)
    if missing:
        raise ValueError(f"{adapter.NAME} needs the option {missing[0]!r}")
    for name, value in given.items():
        wanted = str if known[name] is None else type(known[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ValueError(f"option {name!r} is of type {wanted.__name__}, got {value!r}")
    return options


def commit_of(repo: str) -> str:
    """The commit of a working tree, from its .git, or nothing."""
    try:
        git = Path(repo) / ".git"
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head[len("ref: ") :]
        if (git / name).is_file():
            return (git / name).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(" " + name)), "")
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """Versions of Python and of libraries, none of which is imported for it."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def checked_answer(answer: Any, shape: tuple[int, int]) -> tuple[np.ndarray[Any, Any], list[float], str]:
    """Masks, scores and text of an adapter. Raises ValueError for what is none."""
    masks, scores, text = answer
    masks = np.asarray(masks)
    if masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape[1:] != shape:
        raise ValueError(f"masks must be bool (N, {shape[0]}, {shape[1]}), got {masks.dtype} {masks.shape}")
    numbers = [float(score) for score in scores]
    if len(numbers) != len(masks) or not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"{len(masks)} masks need as many scores in 0..1, got {numbers}")
    return masks, numbers, str(text)


class MaskServer:
    """Answers requests, with one adapter."""

    def __init__(self, adapter_path: str, repo: str) -> None:
        self._adapter_path = adapter_path
        self._repo = repo
        self._adapter: Any = None
        self._model: Any = None

    def reply(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Do what one request asks. What fails is a reply, too."""
        try:
            operations = {"hello": self._hello, "load": self._load, "answer": self._answer}
            told, masks = operations[header["op"]](header, payload)
        except Exception as error:
            if header.get("op") != "hello":  # what is wrong at the greeting is told in a line
                traceback.print_exc()
            return {"id": header.get("id"), "error": f"{type(error).__name__}: {error}"}, b""
        return {"id": header.get("id"), **told}, masks

    def _hello(self, header: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        self._adapter = load_adapter(self._adapter_path)
        told = {
            "protocol": PROTOCOL,
            "name": self._adapter.NAME,
            "version": self._adapter.VERSION,
            "repository": commit_of(self._repo) if self._repo else "",
            "versions": versions(),
            "options": settled_options(self._adapter, header["options"]),
            "paths": list(self._adapter.PATHS),
            "one_mask": bool(self._adapter.ONE_MASK),
        }
        return told, b""

    def _load(self, header: dict[str, Any], _payload: bytes) -> tuple[dict[str, Any], bytes]:
        self._model = self._adapter.load(settled_options(self._adapter, header["options"]))
        return {}, b""

    def _answer(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        shape = (int(header["height"]), int(header["width"]))
        rgb = np.frombuffer(payload, dtype=np.uint8).reshape(*shape, 3).copy()
        picture = self._adapter.prepare(self._model, rgb)
        answers: list[dict[str, Any]] = []
        packed = []
        for query in header["queries"]:
            try:
                answer = self._adapter.answer(self._model, picture, query)
                masks, scores, text = checked_answer(answer, shape)
            except Exception as error:
                traceback.print_exc()
                answers.append({"error": f"{type(error).__name__}: {error}"})
                continue
            answers.append({"n": len(masks), "scores": scores, "text": text})
            packed.append(pack_masks(masks))
        return {"answers": answers}, b"".join(packed)


def serve(server: MaskServer, receive: BinaryIO, send: BinaryIO) -> None:
    """Answer requests until the input ends."""
    read = exactly(receive)
    while True:
        try:
            header, payload = read_frame(read)
        except EOFError:
            return
        send.write(pack_frame(*server.reply(header, payload)))
        send.flush()


def main() -> None:
    """Serve an adapter over standard input and output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--adapter", required=True, help="Python file with the model's adapter")
    parser.add_argument("--repo", default="", help="working tree of the model's repository")
    args = parser.parse_args()
    receive, send = private_pipe()
    if args.repo:
        sys.path.insert(0, args.repo)
    serve(MaskServer(args.adapter, args.repo), receive, send)


if __name__ == "__main__":
    main()
