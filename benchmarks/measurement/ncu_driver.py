"""What ncu profiles: each job launched a few times over rotating copies. A program of its own.

python -m benchmarks.measurement.ncu_driver JOBS.json, where that is {"jobs", "copies", "launches"}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Launch every job as often as it says, in order, each launch waited for by the profiler."""
    task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    from cuda.bindings import driver

    from benchmarks.measurement.card_driver import bind, checked, start

    start()
    stream = int(checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)))
    for job in task["jobs"]:
        launch = bind(job, task["copies"][job["name"]])
        for _ in range(task["launches"]):
            launch(stream)
        checked(driver.cuStreamSynchronize(stream))


if __name__ == "__main__":
    main()
