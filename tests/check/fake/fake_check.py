"""`specforge` with the card of `fake_card.py`: `python fake_check.py check SPEC ...`; for tests of whole commands."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

FOLDER = str(Path(__file__).resolve().parent)
sys.path.insert(0, FOLDER)

if __name__ == "__main__":
    import fake_card

    from specforge.backend import probe, worker
    from specforge.check import jobs, measurement
    from specforge.cli import main
    from specforge.measure.calibration import Calibration

    probe.probe = fake_card.probe
    fake_card.stand_in(worker)
    copies = count(2.7e12)  # so that two calibrations are told apart
    calibrated = partial(Calibration, 2.9e12, matrix={"bf16": 8e14}, missing={"fp8": "not here"})
    measurement.calibrate = lambda choice, context: calibrated(copy=next(copies))
    jobs.START_SECONDS = 2.0
    jobs.StopRule = lambda **given: replace(jobs_rule(**given), warmup_seconds=0.0, retries=0, seconds=0.05)
    from specforge.measure.stopping import StopRule as jobs_rule

    main()
