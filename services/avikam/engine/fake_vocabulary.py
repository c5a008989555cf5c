"""What the fake engine says of itself and of text: bytes are its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from avikam.engine import fake_text
from avikam.engine.interface import EngineModel
from avikam.model.vocabulary.protocol import TokenizerFacts
from avikam.model.vocabulary.spans import spans
from avikam.protocol.sampling import SamplingParams


class FakeVocabulary:
    """The part of an engine that knows text and ids."""

    def encode(self, text: str, language: str | None = None) -> list[int]:
        """Ids of a document to continue: a frame, and one id a byte."""
        tag = [fake_text.LANGUAGES[language]] if language else []
        return [fake_text.BOS, *tag, *fake_text.encode_bytes(text)]

    def encode_plain(self, text: str) -> list[int]:
        """Ids of the text alone, one a byte."""
        return fake_text.encode_bytes(text)

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Ids of (role, content) turns up to where the assistant answers."""
        ids = [fake_text.BOS]
        for role, content in messages:
            ids += [fake_text.ROLES[role], *fake_text.encode_bytes(content), fake_text.EOS]
        return [*ids, fake_text.ASSISTANT]

    def spans(self, text: str, *, framed: bool) -> list[tuple[int, int, int]]:
        """Each token of the text with where it begins and ends, in characters."""
        ids = self.encode(text) if framed else self.encode_plain(text)
        surfaces = [fake_text.TOKEN_BYTES[token] or None for token in ids]
        return [(token, *at) for token, at in zip(ids, spans(text, surfaces), strict=True)]

    def facts(self) -> TokenizerFacts:
        """What clients may know of the tokenizer."""
        begin, end = fake_text.CONTROLS[fake_text.BOS], fake_text.CONTROLS[fake_text.EOS]
        return TokenizerFacts("SentencePieceTokenizer", begin, end, (fake_text.EOS,), True, "")

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids."""
        return fake_text.decode(tokens)

    def piece(self, token: int) -> str:
        """Vocabulary entry of an id."""
        return fake_text.piece(token)

    def token_bytes(self, token: int) -> bytes:
        """The byte an id stands for; empty for control tokens."""
        return fake_text.TOKEN_BYTES[token]


def describe(model_id: str, max_model_len: int) -> EngineModel:
    """A model without weights."""
    return EngineModel(
        id=model_id,
        max_model_len=max_model_len,
        vocab_size=fake_text.VOCAB_SIZE,
        parameters=0,
        weights="none",
        digest=fake_text.DIGEST,
        attention_backend="none",
        device="cpu",
        created=0,
        default_sampling=SamplingParams(temperature=1.0),
        numerics=fake_text.DIGEST,
    )
