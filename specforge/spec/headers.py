"""The device headers that a source reaches, so that a change in any of them makes a new cache key."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include(?:_next)?[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>|(\S))', re.MULTILINE)


def local_headers(text: str, folders: Sequence[Path]) -> dict[str, str]:
    """Digest of every header under `folders` that the text includes, directly or through other headers.

    Keys are paths relative to the folder they were found in. What is not found there belongs to the CUDA toolkit, whose
    version stands for it. An include whose name is a macro could be any header: then all of them count.
    """
    found: dict[str, str] = {}
    waiting: list[tuple[str, Path | None]] = [(text, None)]
    seen: set[Path] = set()
    while waiting:
        content, includer = waiting.pop()
        for quoted, angled, computed in _INCLUDE.findall(content):
            beside = [includer.parent] if includer and quoted else []
            paths = (
                _everything(folders)
                if computed
                else [_join(folder, quoted or angled) for folder in (*beside, *folders)]
            )
            for path in paths:
                if not path.is_file():
                    continue
                if path not in seen:
                    seen.add(path)
                    raw = path.read_bytes()
                    found[_label(path, folders)] = hashlib.sha256(raw).hexdigest()
                    waiting.append((raw.decode(errors="replace"), path))
                if not computed:
                    break
    return dict(sorted(found.items()))


def _join(folder: Path, name: str) -> Path:
    """Without `..`: headers that include each other through it must meet as the same path."""
    return Path(os.path.normpath(folder / name))


def _everything(folders: Sequence[Path]) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".h", ".hpp", ".cuh", ".inc", ".inl"}
    )


def _label(path: Path, folders: Sequence[Path]) -> str:
    for index, folder in enumerate(folders):
        if path.is_relative_to(folder):
            return f"{index}:{path.relative_to(folder).as_posix()}"
    return path.name
