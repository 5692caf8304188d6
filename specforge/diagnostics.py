"""What went wrong and where: stable codes, file:line:column, the offending value and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How much a diagnostic weighs: an error ends the run with status 2."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        """`file:line:column`, as compilers write it."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding; `value` is the offending text as the author wrote it, `hint` the way out."""

    code: str
    message: str
    position: Position | None = None
    value: str | None = None
    hint: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """One line, and one more for the hint."""
        where = f"{self.position}: " if self.position else ""
        value = f" (value: {self.value})" if self.value is not None else ""
        hint = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{where}{self.severity} {self.code}: {self.message}{value}{hint}"


class SpecForgeError(Exception):
    """One or more diagnostics that end the work on an input."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(str(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics


def fail(
    code: str, message: str, position: Position | None = None, *, value: object = None, hint: str | None = None
) -> SpecForgeError:
    """Build the exception for a single error; `value` is shortened to one readable line."""
    return SpecForgeError(Diagnostic(code, message, position, None if value is None else shorten(value), hint))


def shorten(value: object, limit: int = 80) -> str:
    """One line of at most `limit` characters that shows a value."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that a typo most likely meant, or None."""
    lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.55)
    return lower[found[0]] if found else None


def suggest(name: str, candidates: Iterable[str]) -> str:
    """A hint naming the nearest valid name and, where it is short, the whole list."""
    names = sorted(candidates)
    near = nearest(name, names)
    listing = ", ".join(names) if len(names) <= 24 else f"{len(names)} names"
    return (f"did you mean {near!r}? " if near else "") + (
        f"valid here: {listing}" if names else "nothing is valid here"
    )


CODES: dict[str, str] = {
    "SF001": "A file that was named does not exist.",
    "SF002": "A folder, device or other non-file stands where a file is due.",
    "SF003": "A file is not readable UTF-8 text.",
    "SF004": "A file is larger than a spec can sensibly be (256 KiB, or 20,000 keys and values).",
    "SF005": "Files refer to each other in a circle, or to the wrong kind of file.",
    "SF101": "The text is not valid YAML 1.2.",
    "SF102": "A key stands twice in one mapping; YAML would silently drop one of them.",
    "SF103": "A tab is used for indentation; YAML allows spaces only.",
    "SF104": "NaN or infinity: no bound, size or fact can be that.",
    "SF105": "Anchors, aliases, merge keys and tags are not used here: reuse is by naming a file.",
    "SF106": "The file holds no mapping at its top.",
    "SF107": "The file's format version is missing or not one that this SpecForge reads.",
    "SF201": "A key that this section does not know.",
    "SF202": "A required key is missing.",
    "SF203": "A value has the wrong type or shape.",
    "SF204": "A value is not among those allowed.",
    "SF205": "A quantity lacks its unit, or has one of another dimension.",
    "SF206": "A name inside a file does not match the file's or folder's own name.",
    "SF301": "An expression cannot be parsed.",
    "SF302": "An expression uses something outside the small safe language.",
    "SF303": "An expression uses a name that nothing declares.",
    "SF304": "An expression cannot be evaluated for a case (division by zero, overflow, wrong types).",
    "SF305": "An expression is too long, too deep or too large.",
    "SF401": "A kernel, device, model or workload of that name is not found.",
    "SF402": "A metric of that name does not exist.",
    "SF403": "A kernel parameter is left unbound.",
    "SF404": "A parameter is bound that the kernel does not declare, or bound twice.",
    "SF405": "A value lies outside the domain that the kernel declares.",
    "SF406": "A sweep is malformed: unequal zip lengths, an empty axis, a case that stands twice, no case left.",
    "SF407": "An exclusion excludes nothing.",
    "SF408": "A target selects no case.",
    "SF409": "A case violates one of the kernel's constraints.",
    "SF410": "A target's bound makes no sense for its metric, or the target stands there already.",
    "SF411": "A benchmark of that name does not exist.",
    "SF412": "A sweep makes more cases than SpecForge will run (10,000).",
    "SF413": "A target names a peer that its kernel does not have, or a speedup names none.",
    "SF414": "A tuning file is of an earlier state of its kernel, whose own defaults are used instead.",
    "SF415": "A tuning file cannot be written.",
    "SF501": "A kernel template cannot be parsed or rendered.",
    "SF502": "A template uses a variable that kernel.yaml does not declare.",
    "SF503": "A compile parameter or tunable never reaches the template.",
    "SF504": "A kernel's signature and its launch arguments disagree.",
    "SF505": "The reference and kernel.yaml disagree.",
    "SF506": "A rendered kernel does not compile.",
    "SF507": "The reference raised an error or returned something unusable.",
    "SF508": "A launch exceeds what the card allows.",
    "SF509": "A tolerance lets a known corruption of the output pass, or rejects the best possible result.",
    "SF510": "A kernel fails its own check, so mutants of it say nothing.",
    "SF511": "An entry of `equivalent_mutants` names no mutant, or one that is told from the kernel.",
    "SF512": "A kernel's peers.py cannot be read, or declares its peers in a way that its text alone does not show.",
    "SF601": "A record cannot be read.",
    "SF602": "A record does not match its own digests: tampered.",
    "SF603": "A record's inputs have changed since it was made: stale.",
    "SF604": "A record cannot be published: not from this state of the sources, or not twice.",
    "SF605": "A record cannot be written.",
    "SF606": "The ledger of published records is not whole: something was changed, dropped, moved or slipped in.",
    "SF607": "The journal of an unfinished run cannot be taken up: it was changed, or is of another run.",
    "SF608": "Two records may not be compared: another card, other clocks, other inputs or another way of timing.",
    "SF701": "This machine lacks something that the asked-for step needs.",
    "SF702": "The backend that was asked for is not there.",
    "SF703": "The folder where runs on one machine meet is not the user's own.",
    "SF704": "The card's clocks cannot be locked as asked, or did not follow.",
    "SF801": "The command line is wrong.",
}
"""Every code that can be printed and what it means; `specforge explain CODE` shows it."""
