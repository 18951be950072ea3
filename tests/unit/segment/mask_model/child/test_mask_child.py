"""The child's side: frames byte for byte, what an adapter may say, and that it runs in an old Python."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segment.mask_model.mask_tiles import COLOURS, red_squares

from pipeline.segment.mask_model.child.mask_child import (
    HEAD,
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    PROTOCOL,
    FrameError,
    MaskServer,
    checked_answer,
    commit_of,
    exactly,
    pack_frame,
    pack_masks,
    read_frame,
    serve,
)

FILES = sorted(
    (Path(__file__).parents[5] / "pipeline/segment/mask_model/child").glob("*.py"), key=lambda path: path.name
)


def reader(data: bytes) -> Callable[[int], bytes]:
    return exactly(io.BytesIO(data))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_runs_there_is_python_3_9_and_imports_nothing_of_this_project(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.partition(".")[0] == "pipeline"]


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "__init__.py"], ids=lambda p: p.name)
def test_it_loads_nothing_heavy_before_it_is_asked(path: Path) -> None:
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    heavy = {"torch", "transformers", "cv2", "PIL", "model", "utils", "psalm", "segearth_r1"}
    assert not {name.partition(".")[0] for name in names} & heavy


def test_a_frame_is_these_bytes() -> None:
    assert pack_frame({"op": "hello", "id": 1}, b"\x01\xff") == (
        b"TQM1"
        b"\x15\x00\x00\x00"  # 21 bytes of header
        b"\x02\x00\x00\x00\x00\x00\x00\x00"  # 2 bytes of payload
        b'{"op":"hello","id":1}'
        b"\x01\xff"
    )


def test_masks_are_packed_alone_row_by_row_from_the_highest_bit() -> None:
    masks = np.zeros((2, 3, 3), dtype=np.bool_)
    masks[0, 0, 0] = masks[0, 2, 2] = True
    masks[1, 1] = True
    assert pack_masks(masks) == bytes([0b10000000, 0b10000000, 0b00011100, 0b00000000])
    assert pack_masks(np.zeros((0, 3, 3), dtype=np.bool_)) == b""


plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
json_values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3))


@given(header=st.dictionaries(st.text(), json_values, max_size=4), payload=st.binary(max_size=50))
def test_what_is_packed_is_read(header: dict[str, Any], payload: bytes) -> None:
    try:
        data = pack_frame(header, payload)
    except UnicodeEncodeError:  # a lone surrogate is no text
        return
    assert read_frame(reader(data + b"more")) == (header, payload)


@given(data=st.binary(max_size=60))
def test_what_is_no_frame_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises((FrameError, EOFError)):
        read_frame(reader(data))


@given(header=st.binary(max_size=30))
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    data = HEAD.pack(b"TQM1", len(header), 0) + header
    try:
        expected = json.loads(header.decode())
    except (ValueError, RecursionError):
        expected = None
    if isinstance(expected, dict):
        assert read_frame(reader(data))[0] == expected
    else:
        with pytest.raises(FrameError):
            read_frame(reader(data))


@pytest.mark.parametrize(("header", "payload"), [(MAX_HEADER_BYTES + 1, 0), (2, MAX_PAYLOAD_BYTES + 1)])
def test_a_frame_that_announces_too_much_is_refused_unread(header: int, payload: int) -> None:
    with pytest.raises(FrameError, match="too large"):
        read_frame(reader(HEAD.pack(b"TQM1", header, payload)))


def ask(server: MaskServer, op: str, payload: bytes = b"", **fields: Any) -> tuple[dict[str, Any], bytes]:
    return server.reply({"op": op, "id": 5, **fields}, payload)


@pytest.fixture
def server() -> MaskServer:
    served = MaskServer(str(COLOURS), "")
    ask(served, "hello", options={})
    ask(served, "load", options={})
    return served


def test_hello_says_who_it_is_with_defaults_and_loads_nothing() -> None:
    served = MaskServer(str(COLOURS), "")
    told, payload = ask(served, "hello", options={"least": 170})
    assert (told["id"], told["protocol"], told["name"], told["version"]) == (5, PROTOCOL, "colours", "1")
    assert told["options"] == {"least": 170, "most": 100, "weights": "", "fail_at": "", "score": 0.75}
    assert (told["paths"], told["one_mask"], told["repository"], payload) == (["weights"], True, "", b"")
    assert {"python", "numpy"} <= set(told["versions"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"leest": 1}, "no option 'leest'"),
        ({"least": "much"}, "of type int"),
        ({"least": True}, "of type int"),
        ({"weights": None}, "needs the option 'weights'"),
    ],
)
def test_options_that_it_does_not_take_are_refused(options: dict[str, Any], why: str) -> None:
    assert why in ask(MaskServer(str(COLOURS), ""), "hello", options=options)[0]["error"]


def test_a_whole_number_will_do_for_a_float() -> None:
    assert ask(MaskServer(str(COLOURS), ""), "hello", options={"score": 1})[0]["options"]["score"] == 1


def test_one_query_that_fails_is_one_answer(server: MaskServer) -> None:
    rgb, red = red_squares()
    queries = ["red things", "wrong shape", "nothing red", "red things"]
    told, payload = ask(server, "answer", rgb.tobytes(), height=21, width=13, queries=queries)
    assert [answer.get("n") for answer in told["answers"]] == [1, None, 0, 1]
    assert "masks must be bool (N, 21, 13), got bool (1, 3, 3)" in told["answers"][1]["error"]
    assert told["answers"][0]["text"] == "I looked for red things"
    packed = np.packbits(red.ravel()).tobytes()
    assert payload == packed + packed


def test_a_picture_that_cannot_be_prepared_fails_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    served = MaskServer(str(COLOURS), "")
    ask(served, "hello", options={})
    ask(served, "load", options={"fail_at": "prepare"})
    rgb, _ = red_squares()
    told, payload = ask(served, "answer", rgb.tobytes(), height=21, width=13, queries=["red"])
    assert (told, payload) == ({"id": 5, "error": "RuntimeError: cannot encode"}, b"")
    assert "cannot encode" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        (np.zeros((1, 4, 4), dtype=np.uint8), [0.5], ""),
        (np.zeros((4, 4), dtype=np.bool_), [0.5], ""),
        (np.zeros((1, 4, 4), dtype=np.bool_), [], ""),
        (np.zeros((1, 4, 4), dtype=np.bool_), [1.5], ""),
        (np.zeros((1, 4, 4), dtype=np.bool_), [float("nan")], ""),
        (np.zeros((1, 4, 4), dtype=np.bool_), [0.5]),
    ],
)
def test_an_answer_of_another_form_is_refused(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"masks|values"):
        checked_answer(answer, (4, 4))


def test_an_unknown_request_is_a_reply_too(server: MaskServer) -> None:
    assert "KeyError" in ask(server, "dance")[0]["error"]


def test_it_serves_until_its_input_ends() -> None:
    told = io.BytesIO()
    requests = [{"op": "hello", "id": 1, "options": {}}, {"op": "load", "id": 2, "options": {}}]
    asked = b"".join(pack_frame(request) for request in requests)
    serve(MaskServer(str(COLOURS), ""), io.BytesIO(asked), told)
    read = exactly(io.BytesIO(told.getvalue()))
    assert [read_frame(read)[0]["id"] for _ in range(2)] == [1, 2]
    with pytest.raises(EOFError):
        read_frame(read)


def test_a_working_tree_is_named_by_its_commit(tmp_path: Path) -> None:
    commit = "3cb2d4301f1af4691bd4f3938335ef06e76f155a"
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text(commit + "\n")
    assert commit_of(str(tmp_path)) == commit
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(str(tmp_path)) == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{'0' * 40} refs/heads/other\n{commit} refs/heads/main\n")
    assert commit_of(str(tmp_path)) == commit
    (git / "refs/heads").mkdir(parents=True)
    (git / "refs/heads/main").write_text("f" * 40 + "\n")
    assert commit_of(str(tmp_path)) == "f" * 40
    assert commit_of(str(tmp_path / "none")) == ""
