"""What every room's tests share: a copy of the shipped files to break, and the skip of tests that need a card."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True, scope="session")
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts here and in the processes that tests start, also where a shell started us to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with copies of the shipped `specs/` and `kernels/`, as a user's own repository has them."""
    folder = tmp_path / "project"
    for name in ("specs", "kernels"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def share_cache(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Give a folder a state of its own, whose compiled binaries, found by content, are those of other tests too."""

    def give(folder: Path) -> None:
        shared = tmp_path_factory.getbasetemp().parent / "specforge-cache"
        shared.mkdir(exist_ok=True)
        (folder / ".specforge").mkdir(parents=True)
        (folder / ".specforge" / "cache").symlink_to(shared)

    return give


@pytest.fixture
def small(tmp_path: Path, share_cache: Callable[[Path], None]) -> Callable[[str], Path]:
    """Make a folder with a spec, `specs/small.yaml`, beside links to the shipped devices and kernels."""

    def make(spec: str) -> Path:
        folder = tmp_path / "home"
        (folder / "specs").mkdir(parents=True)
        (folder / "specs" / "small.yaml").write_text(spec)
        (folder / "specs" / "devices").symlink_to(ROOT / "specs" / "devices")
        (folder / "kernels").symlink_to(ROOT / "kernels")
        share_cache(folder)
        return folder

    return make


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
