"""Reports are compared with files that people have read; `python tests/report/regenerate.py` writes them anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


def test_reports_are_as_they_were_when_last_read(samples):
    place = Path(__file__).parent / "samples" / "golden_reports.py"
    spec = importlib.util.spec_from_file_location("specforge_golden_reports", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wanted = module.render_all(samples)
    kept = {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.iterdir()}
    changed = [name for name in sorted({*wanted, *kept}) if wanted.get(name) != kept.get(name)]
    assert not changed, "if this is meant: python tests/report/regenerate.py, and read the difference"
