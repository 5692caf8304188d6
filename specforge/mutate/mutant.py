"""One change of a template: what it replaces, an id that survives edits elsewhere, and its diff."""

from __future__ import annotations

import difflib
import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from specforge.mutate.tokens import Source


@dataclass(frozen=True, slots=True)
class Change:
    """Tokens `first` to `last`, both included, are replaced by `text`; `first > last` inserts in front of `first`."""

    operator: str
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A template with one change. `id` is made of the operator, the statement around the change and the change."""

    id: str
    operator: str
    line: int
    """Of the template, from 1."""
    statement: str
    template: str
    """The changed template; it has as many lines as the original."""

    def diff(self, original: str, path: str) -> str:
        """Unified, with one line of context."""
        lines = difflib.unified_diff(
            original.splitlines(), self.template.splitlines(), path, f"{path} ({self.id})", n=1, lineterm=""
        )
        return "\n".join(lines)


def make(source: Source, changes: Iterable[Change]) -> list[Mutant]:
    """Mutants in the template's order; of changes that give the same text the first one stands for all."""
    found: dict[str, Mutant] = {}
    seen: Counter[str] = Counter()
    for change in sorted(changes, key=lambda change: (change.first, change.last)):
        start, end = source.tokens[change.first].start, source.tokens[max(change.first, change.last)].end
        if change.first > change.last:
            end = start
        kept = source.text[start:end]
        template = source.text[:start] + change.text + "\n" * _lost(kept, change.text) + source.text[end:]
        if template == source.text or template in found:
            continue
        statement, offset = _statement(source, change.first)
        place = f"{change.first - offset} {change.last - offset} {' '.join(change.text.split())}"
        name = hashlib.sha256(f"{change.operator}\n{statement}\n{place}".encode()).hexdigest()[:8]
        name = f"{change.operator}-{name}"
        seen[name] += 1
        ordinal = f"-{seen[name]}" if seen[name] > 1 else ""
        found[template] = Mutant(name + ordinal, change.operator, source.line(change.first), statement, template)
    return list(found.values())


def _lost(kept: str, text: str) -> int:
    """Newlines to add, so that the lines below keep their numbers."""
    return max(0, kept.count("\n") - text.count("\n"))


def _statement(source: Source, place: int) -> tuple[str, int]:
    """The statement or header around a token, in single spaces, and the place of its first token."""
    index = bisect_right(source.starts, place)
    first = source.starts[index - 1] if index else 0
    last = source.starts[index] if index < len(source.starts) else len(source.tokens)
    return " ".join(token.text for token in source.tokens[first:last]), first
