"""The lines of ``make bench`` for config options; their figures are not judged here."""

from __future__ import annotations

import pytest

from benchmarks import variants
from benchmarks.variants import measure_variants, variants_table


def test_each_option_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        variants,
        "VARIANTS",
        (("usual", "avikam1-test", "int8"), ("four bits", "avikam1-test", "int4")),
    )
    found = measure_variants(rounds=1, seconds=0.0, level="")
    assert list(found) == ["usual", "four bits"]
    for line in found.values():
        assert min(line[figure] for figure in ("decode_1", "decode_16", "prefill_256")) > 0
    usual, four_bits = variants_table(found).strip().splitlines()[1:]
    assert usual.count("(1.00x)") == 3
    assert four_bits.startswith("four bits")
