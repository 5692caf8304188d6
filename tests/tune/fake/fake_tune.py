"""`specforge` with a card that is not there, whose kernels' speed and results depend on tunables.

FAKE_SPEEDS is a JSON mapping from a text that stands in `str(tunables)` to a factor of the time; FAKE_WRONG one to what
such a configuration does: `wrong` results, or as FAKE_FAULTS of tests/check/fake/fake_card.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

FOLDERS = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2] / "check" / "fake")]
sys.path[:0] = FOLDERS

import fake_card  # noqa: E402
import numpy as np  # noqa: E402

from specforge.backend.runner import Runner  # noqa: E402
from specforge.backend.serve import create_runner  # noqa: E402


def said(variable: str, tunables: Mapping[str, object], otherwise: object) -> object:
    known = json.loads(os.environ.get(variable, "{}"))
    return next((value for text, value in known.items() if text in str(tunables)), otherwise)


class TunableCase(fake_card.FakeCase):
    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        found = super().outputs(rotation)
        wrong = said("FAKE_WRONG", self.plan.tunables, None) == "wrong"
        return {name: array + array.dtype.type(1) for name, array in found.items()} if wrong else found

    def wait(self) -> None:
        fault = said("FAKE_WRONG", self.plan.tunables, None)
        if fault is not None:
            os.environ["FAKE_FAULTS"] = json.dumps({"": fault})
        super().wait()


class TunableCard(fake_card.FakeCard):
    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        assert Path(binary).is_file()
        self.seconds = 20e-6 * float(said("FAKE_SPEEDS", plan.tunables, 1.0))  # type: ignore[arg-type]
        return TunableCase(self, plan, copies)


def create(name: str) -> Runner:
    if name == "emulator":
        return create_runner(name)
    fake_card.create(name)  # refuses where the card is lost
    return TunableCard()


if __name__ == "__main__":
    from dataclasses import replace

    from specforge.backend import probe, worker
    from specforge.cli import main
    from specforge.tune import bench

    absent = os.environ.get("FAKE_ABSENT")
    probe.probe = (lambda: probe.Probe((), absent)) if absent else fake_card.probe
    serve = (
        "import specforge.backend.serve as serve; serve.create_runner = fake_tune.create; serve.main(int(sys.argv[1]))"
    )
    worker._CHILD = f"import sys; sys.path[:0] = [{FOLDERS[0]!r}, sys.argv[2]]; import fake_tune; {serve}"
    given = bench.StopRule
    bench.StopRule = lambda **kinds: replace(given(**kinds), warmup_seconds=0.0, retries=0, seconds=0.3)
    bench.ROUGH = bench.CAREFUL = bench.StopRule(precision=0.02, minimum=16, batch=8)
    main()
