"""Where kernels, specs and headers are looked for: the user's own repository first, then what is shipped."""

from __future__ import annotations

import os
from pathlib import Path


def shipped() -> Path:
    """The folder of the shipped `kernels/`, `specs/`, `tunings/`, `schemas/`: in the wheel, or the checkout's top."""
    package = Path(__file__).resolve().parent
    packaged = package / "shipped"
    return packaged if packaged.is_dir() else package.parent


def search_roots(start: Path) -> tuple[Path, ...]:
    """Roots for a file at `start`, first wins: the nearest folder above it with a `kernels/`, then the shipped one."""
    roots: list[Path] = []
    for folder in start.resolve().parents:
        if (folder / "kernels").is_dir():
            roots.append(folder)
            break
        if (folder / ".git").exists():
            break
    return tuple(dict.fromkeys((*roots, shipped())))


def home(spec: Path) -> Path:
    """The folder that a spec's files are named relative to: its own root, or its folder where it has none."""
    root, path = search_roots(spec)[0], spec.resolve()
    return root if path.is_relative_to(root) else path.parent


def tidy(path: Path) -> Path:
    """The path as a person would write it: no `..`, relative where it lies in the working folder."""
    plain = Path(os.path.normpath(path))
    try:
        return plain.relative_to(Path.cwd()) if plain.is_absolute() else plain
    except ValueError:
        return plain


def is_file(path: Path) -> bool:
    """Whether a file stands there that could be read; False too for a name too long or a folder closed to us."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder stands there that could be entered."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def include_dirs(roots: tuple[Path, ...]) -> tuple[Path, ...]:
    """Folders of device headers, in order of precedence."""
    return tuple(root / "kernels" / "include" for root in roots if (root / "kernels" / "include").is_dir())
