"""The process of one notebook: `python -m workbook.child SPEC`, started by `workbook.run`.

It ends with its runner, whose process id is in the specification and is checked from the first line on, because
imports take seconds. The outcome is the exit code and, in the folder INFOLIB_REPORT, `report.ipynb`, or `error.txt` if
it failed.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil


def end_below(process: "psutil.Process") -> None:
    """End all descendants of a process: a kernel is in a session of its own and would live on.

    They are stopped first, so that none starts another meanwhile.

    Parameters
    ----------
    process : psutil.Process
        It is not ended itself.
    """
    import psutil

    for act in ("suspend", "suspend", "kill"):
        with contextlib.suppress(psutil.NoSuchProcess):
            for below in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    getattr(below, act)()


def _end_with(runner: int, sockets: str) -> None:
    """Exit when the runner has ended: nobody would publish this report."""
    import psutil

    while os.getppid() == runner:
        time.sleep(0.2)
    end_below(psutil.Process())
    shutil.rmtree(sockets, ignore_errors=True)
    os._exit(1)


def _execute(spec: dict[str, Any]) -> int:
    from workbook import execution

    work, notebook = Path(os.environ["INFOLIB_REPORT"]), Path(spec["notebook"])
    try:
        execution.execute(notebook, spec["parameters"], work, spec["sockets"], spec["position"])
    except Exception as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error) or type(error).__name__)  # without terminal colours
        for folder in (work, Path(spec["sockets"])):  # the second where the disk of the first is full
            with contextlib.suppress(OSError):
                (folder / "error.txt").write_text(text, encoding="utf-8")
                break
        return 1
    return 0


if __name__ == "__main__":
    SPEC = json.loads(sys.argv[1])
    threading.Thread(target=_end_with, args=(SPEC["runner"], SPEC["sockets"]), daemon=True).start()
    sys.exit(_execute(SPEC))
