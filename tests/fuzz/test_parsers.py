"""Every parser reads what it knows and refuses the rest in its own words, whatever the bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from google.protobuf import proto
from hypothesis import given
from hypothesis import strategies as st

from avikam.client import AvikamError, ConnectionFailed, Event, Piece, StreamInterrupted
from avikam.client.events import EventReader
from avikam.client.streaming import StreamReader
from avikam.engine.adapters import AdapterStore
from avikam.engine.fault_plan import FaultPlan, PlanError
from avikam.engine.kv.block import BlockError, read_header
from avikam.gateway.access.key_file import KeyFileError, read_keys
from avikam.model.lora import Adapter, AppliedAdapter
from avikam.protocol.errors import ApiError
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.fuzz.effort import effort
from tests.model.builders import small_config

# The protobuf stream of the client


def stream_of(texts: list[str]) -> bytes:
    """A whole stream as a gateway sends it, with a sign of life in front."""
    from io import BytesIO

    body = BytesIO(b"")
    body.write(b"\0")
    for text in texts:
        delta = inference_pb2.Choice(text=text)
        proto.serialize_length_prefixed(inference_pb2.GenerateStreamResponse(delta=delta), body)
    last = inference_pb2.GenerateStreamResponse(usage=pb.Usage(completion_tokens=3))
    proto.serialize_length_prefixed(last, body)
    return body.getvalue()


def read_in_pieces(body: bytes, sizes: list[int]) -> list[Piece]:
    """Feed it as a network would."""
    reader, pieces, at = StreamReader(), list[Piece](), 0
    for size in [*sizes, len(body)]:
        pieces += reader.feed(body[at : at + size])
        at += size
    reader.close()
    return pieces


sizes = st.lists(st.integers(1, 20), max_size=30)


@effort()
@given(st.lists(st.text(max_size=300), max_size=6), sizes)
def test_a_stream_reads_the_same_however_it_is_cut(texts: list[str], cuts: list[int]) -> None:
    pieces = read_in_pieces(stream_of(texts), cuts)

    assert [piece.text for piece in pieces] == [*texts, ""]
    assert pieces[-1].completion_tokens == 3


@effort()
@given(st.lists(st.text(max_size=20), max_size=3), st.integers(0, 80), sizes)
def test_a_stream_that_ends_early_is_not_taken_for_whole(
    texts: list[str], end: int, cuts: list[int]
) -> None:
    body = stream_of(texts)
    if end >= len(body):
        return

    with pytest.raises((ConnectionFailed, StreamInterrupted)):
        read_in_pieces(body[:end], cuts)


@effort(3)
@given(st.binary(max_size=200), sizes)
def test_bytes_that_are_no_stream(body: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(ConnectionFailed, StreamInterrupted):
        read_in_pieces(body, cuts)


# The terminal's event stream


lines = st.one_of(
    st.text(max_size=40),
    st.text(max_size=40).map(lambda text: f"data: {text}"),
    st.sampled_from(
        [
            "data: [DONE]",
            "data: {}",
            "data: []",
            "data: 5",
            'data: {"choices": [{"text": "a"}]}',
            'data: {"choices": [{"delta": null}]}',
            'data: {"choices": 5}',
            'data: {"choices": [5]}',
            'data: {"error": {"message": "no"}}',
            'data: {"error": 5}',
            'data: {"usage": 5}',
            ": ping",
            "event: error",
        ]
    ),
)


@effort(3)
@given(st.lists(lines, max_size=8))
def test_event_streams(events: list[str]) -> None:
    reader = EventReader()
    with contextlib.suppress(AvikamError):
        for line in events:
            event = reader.feed(line)
            assert event is None or isinstance(event, Event)
            assert event is None or isinstance(event.text, str)
        reader.close()
        assert reader.done


# Files


@effort()
@given(
    st.binary(max_size=120)
    | st.text(max_size=120).map(lambda text: f"keys:\n{text}".encode())
    | st.sampled_from([b"keys: [{id: a}]", b"keys: 5", b"[]", b"keys:\n- &a [*a]", b"!!python/x 1"])
)
def test_key_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.yaml"
    path.write_bytes(content)

    with contextlib.suppress(KeyFileError):
        assert isinstance(read_keys(path), tuple)


@effort()
@given(
    name=st.text(max_size=20) | st.sampled_from(["a", "..", "a/b", "é", "a" * 200, ""]),
    path=st.text(max_size=20)
    | st.sampled_from(["../outside", "/etc", ".", "link", "empty", "empty/..", "a\0b", "x" * 5000]),
)
def test_adapter_names_stay_inside_their_root(tmp_path: Path, name: str, path: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "empty", outside):
        folder.mkdir(parents=True, exist_ok=True)
    if not (root / "link").exists():
        (root / "link").symlink_to(outside)
    store = AdapterStore(small_config(), root, 1000, _never)

    with pytest.raises(ApiError) as refused:
        store.load(name, path)

    assert refused.value.status == 400
    assert str(tmp_path) not in refused.value.message


def _never(adapter: Adapter, folder: Path) -> AppliedAdapter:
    raise AssertionError("nothing here is an adapter")


@effort(3)
@given(
    st.binary(max_size=400)
    | st.binary(max_size=400).map(lambda rest: b"AVKV" + rest)
    | st.tuples(st.integers(0, 2**16 - 1), st.binary(min_size=60, max_size=400)).map(
        lambda forged: b"AVKV" + forged[0].to_bytes(2, "little") + forged[1]
    )
)
def test_block_headers(block: bytes) -> None:
    with contextlib.suppress(BlockError):
        assert read_header(block).size == len(block)


@effort(3)
@given(st.text(alphabet="abdehilnoprstw0159=@#%~,. mus", max_size=60))
def test_fault_plans(text: str) -> None:
    with contextlib.suppress(PlanError):
        assert isinstance(FaultPlan.parse(text), FaultPlan)
