"""What `specforge mutate` says: a table by operator, the survivors with their diffs, and the stored results' table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from specforge import __version__
from specforge.diagnostics import SpecForgeError
from specforge.disk import write_whole
from specforge.mutate.baseline import examples_of
from specforge.mutate.journal import file_digests
from specforge.mutate.mutant import make
from specforge.mutate.operators import changes
from specforge.mutate.score import Row, Scored, reasons
from specforge.mutate.tokens import read
from specforge.roots import search_roots, tidy
from specforge.spec.interface import Kernel, find_kernel

RESULTS = Path("results") / "mutation"
"""Where results are stored, one file a kernel."""


def tell(scored: Scored, at_least: float, *, partial: bool) -> str:
    """A kernel's table and its survivors, for a terminal."""
    lines = [f"{scored.kernel.identity}: {'some' if partial else 'all'} mutants of {tidy(scored.kernel.template)}", ""]
    lines += [_table([_cells(row) for row in (*scored.rows, scored.total)], "simple"), ""]
    for mutant in scored.survivors():
        outcome = scored.outcomes[mutant.id]
        lines += [f"survived: {mutant.id} at {tidy(scored.kernel.template)}:{mutant.line}"]
        lines += [f"  {outcome.detail}"] if outcome.detail else []
        lines += [f"  {line}" for line in _changed(mutant.diff(scored.original, scored.kernel.file.template))] + [""]
    verdict = "at or above" if scored.percent >= at_least else "BELOW"
    lines += [f"score {scored.percent:.1f} %, {verdict} the {at_least:g} % that are due", ""]
    return "\n".join(lines)


def _changed(diff: str) -> list[str]:
    """A diff without the names of its files, which stand above it."""
    return diff.split("\n")[2:]


def _cells(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {"operator": row.operator, "created": row.created, "did not compile": row.invalid}
    cells |= {"equivalent": row.equivalent, "killed": sum(row.killed.values())}
    cells["by"] = ", ".join(f"{kind} {count}" for kind, count in sorted(row.killed.items(), key=lambda item: -item[1]))
    return cells | {"survived": row.survived, "score %": f"{row.percent:.1f}"}


def _table(rows: Sequence[dict[str, Any]], form: str) -> str:
    from tabulate import tabulate

    return str(tabulate(rows, headers="keys", tablefmt=form, disable_numparse=True))


def stored(scored: Scored) -> dict[str, Any]:
    """What is committed of a kernel's result; the digests tell when it is stale."""
    listed = reasons(scored.kernel)
    same = [mutant for mutant in scored.mutants if scored.outcomes[mutant.id].status == "equivalent"]
    survivors = scored.survivors()
    said = [mutant for mutant in scored.mutants if mutant.id in listed and mutant not in same]
    return {
        "specforge": 1,
        "mutation": scored.kernel.identity,
        "tool": __version__,
        "digests": file_digests(scored.kernel),
        "examples": examples_of(scored.kernel),
        "score": round(scored.percent, 2),
        "operators": [_cells(row) for row in (*scored.rows, scored.total)],
        "same_code": [mutant.id for mutant in same],
        "listed": [{"mutant": mutant.id, "line": mutant.line, "reason": listed[mutant.id]} for mutant in said],
        "survivors": [
            {
                "mutant": mutant.id,
                "line": mutant.line,
                "detail": scored.outcomes[mutant.id].detail,
                "diff": _changed(mutant.diff(scored.original, scored.kernel.file.template)),
            }
            for mutant in survivors
        ],
    }


def write_table(found: Sequence[Scored], path: Path) -> None:
    """Store these results beside the others and write the table of all."""
    for scored in found:
        write_whole(RESULTS / f"{scored.kernel.identity.replace('/', '_')}.json", _text(stored(scored)))
    renumber(RESULTS)
    write_whole(path, table(RESULTS))


def renumber(folder: Path) -> None:
    """Lines and diffs of stored results as they are now: comments move them, and change no outcome."""
    for file in folder.glob("*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        kernel = _unchanged(result)
        if kernel is not None:
            original = kernel.template.read_text(encoding="utf-8")
            source = read(original)
            mutants = {mutant.id: mutant for mutant in make(source, changes(source))}
            for entry in (*result["listed"], *result["survivors"]):
                entry["line"] = mutants[entry["mutant"]].line
            for entry in result["survivors"]:
                entry["diff"] = _changed(mutants[entry["mutant"]].diff(original, kernel.file.template))
            write_whole(file, _text(result))


def _unchanged(result: dict[str, Any]) -> Kernel | None:
    """The kernel that a stored result is of; None where it has changed since, or is gone."""
    try:
        kernel = find_kernel(result["mutation"], search_roots(Path.cwd() / "kernels"))
    except SpecForgeError:
        return None
    return kernel if file_digests(kernel) == result["digests"] else None


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1, ensure_ascii=False) + "\n"


def table(folder: Path) -> str:
    """The Markdown page of all stored results."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
    parts = [_HEAD]
    for result in results:
        stale = "" if _unchanged(result) else ", stale: the kernel has changed since"
        parts += [
            f"## {result['mutation']}: {result['score']:.1f} %{stale}\n",
            _table(result["operators"], "github") + "\n",
        ]
        parts.append(
            f"{result['examples']} examples. Of the equivalent, {len(result['same_code'])} compile to the same code."
        )
        if result["listed"]:
            parts[-1] += " The others are listed in kernel.yaml:\n"
            parts += [f"- `{entry['mutant']}`, line {entry['line']}: {entry['reason']}" for entry in result["listed"]]
        parts.append("")
        if result["survivors"]:
            parts.append("Survivors:\n")
        for entry in result["survivors"]:
            parts.append(
                f"`{entry['mutant']}`, line {entry['line']}" + (f" ({entry['detail']})" if entry["detail"] else "")
            )
            parts += ["\n```diff", *entry["diff"], "```\n"]
    return "\n".join(parts).rstrip() + "\n"


_HEAD = """<!-- Generated by `specforge mutate KERNEL... --table`; from results/mutation/. -->
# Mutation scores

Each kernel's template is changed in one place at a time. A mutant counts where it compiles and is not equivalent: its
code differs from the kernel's own and kernel.yaml does not list it. It is killed where `specforge check` at its default
profile fails on the CPU. The score is the share of counting mutants that are killed, and a lower bound: beyond a few
examples of each variant, survivors are tried without the sanitizer.
"""
