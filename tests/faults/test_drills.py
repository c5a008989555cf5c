"""The quick drills as tests: no token lost, none twice, no stream without an end. Never times."""

from __future__ import annotations

import pytest

from tests.faults.catalogue import catalogue, select
from tests.faults.drill import Drill

QUICK = [drill for drill in catalogue() if drill.quick]


@pytest.mark.parametrize("drill", QUICK, ids=[drill.id for drill in QUICK])
async def test_a_fault_costs_no_token(drill: Drill) -> None:
    figures = await drill.run(pace=0.4, workers=3)

    assert drill.broken(figures, times=False) == {}, figures


def test_every_fault_of_the_table_has_one_drill() -> None:
    spans = [range(1, 11), range(13, 23), range(25, 32), range(34, 39), range(40, 50), [57]]
    names = [f"F{number}" for span in spans for number in span]
    names.insert(1, "F1x")

    assert [drill.id for drill in catalogue()] == names


def test_drills_are_chosen_by_number_and_range() -> None:
    assert [drill.id for drill in select(["F2", "f25-F27"])] == ["F2", "F25", "F26", "F27"]
    assert len(select([])) == len(catalogue())
    for wrong in ("F99", "G1", "F1-x"):
        with pytest.raises(ValueError, match=r"no drill|neither"):
            select([wrong])
