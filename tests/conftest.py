"""What every room's tests share: a copy of the shipped files to break, and the skip of tests that need a card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with copies of the shipped `specs/` and `kernels/`, as a user's own repository has them."""
    folder = tmp_path / "project"
    for name in ("specs", "kernels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = _no_card() if marked else None
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs an NVIDIA card: {reason}"))


def _no_card() -> str | None:
    """Why no test can run on a card here; None where one can."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"NVML says: {error}"
    try:
        return None if pynvml.nvmlDeviceGetCount() else "the driver knows no card"
    finally:
        pynvml.nvmlShutdown()
