"""The folder of one `manage.py serve`: files that its processes share while they run.

It is in memory (tmpfs), so that a full VAR_DIR cannot reach it, and it belongs to one `serve`, so that two of
them in one VAR_DIR do not disturb each other. It holds the metrics of the processes and the flag `draining`.
"""

import os
import shutil
import tempfile
from pathlib import Path

RUNTIME_FOLDER = "RUNTIME_FOLDER"  # the environment variable that tells the processes of one `serve`
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name and mode 700 is created in it
PREFIX = "getyousite-"


def create() -> Path:
    """Create the folder. Also deletes the folders of processes that were killed."""
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for leftover in parent.glob(f"{PREFIX}*-*"):
        pid = leftover.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    metrics_folder(folder).mkdir()
    return folder


def metrics_folder(folder: Path) -> Path:
    """Return the folder of the metric files, which `prometheus_client` writes."""
    return folder / "metrics"


def environ_of(folder: Path) -> dict[str, str]:
    """Return the environment variables for the processes that use the folder."""
    return {RUNTIME_FOLDER: str(folder), "PROMETHEUS_MULTIPROC_DIR": str(metrics_folder(folder))}


def draining_flag(folder: Path) -> Path:
    """Return the file that exists while the processes are about to stop."""
    return folder / "draining"


def is_draining() -> bool:
    """Return whether this process is about to stop."""
    folder = os.environ.get(RUNTIME_FOLDER)
    return folder is not None and draining_flag(Path(folder)).exists()


def delete_gauges_of_ended_processes(metrics: Path) -> None:
    """Delete the files with gauges of processes that have ended.

    Counters stay, so that their sums never fall.
    """
    for path in metrics.glob("gauge_*.db"):
        pid = path.stem.rsplit("_", 1)[-1]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)
