from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from specforge.backend.task import TaskReference, refer


def here(_: object, payload: int) -> int:
    return payload


def test_round_trip_in_this_process() -> None:
    assert refer(here).resolve() is here


@pytest.mark.parametrize("task", [lambda r, p: p, functools.partial(here, 1), Path.exists, print])
def test_what_cannot_be_found_again_is_refused(task: object) -> None:
    with pytest.raises(ValueError, match="module-level function"):
        refer(task)  # type: ignore[arg-type]


def test_the_main_program_is_no_module() -> None:
    code = "from specforge.backend.task import refer\ndef f(r, p): pass\nrefer(f)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "stands in the main program" in done.stderr


def test_a_module_off_the_path_is_found_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "off_path_tasks.py"
    file.write_text("def double(runner, payload): return 2 * payload\n")
    reference = TaskReference("somewhere.off_path_tasks", str(file), "double")
    try:
        assert reference.resolve()(None, 4) == 8
        assert reference.resolve() is reference.resolve()
    finally:
        sys.modules.pop("somewhere.off_path_tasks", None)


def test_a_module_that_lacks_something_itself_says_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        TaskReference("needs_more", str(tmp_path / "needs_more.py"), "f").resolve()


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(AttributeError):
        TaskReference("specforge.backend.task", None, "no_such").resolve()
