"""What the golden files hold: every sample as text, the richest ones in every format."""

from __future__ import annotations

from types import ModuleType

from specforge.report import github, junit, markdown, text

RICH = ("every_verdict", "wrong", "undecided")


def render_all(samples: ModuleType) -> dict[str, str]:
    """File name -> text. The record's digest, which every change of the record's format moves, is left out."""
    found = {}
    for name, make in samples.SAMPLES.items():
        record = make()
        found[f"{name}.txt"] = text.render(record)
        if name in RICH:
            found[f"{name}.80.txt"] = text.render(record, width=80)
            found[f"{name}.colour.txt"] = text.render(record, colour=True)
            found[f"{name}.md"] = markdown.render(record)
            found[f"{name}.github"] = github.render(record)
            found[f"{name}.xml"] = junit.render(record).replace(record.digest, "DIGEST")
    return found
