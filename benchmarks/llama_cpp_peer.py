"""llama.cpp, through the low-level functions of llama-cpp-python."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import CONTEXT, STREAMS
from benchmarks.llama_shape import LlamaShape

RANDOM = "llama.cpp Q8_0"  # name of the one with random weights
_ROOM = 512  # tokens of context per stream


def write_gguf(path: Path, shape: LlamaShape) -> None:
    """A Llama of random weights in Q8_0, norms in float32, without a vocabulary."""
    import gguf

    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(_ROOM)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.hidden // shape.heads)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    q8_0 = gguf.GGMLQuantizationType.Q8_0

    def matrix(name: str, rows: int, columns: int) -> None:
        values = rng.standard_normal((rows, columns), dtype=np.float32) * 0.02
        writer.add_tensor(name, gguf.quantize(values, q8_0), raw_dtype=q8_0)

    matrix("token_embd.weight", shape.vocab, shape.hidden)
    writer.add_tensor("output_norm.weight", np.ones(shape.hidden, dtype=np.float32))
    for i in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(shape.hidden, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"blk.{i}.{name}.weight", shape.hidden, shape.hidden)
        for name in ("ffn_gate", "ffn_up"):
            matrix(f"blk.{i}.{name}.weight", shape.feed_forward, shape.hidden)
        matrix(f"blk.{i}.ffn_down.weight", shape.hidden, shape.feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def requantise(source: Path, target: Path, kind: str) -> None:
    """llama.cpp's own ``kind`` (as Q8_0) of a GGUF file; a file that exists is kept."""
    import llama_cpp

    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.allow_requantize = True
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if code:
        raise RuntimeError(f"llama.cpp cannot requantise {source} to {kind}: {code}")


def random_llama(folder: Path, shape: LlamaShape, threads: int) -> LlamaCpp:
    """A Llama of random weights in Q8_0, written to ``folder`` once."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"llama-{shape.parameters}.gguf"
    if not file.exists():
        write_gguf(file, shape)
    return LlamaCpp(file, RANDOM, shape.parameters, shape.vocab, threads)


class LlamaCpp:
    """One context with room for all streams."""

    def __init__(
        self, file: Path, name: str, parameters: int, vocabulary: int, threads: int
    ) -> None:
        import llama_cpp

        self._api: Any = llama_cpp
        self._silent = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
        llama_cpp.llama_log_set(self._silent, ctypes.c_void_p(0))
        self.name, self.parameters, self._vocab = name, parameters, vocabulary
        self._model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {file}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = _ROOM * STREAMS, STREAMS
        params.n_batch = params.n_ubatch = CONTEXT
        params.n_threads = params.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        self._batch = llama_cpp.llama_batch_init(CONTEXT, 0, 1)
        self._position = 0
        self._streams = 1

    def prefill(self) -> None:
        self._forget()
        self._prompt(0)
        self._greedy(1)

    def begin(self, streams: int) -> None:
        self._forget()
        for stream in range(streams):
            self._prompt(stream)
        self._streams, self._position = streams, CONTEXT

    def step(self) -> None:
        rows = [(stream, self._position, True) for stream in range(self._streams)]
        self._decode(rows)
        self._greedy(self._streams)
        self._position += 1

    def close(self) -> None:
        self._api.llama_batch_free(self._batch)
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)

    def _forget(self) -> None:
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)

    def _prompt(self, stream: int) -> None:
        self._decode([(stream, i, i == CONTEXT - 1) for i in range(CONTEXT)])

    def _decode(self, rows: list[tuple[int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (stream, position, wanted) in enumerate(rows):
            batch.token[i] = i % self._vocab
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = stream
            batch.logits[i] = wanted
        code = self._api.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_decode failed with {code}")

    def _greedy(self, rows: int) -> None:
        logits = self._api.llama_get_logits(self._context)
        np.ctypeslib.as_array(logits, shape=(rows, self._vocab)).argmax(axis=1)
