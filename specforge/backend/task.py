"""Tasks by reference: how a function is named to another process, and found there again."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType


@dataclass(frozen=True, slots=True)
class TaskReference:
    """A module-level function. `file` finds the module where its name alone does not, as for a test's own module."""

    module: str
    file: str | None
    name: str

    def resolve(self) -> Callable[..., object]:
        """Import the function; raises ImportError or AttributeError where it is not there."""
        found: Callable[..., object] = getattr(self._module(), self.name)
        return found

    def _module(self) -> ModuleType:
        if self.module in sys.modules:
            return sys.modules[self.module]
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if self.file is None or not (self.module == missing or self.module.startswith(missing + ".")):
                raise
            spec = importlib.util.spec_from_file_location(self.module, self.file)
            if spec is None or spec.loader is None:
                raise
            module = importlib.util.module_from_spec(spec)
            sys.modules[self.module] = module  # before it runs: what it pickles and unpickles is found by this name
            spec.loader.exec_module(module)
            return module


def refer(task: Callable[..., object]) -> TaskReference:
    """Name a function for another process; raises ValueError where it cannot be found there again."""
    if isinstance(task, FunctionType) and task.__module__ == "__main__":
        raise ValueError(f"task {task.__name__!r} stands in the main program, which no worker imports")
    module = sys.modules.get(getattr(task, "__module__", None) or "")
    if not isinstance(task, FunctionType) or getattr(module, task.__name__, None) is not task:
        raise ValueError(f"a task is a module-level function, which {task!r} is not")
    file = getattr(module, "__file__", None)
    return TaskReference(task.__module__, str(Path(file).resolve()) if file else None, task.__name__)
