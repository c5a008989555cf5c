"""The page about other servers' fields is the one that the tables make."""

from __future__ import annotations

from scripts.generate_foreign_fields_page import PAGE, page


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text("utf-8") == page()
