"""Spans of tokens in their text."""

from __future__ import annotations

import pytest

from avikam.model.vocabulary.spans import spans


@pytest.mark.parametrize(
    ("text", "surfaces", "parts"),
    [
        (
            "Bonjour le monde",
            [None, b" Bonjour", b" le", b" monde"],
            ["", "Bonjour", " le", " monde"],
        ),
        ("a  b", [b" a", b" ", b" b"], ["a", " ", " b"]),
        ("l'été", [b" l", b"'", "été".encode()], ["l", "'", "été"]),
        ("x😀y", [b" x", b"\xf0", b"\x9f", b"\x98", b"\x80", b"y"], ["x", *"😀😀😀😀", "y"]),
        ("a\u00a0b", [b" a", b" b"], ["a", "b"]),
        ("<s>", [None, b" <", b"s", b">"], ["", "<", "s", ">"]),
        ("", [None], [""]),
    ],
)
def test_tokens_are_found_in_their_text(
    text: str, surfaces: list[bytes | None], parts: list[str]
) -> None:
    found = list(spans(text, surfaces))

    assert [text[start:stop] for start, stop in found] == parts
    assert [start for start, _ in found] == sorted(start for start, _ in found)
