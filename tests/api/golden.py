"""Files that are written from code. `SMEAGOL_GOLDEN=write` rewrites them; their diff is reviewed as code."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def assert_golden(path: Path, text: str) -> None:
    if os.environ.get("SMEAGOL_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"{path} is out of date; run with SMEAGOL_GOLDEN=write"
