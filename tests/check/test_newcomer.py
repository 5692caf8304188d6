"""A newcomer's afternoon, from the README alone: a spec for an RTX 4090 and a kernel, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "specforge", *arguments], capture_output=True, text=True, check=False, timeout=300
    )


def test_from_an_empty_folder_to_green_and_to_red(home: Path, readme_files: dict[str, str]) -> None:
    for name, text in readme_files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    spec = "specs/silu_rtx4090.yaml"

    green = run("check", spec, "--until", "verify")
    assert green.returncode == 0, green.stdout + green.stderr
    assert "NVIDIA GeForce RTX 4090" in green.stdout
    assert "sm_89" in green.stdout
    assert "activation/silu (200 examples) agrees with its reference" in green.stdout

    tightened = readme_files[spec].replace("at_most: 32}", "at_most: 8}")
    assert tightened != readme_files[spec]
    (home / spec).write_text(tightened)
    missed = run("check", spec, "--until", "verify")
    assert missed.returncode == 1, missed.stdout
    line = 1 + tightened[: tightened.index("at_most: 8")].count("\n")
    assert f"{spec}:{line}:" in missed.stdout
    (home / spec).write_text(readme_files[spec])

    template = home / "kernels/activation/silu/kernel.cu.j2"
    template.write_text(template.read_text().replace("(i >= count)", "(i > count)"))
    wrong = run("check", spec, "--until", "verify")
    assert wrong.returncode == 3, wrong.stdout
    assert "smallest failing case: {rows: 1, columns: 1, dtype:" in wrong.stdout
    replay = re.search(r"replay: specforge (check .*)", wrong.stdout)
    assert replay


def test_their_own_files_win_over_the_shipped_ones(copy: Path, specforge: Callable) -> None:
    device = copy / "specs/devices/rtx5090.yaml"
    device.write_text(device.read_text().replace("NVIDIA GeForce RTX 5090\n", "NVIDIA GeForce RTX 5090 of mine\n", 1))
    ended = specforge("explain", "specs/qwen35_rtx5090.yaml")
    assert "of mine" in ended.text
