"""GGUF files: the same weights and ids as the folder they were made from, or a clear refusal."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers

from avikam.model.imports.plan import plan_import
from avikam.model.sources.gguf.file import open_gguf
from avikam.model.sources.gguf.header import read_header
from avikam.model.sources.open_source import open_source
from avikam.model.sources.source import SourceError
from avikam.model.vocabulary.hugging_face import HfTokenizer
from tests.model.foreign import ours_of, planned, random_model, write_folder
from tests.model.gguf_writer import write_gguf
from tests.model.tokenizer_files import CORPUS, byte_level

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma3": ("gemma3_text", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_file_gives_what_the_folder_gives(name: str, tmp_path: Path) -> None:
    model_type, changes = ARCHITECTURES[name]
    model = random_model(model_type, **changes)
    arch = name.partition(",")[0]
    file = write_gguf(tmp_path / "tiny.gguf", model, arch, byte_level())
    theirs = plan_import(open_source(str(file)), "tiny")
    folder = planned(write_folder(tmp_path / "folder", model))
    ours, expected = ours_of(theirs)[1], ours_of(folder)[1]
    assert ours.keys() == expected.keys()
    for tensor in ours:
        assert torch.allclose(ours[tensor], expected[tensor], rtol=1e-6, atol=1e-7), tensor
    same = theirs.config.with_changes(norm_eps=1e-6)
    assert same == folder.config.with_changes(norm_eps=1e-6)
    assert theirs.source.origin.licence == "apache-2.0"


def test_a_vocabulary_is_rebuilt_with_the_sources_ids(tmp_path: Path) -> None:
    library = byte_level()
    file = write_gguf(tmp_path / "tiny.gguf", random_model("llama"), "llama", library)
    plan = plan_import(open_source(str(file)))
    ours = HfTokenizer(plan.source.tokenizer.data, plan.words, plan.config.vocab_size)
    for text in (*CORPUS, "a<think>b", " <think> ", "<|im_end|>"):
        expected = library.encode(text, add_special_tokens=False)
        if "<|" not in text:
            assert ours.encode(text) == expected.ids, text
        assert ours.decode(expected.ids) == library.decode(expected.ids, skip_special_tokens=True)
    assert ours.eos_ids == {2}


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"])
def test_every_known_name_of_a_pre_tokenizer_encodes_and_decodes(pre: str, tmp_path: Path) -> None:
    """Merges that cross a cut show a wrong cut: bytes survive whatever the cuts are."""
    library = byte_level()
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    file = write_gguf(tmp_path / "tiny.gguf", random_model("llama"), "llama", library, pre=pre)
    plan = plan_import(open_source(str(file)))
    ours = HfTokenizer(plan.source.tokenizer.data, plan.words, plan.config.vocab_size)
    for text in CORPUS:
        composed = pre == "qwen2" and "e\u0301" in text
        assert composed or ours.decode(ours.encode(text)) == text
    if pre != "gpt-2":
        assert Tokenizer.from_str(plan.source.tokenizer.data.decode()).encode("12").ids


def test_a_split_file_is_read_whole_from_any_part(tmp_path: Path) -> None:
    model, library = random_model("llama"), byte_level()
    whole = write_gguf(tmp_path / "tiny.gguf", model, "llama", library)
    first, second = _split(whole, tmp_path)
    for part in (first, second):
        plan = plan_import(open_gguf(first if part is second else part), "tiny")
        expected = plan_import(open_gguf(whole), "tiny")
        assert all(
            torch.equal(ours_of(plan)[1][name], tensor)
            for name, tensor in ours_of(expected)[1].items()
        )
    second.unlink()
    with pytest.raises(SourceError, match=r"tiny-00002-of-00002\.gguf is missing"):
        open_gguf(first)


def _split(whole: Path, folder: Path) -> tuple[Path, Path]:
    """Metadata and half of the tensors in the first part, the rest in the second."""
    reader = gguf.GGUFReader(whole)
    names = [tensor.name for tensor in reader.tensors]
    parts = []
    for index, chosen in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        path = folder / f"tiny-{index:05}-of-00002.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if index == 1:
            for field in reader.fields.values():
                if not field.name.startswith(("GGUF.", "general.architecture")):
                    kind = field.types[0]
                    sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
        for tensor in reader.tensors:
            if tensor.name in chosen:
                writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(path)
    return parts[0], parts[1]


def _key(name: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def _head(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def _tensor(name: bytes, shape: list[int], kind: int, offset: int) -> bytes:
    text = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(shape))
    return text + struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)


LIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "cannot be read|not a GGUF"),
    "another format": (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
    "a future version": (_head(version=9), "version 9"),
    "the other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "version"),
    "too many tensors": (_head(tensors=2**63), "more than any model has"),
    "too many keys": (_head(keys=2**40), "more than any model has"),
    "a key longer than the file": (_head(keys=1) + struct.pack("<Q", 2**62), "longer than"),
    "a value of no type": (_head(keys=1) + _key(b"a", 77, b""), "unknown type 77"),
    "an array longer than the file": (
        _head(keys=1) + _key(b"a", 9, struct.pack("<IQ", 4, 2**60)), "longer than the file"
    ),
    "an array of arrays": (_head(keys=1) + _key(b"a", 9, struct.pack("<IQ", 9, 1)), "type 9"),
    "a key twice": (_head(keys=2) + _key(b"a", 0, b"1") * 2, "twice"),
    "a tensor of five dimensions": (_head(tensors=1) + _tensor(b"t", [1] * 5, 0, 0), "5 dim"),
    "a size that wraps around": (
        _head(tensors=1) + _tensor(b"t", [2**32, 2**32], 0, 0), "outside the file"
    ),
    "a tensor behind the end": (_head(tensors=1) + _tensor(b"t", [8], 0, 2**62), "outside"),
    "an unknown block": (_head(tensors=1) + _tensor(b"t", [8], 99, 0), "unknown type 99"),
    "half a block": (_head(tensors=1) + _tensor(b"t", [33], 8, 0), "whole blocks"),
    "a tensor twice": (_head(tensors=2) + _tensor(b"t", [1], 0, 0) * 2 + bytes(64), "twice"),
    "an alignment of nothing": (
        _head(tensors=1, keys=1) + _key(b"general.alignment", 4, struct.pack("<I", 0))
        + _tensor(b"t", [1], 0, 0) + bytes(64), "implausible"
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_before_memory_is_taken(lie: str, tmp_path: Path) -> None:
    data, words = LIES[lie]
    path = tmp_path / "lie.gguf"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read_header(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", random_model("llama"), "llama", byte_level())
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SourceError, match=r"early|longer than the file"):
        open_gguf(file)


ODD: dict[str, tuple[str, dict[str, Any], str]] = {
    "architecture": ("falcon", {}, "architecture 'falcon'"),
    "cuts of a text": ("llama", {"pre": "odd"}, "pre-tokenizer 'odd'"),
    "experts": ("llama", {"llama__expert_count": 8}, "llama.expert_count is not known"),
    "half rotary": ("llama", {"llama__rope__dimension_count": 4}, "rope.dimension_count is 4"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_a_file_asks_for_and_is_not_known_is_named(odd: str, tmp_path: Path) -> None:
    arch, more, words = ODD[odd]
    path = tmp_path / "tiny.gguf"
    write_gguf(path, random_model("llama"), arch, byte_level(), **more)
    with pytest.raises(SourceError, match=words):
        plan_import(open_source(str(path)))
