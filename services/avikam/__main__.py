"""``python -m avikam`` is the command ``avikam``."""

from __future__ import annotations

from avikam.cli.main import main

main()
