"""The sample records, as a module, for every test of the reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SAMPLES = Path(__file__).parent / "samples" / "sample_records.py"


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    name = "specforge_sample_records"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SAMPLES)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
