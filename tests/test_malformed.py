"""Hundreds of broken specs: each one is refused at a place that exists, or does no harm; nothing else ever happens.

The shipped files are mutated as data (keys removed, renamed, retyped, nested, values out of range) with a fixed seed
and loaded as a whole. `run` is the only place that knows how a spec is tried.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from specforge.cli import main
from specforge.diagnostics import CODES
from specforge.spec.document import load_document

ROOT = Path(__file__).parents[1]
TARGETS = {
    "specs/qwen35_rtx5090.yaml": "specs/qwen35_rtx5090.yaml",
    "specs/qwen35_h100.yaml": "specs/qwen35_h100.yaml",
    "specs/workloads/qwen35_decode.yaml": "specs/qwen35_rtx5090.yaml",
    "specs/devices/rtx5090.yaml": "specs/qwen35_rtx5090.yaml",
    "specs/devices/h100_sxm.yaml": "specs/qwen35_h100.yaml",
    "specs/models/qwen35_35b_a3b.yaml": "specs/qwen35_rtx5090.yaml",
    "kernels/attention/flash_decode/kernel.yaml": "specs/qwen35_rtx5090.yaml",
    "kernels/moe/router_topk/kernel.yaml": "specs/qwen35_rtx5090.yaml",
}
"""File to mutate -> a spec that uses it."""
KEPT = ("attention_decode", "attention_head128", "router_topk", "decode")

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One error as the command printed it."""

    file: Path
    line: int
    column: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a spec was taken: 0 (harmless) or 2 with what was printed; `unplaced` are errors without a position."""

    status: int
    findings: tuple[Finding, ...]
    unplaced: tuple[str, ...]


_PLACED = re.compile(r"(?P<file>.+?):(?P<line>\d+):(?P<column>\d+): error (?P<code>SF\d+): (?P<message>.*)")


def run(spec: Path) -> Outcome:
    """The whole command, up to where template, signature and reference must agree; a traceback fails the test."""
    result = CliRunner().invoke(main, ["check", str(spec), "--until", "render"], catch_exceptions=False)
    lines = [line for line in result.stderr.split("\n") if "error SF" in line]
    placed = [found for line in lines if (found := _PLACED.match(line))]
    findings = tuple(
        Finding(Path(found["file"]), int(found["line"]), int(found["column"]), found["code"], found["message"])
        for found in placed
    )
    return Outcome(result.exit_code, findings, tuple(line for line in lines if not _PLACED.match(line)))


def check(outcome: Outcome) -> None:
    """Status 0, or status 2 with errors that have a documented code and stand at a line that exists."""
    assert outcome.status in (0, 2)
    assert (outcome.status == 0) == (not outcome.findings)
    assert not outcome.unplaced
    for finding in outcome.findings:
        assert finding.code in CODES, finding
        assert finding.message
        assert len(finding.message) < 1000, finding
        assert finding.file.is_file(), finding
        lines = finding.file.read_text().split("\n")
        assert 1 <= finding.line <= len(lines), finding
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1, finding


# --- mutations --------------------------------------------------------------------------------------------------------

ODD: list[Any] = [
    *[
        None,
        True,
        0,
        -1,
        2**62,
        1.5,
        1e300,
        "",
        " ",
        "x",
        "=",
        "=1 / 0",
        "=model.nothing",
        "1 +",
        "9 us",
        "80 %",
        "1..4",
    ],
    *[
        "-5 GB/s",
        "pow2(3..9)",
        "9..1",
        "a" * 300,
        "../" * 40,
        "/dev/null",
        "..",
        "bf61",
        "'",
        "1 if",
        "é",
        "\n",
        "2**63",
    ],
    *["1e400", "__import__('os').system('true')", "0x", "1==1", "batch > 0", "{{ x }}", date(2027, 2, 1)],
    *[[], {}, [[]], [{}], {"a": 1}, [1, 2], ["a", "a"], {"value": 1}, {"kernel": "x"}],
]


def places(node: Any, where: Where = ()) -> list[Where]:
    """Where every value of some data stands, the whole excepted."""
    found = [where] if where else []
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        found += places(child, (*where, key))
    return found


def at(data: Any, where: Where) -> Any:
    for part in where:
        data = data[part]
    return data


def remove(data: Any, where: Where, _: random.Random) -> None:
    del at(data, where[:-1])[where[-1]]


def rename(data: Any, where: Where, draw: random.Random) -> None:
    parent, key = at(data, where[:-1]), where[-1]
    if isinstance(key, str):
        new = draw.choice([key + "s", key[:-1], key.upper(), key[::-1], "x y", "1a", "_" + key, "a" * 80, "on", ""])
        parent[new] = parent.pop(key)
    else:
        parent.insert(0, parent.pop())


def retype(data: Any, where: Where, draw: random.Random) -> None:
    parent, key = at(data, where[:-1]), where[-1]
    value = parent[key]
    others = [str(value), [value], {"value": value}, True, None, 3, 0.5, "text", [], {}]
    parent[key] = draw.choice([other for other in others if type(other) is not type(value)])


def nest(data: Any, where: Where, _: random.Random) -> None:
    parent, key = at(data, where[:-1]), where[-1]
    parent[key] = {str(key): parent[key]}


def replace(data: Any, where: Where, draw: random.Random) -> None:
    at(data, where[:-1])[where[-1]] = copy.deepcopy(draw.choice(ODD))


def repeat(data: Any, where: Where, _: random.Random) -> None:
    parent, key = at(data, where[:-1]), where[-1]
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[f"{key}2"] = copy.deepcopy(parent[key])


def move(data: Any, where: Where, draw: random.Random) -> None:
    source = draw.choice(places(data))
    at(data, where[:-1])[where[-1]] = copy.deepcopy(at(data, source))


def out_of_range(data: Any, where: Where, draw: random.Random) -> None:
    parent, key = at(data, where[:-1]), where[-1]
    value = parent[key]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        parent[key] = draw.choice([-1, 2**62, 1e300])
    elif isinstance(value, str):
        parent[key] = draw.choice([value * 50, "-" + value, value + " + 1", value.replace("1", "0")])
    else:
        parent[key] = draw.choice([-value - 1, value * 10**6 + 1, value + 0.5])


MUTATIONS: list[Callable[[Any, Where, random.Random], None]] = [
    remove,
    rename,
    retype,
    nest,
    replace,
    repeat,
    move,
    out_of_range,
]


def as_yaml(data: Any) -> str:
    """Data as YAML in JSON's style, line by line; what JSON lacks is written YAML's way."""
    text = json.dumps(data, indent=1, ensure_ascii=False, default=lambda day: f"<{day}>")
    text = re.sub(r'"<(\d{4}-\d\d-\d\d)>"', r"\1", text)
    return re.sub(r"(?m)(?<=[ :])(-?)(Infinity|NaN)(?=,?$)", lambda it: f"{it[1]}.{it[2][:3].lower()}", text)


def slim(data: Any) -> Any:
    """A spec or workload with the benchmarks of two kernels: as much to break, and a run is short."""
    for section in {"benchmarks", "narrow", "targets"} & data.keys():
        data[section] = {name: part for name, part in data[section].items() if name in KEPT}
    for part in data.get("benchmarks", {}).get("decode", {}).get("step", []):
        if part.get("benchmark") not in (None, *KEPT):
            del part["benchmark"]
    return {key: part for key, part in data.items() if part}


class Project:
    """A copy of the shipped files, of which one at a time is broken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        os.chdir(folder)  # records and caches go there; the fixture goes back
        for name in ("specs", "kernels"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self._data = {name: slim(load_document(ROOT / name).data) for name in TARGETS}
        self._texts = {name: as_yaml(data) for name, data in self._data.items()}
        for name, text in self._texts.items():
            (folder / name).write_text(text)

    def data(self, name: str) -> Any:
        return copy.deepcopy(self._data[name])

    def try_with(self, name: str, data: Any) -> Outcome:
        """The outcome of the spec that uses a file, with that file's data replaced."""
        path, text = self.folder / name, as_yaml(data)
        path.write_text(text)
        try:
            outcome = run(self.folder / TARGETS[name])
            check(outcome)
        except BaseException:
            print(f"--- {name}\n{text}")
            raise
        finally:
            path.write_text(self._texts[name])
        return outcome


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    before = Path.cwd()
    yield Project(tmp_path_factory.mktemp("broken"))
    os.chdir(before)


def test_the_files_are_sound_to_begin_with(broken):
    for name in TARGETS:
        assert broken.try_with(name, broken.data(name)).status == 0, name


# --- one mutation each: at least two hundred --------------------------------------------------------------------------

PER_FILE = 42


@pytest.mark.parametrize("name", TARGETS)
def test_one_mutation(broken, name):
    draw = random.Random(name)
    outcomes: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    for number in range(PER_FILE):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        data = broken.data(name)
        everywhere = places(data)
        depth = draw.randint(1, max(map(len, everywhere)))  # deep places are many; give the shallow ones their share
        where = draw.choice([place for place in everywhere if len(place) == depth])
        mutation(data, where, draw)
        outcome = broken.try_with(name, data)
        outcomes[outcome.status] += 1
        codes.update(finding.code for finding in outcome.findings)
    print(f"{name}: {outcomes[2]} refused, {outcomes[0]} harmless; {dict(codes.most_common())}")
    assert outcomes[0] + outcomes[2] == PER_FILE
    assert outcomes[2] >= PER_FILE * 0.6, "the mutations have become harmless"
    assert len(codes) >= 4, "the mutations have become all alike"


def test_they_are_two_hundred():
    assert PER_FILE * len(TARGETS) >= 200


# --- every key of a spec and of a workload ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["specs/qwen35_h100.yaml", "kernels/moe/router_topk/kernel.yaml"])
def test_a_typo_in_any_key_is_named_or_harmless(broken, name):
    """A mistyped key never passes silently: it is refused itself, or something misses the right one."""
    harmless = []
    for where in places(broken.data(name)):
        key = where[-1]
        if not isinstance(key, str):
            continue
        data = broken.data(name)
        parent = at(data, where[:-1])
        parent[key + "x"] = parent.pop(key)
        if broken.try_with(name, data).status == 0:
            harmless.append(where)
    # A benchmark of a spec's own may have any name; so may a tensor or tunable nobody mentions. Nothing else passes.
    assert all(where[:-1] == ("benchmarks",) for where in harmless), harmless


# --- depth ------------------------------------------------------------------------------------------------------------

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), st.sampled_from(ODD)
)
KEYS = """specforge spec device workload model benchmarks targets narrow kernel bind matrix zip cases exclude when
reason metric at_most step part launches bytes keep parameters tensors tolerance x"""
keys = st.sampled_from(KEYS.split())
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)


@given(
    name=st.sampled_from(
        ["specs/qwen35_h100.yaml", "specs/workloads/qwen35_decode.yaml", "kernels/moe/router_topk/kernel.yaml"]
    ),
    seed=st.integers(0, 2**32),
    tree=trees,
)
def test_any_tree_in_any_place(broken, name, seed, tree):
    draw = random.Random(seed)
    data = broken.data(name)
    for _ in range(draw.randint(1, 3)):
        where = draw.choice(places(data))
        at(data, where[:-1])[where[-1]] = copy.deepcopy(tree)
    broken.try_with(name, data)


@given(st.dictionaries(keys, trees, max_size=8))
def test_any_tree_at_all(broken, tree):
    assert broken.try_with("specs/qwen35_h100.yaml", {"specforge": 1, **tree}).status == 2
