"""Spans of tokens in their text."""

from __future__ import annotations

import pytest

from avikam.gateway.api.offsets import spans


@pytest.mark.parametrize(
    ("text", "pieces", "parts"),
    [
        (
            "Bonjour le monde",
            ["<s>", "▁Bonjour", "▁le", "▁monde"],
            ["", "Bonjour", " le", " monde"],
        ),
        ("a  b", ["▁a", "▁", "▁b"], ["a", " ", " b"]),
        ("l'été", ["▁l", "'", "été"], ["l", "'", "été"]),
        ("x😀y", ["▁x", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "y"], ["x", *"😀😀😀😀", "y"]),
        ("a\u00a0b", ["▁a", "▁b"], ["a", "b"]),
        ("<s>", ["<s>", "▁<", "s", ">"], ["", "<", "s", ">"]),
        ("", ["<s>"], [""]),
    ],
)
def test_pieces_are_found_in_their_text(text: str, pieces: list[str], parts: list[str]) -> None:
    found = list(spans(text, pieces))

    assert [text[start:stop] for start, stop in found] == parts
    assert [start for start, _ in found] == sorted(start for start, _ in found)
