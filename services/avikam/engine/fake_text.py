"""What the fake engine reads and writes: an honest byte tokenizer and a text that is arithmetic.

Vocabulary: control tokens, the 256 bytes, then whole words. Prompts are encoded byte by byte, so
every text encodes and ``decode(encode(x)) == x``. Answers are made of blocks of eight tokens,
each a pure function of (seed, block): eight words, or words around one character that is split
into its UTF-8 bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

CONTROLS = ("<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "[FR]", "[EN]")
BOS, EOS, SYSTEM, USER, ASSISTANT, FRENCH, ENGLISH = range(len(CONTROLS))
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
LANGUAGES = {"fr": FRENCH, "en": ENGLISH}

FIRST_BYTE = len(CONTROLS)
FIRST_WORD = FIRST_BYTE + 256
BLOCK = 8

_VOCABULARY = """
le la les une été où déjà cœur élève garçon forêt naïf Noël façon maître île
hier demain peut-être parce que l'eau coule, très bientôt! voilà; ça château
goût août œuvre même après the a of and river café garden résumé house light
winter she never whispered, almost morning; naïve again because friend's story
seven boats sailed at 2048 – «oui» “yes” 🌧 ☀️
"""
WORDS = tuple(" " + word for word in _VOCABULARY.split())
# Two, three and four bytes, and one of several code points.
SPLIT_CHARACTERS = ("é", "€", "🙂", "ç", "œ", "語", "🎉", "🇫🇷")

TOKEN_BYTES: tuple[bytes, ...] = (
    *(b"" for _ in CONTROLS),
    *(bytes([value]) for value in range(256)),
    *(word.encode() for word in WORDS),
)
VOCAB_SIZE = len(TOKEN_BYTES)
DIGEST = hashlib.sha256(b"\0".join(TOKEN_BYTES)).hexdigest()

_SPLIT = tuple([FIRST_BYTE + byte for byte in text.encode()] for text in SPLIT_CHARACTERS)


def encode_bytes(text: str) -> list[int]:
    """One token per UTF-8 byte."""
    return [FIRST_BYTE + byte for byte in text.encode()]


def join_bytes(tokens: Sequence[int]) -> bytes:
    """The bytes that ids stand for; control tokens stand for none."""
    return b"".join([TOKEN_BYTES[token] for token in tokens])


def decode(tokens: Sequence[int]) -> str:
    """Text of ids, with U+FFFD for what is not UTF-8."""
    return join_bytes(tokens).decode(errors="replace")


def piece(token: int) -> str:
    """The vocabulary entry of an id, in SentencePiece's spelling."""
    if token < FIRST_BYTE:
        return CONTROLS[token]
    if token < FIRST_WORD:
        return f"<0x{token - FIRST_BYTE:02X}>"
    return WORDS[token - FIRST_WORD].replace(" ", "\u2581")


def answer(seed: int, start: int, stop: int) -> list[int]:
    """Tokens at the indices ``start`` to ``stop - 1`` of the answer that ``seed`` gives."""
    first = start // BLOCK
    tokens: list[int] = []
    for block in range(first, -(-stop // BLOCK)):
        tokens += _block(seed, block)
    return tokens[start - first * BLOCK : stop - first * BLOCK]


def _block(seed: int, block: int) -> list[int]:
    digest = hashlib.blake2b(struct.pack("<QQ", seed, block), digest_size=BLOCK).digest()
    tokens = [FIRST_WORD + byte % len(WORDS) for byte in digest]
    if digest[0] & 64:
        character = _SPLIT[digest[1] >> 5]
        at = digest[2] % (BLOCK + 1 - len(character))
        tokens[at : at + len(character)] = character
    return tokens
