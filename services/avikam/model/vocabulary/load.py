"""The tokenizer of a checkpoint folder, whichever kind lies there."""

from __future__ import annotations

from pathlib import Path

from avikam.model.manifest import TOKENIZER, TOKENIZER_JSON, TOKENIZER_WORDS
from avikam.model.tokenizer import Tokenizer, TokenizerError
from avikam.model.vocabulary.protocol import ModelTokenizer


def load_tokenizer(folder: Path, vocab_size: int) -> ModelTokenizer:
    """Raises :class:`TokenizerError` for a file that is none, or that does not fit the model."""
    if (folder / TOKENIZER_JSON).is_file():
        return _hugging_face(folder, vocab_size)
    tokenizer = Tokenizer(folder / TOKENIZER)
    if tokenizer.vocab_size != vocab_size:
        raise TokenizerError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the config says {vocab_size}"
        )
    return tokenizer


def _hugging_face(folder: Path, vocab_size: int) -> ModelTokenizer:
    """Imported here: Avikam1 needs neither library."""
    from avikam.model.vocabulary.decoder import DecoderError
    from avikam.model.vocabulary.hugging_face import HfTokenizer
    from avikam.model.vocabulary.words import TokenizerWords

    try:
        words = TokenizerWords.from_json((folder / TOKENIZER_WORDS).read_text("utf-8"))
        return HfTokenizer((folder / TOKENIZER_JSON).read_bytes(), words, vocab_size)
    except (OSError, TypeError, ValueError, KeyError, DecoderError) as error:
        raise TokenizerError(f"{TOKENIZER_JSON}: {error}") from error
