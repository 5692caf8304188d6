"""Write the golden reports anew: `python tests/report/regenerate.py`, then read the difference before committing it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "report"
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "samples")]


def main() -> None:
    """Render every sample in every format that has golden files."""
    import golden_reports
    import sample_records

    GOLDEN.mkdir(parents=True, exist_ok=True)
    wanted = golden_reports.render_all(sample_records)
    for stale in set(GOLDEN.iterdir()) - {GOLDEN / name for name in wanted}:
        stale.unlink()
    for name, text in wanted.items():
        (GOLDEN / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(wanted)} files to {GOLDEN}")


if __name__ == "__main__":
    main()
