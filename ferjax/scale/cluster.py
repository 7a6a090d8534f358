"""Ray, on this machine or a cluster: connect to it, keep it quiet, say what it can give.

What Ray says goes to stdout and stderr in paragraphs; here it comes down to a line, or is an error.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ferjax import hardware, temporary
from ferjax.errors import FerjaxError, causes, first_line, printable

# At a part, whose worker may die of it. After the first death each picture that is to blame takes
# two more, see `attempts`: three of them in a part are left out.
ATTEMPTS: Final = 8

_CONNECT_TIMEOUT: Final = 5.0  # seconds
_OBJECT_STORE: Final = 200_000_000  # bytes that Ray shares among processes; its least is 75 MB
_ENVIRONMENT: Final = {  # of Ray, where it is not set
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # as this process: by default workers come after all others
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of that
}
_LONGEST_FOLDER: Final = 40  # letters of Ray's folder, whose sockets' names are limited
_LEAST_GPUS: Final = 1e-4  # that Ray can give


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where a run computes, and by how many processes.

    Attributes:
        address: of a Ray cluster, as `ray.init` takes it; None: RAY_ADDRESS, or else this machine.
        workers: how many processes; None: one for each core.
        gpus: for each worker, perhaps a part of one.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0

    @property
    def where(self) -> str:
        """The address, or that of RAY_ADDRESS, or "local"."""
        if self.address is not None:
            return self.address
        return os.environ.get("RAY_ADDRESS") or "local"

    def check(self) -> None:
        """Raise where nothing listens at the address; Ray itself would wait for minutes.

        Raises:
            FerjaxError: nothing does, or it is no address; or Ray has no such part of GPUs.
        """
        if 0 < self.gpus < _LEAST_GPUS or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise FerjaxError(
                "expected a whole number of GPUs, or a part of one, for --gpus, got "
                f"{self.gpus:.10g}"
            )
        check_address(self.where, "RAY_ADDRESS" if self.address is None else "--address")


@dataclass(frozen=True)
class Pool:
    """How many workers there are, and what each is given."""

    workers: int
    cpus: float
    gpus: float


def require_ray() -> Any:
    """Return the package `ray`, which is to say nothing to its maker.

    Raises:
        FerjaxError: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise FerjaxError(
            'runs on Ray take Ray Data, which is not installed: pip install "ferjax[ray]"'
        ) from None
    return ray


def check_address(address: str, name: str = "--address") -> None:
    """Raise where nothing listens at the address of a cluster.

    Args:
        address: as `ray.init` takes it.
        name: of the option or variable that has it.

    Raises:
        FerjaxError: nothing does, or it is no address.
    """
    if address in ("auto", "local"):
        return
    if address.startswith("ray://"):
        raise FerjaxError(
            f"expected HOST:PORT or auto for {name}, got {address!r}; Ray Data does not run "
            "through Ray's client, call ferjax on a machine of the cluster"
        )
    host, colon, port = address.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 1 << 16
    if not (colon and host and is_port):
        raise FerjaxError(f"expected HOST:PORT or auto for {name}, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT).close()
    except (OSError, ValueError) as error:  # no name of a host, such as a..b
        reason = getattr(error, "strerror", None) or first_line(error)
        raise FerjaxError(f"{printable(address)}: no Ray is reached there ({reason})") from None


class _RayOutput(io.TextIOBase):
    """Takes the place of stdout, where Ray says what is wrong in paragraphs."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._is_noting = False  # what that prints is not heard

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not self._is_noting:
            self._is_noting = True
            try:
                if "worker died" in text:
                    self._note("a worker died; its part is done again")
            finally:
                self._is_noting = False
        return len(text)


@contextmanager
def connected(options: ClusterOptions, note: Callable[[str], None]) -> Iterator[tuple[Any, Pool]]:
    """Yield `ray`, connected, and the workers that there may be.

    Args:
        options: which cluster, and how many workers.
        note: called with what Ray says that goes wrong.

    Raises:
        FerjaxError: it cannot be reached, or whatever stops it.
    """
    ray = require_ray()
    _be_quiet(ray)
    address = options.where
    is_local = address == "local"
    with ExitStack() as stack:
        arguments = stack.enter_context(_local_arguments(options)) if is_local else {}
        try:
            with _silenced():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **arguments,
                )
        except Exception as error:
            hint = ""
            if address not in ("auto", "local"):  # where something listens, see `check_address`
                hint = "; a cluster that asks for a token takes that of RAY_AUTH_TOKEN"
            raise FerjaxError(
                f"{printable(address)}: no Ray is reached there ({first_line(error)}){hint}"
            ) from error
        stack.enter_context(redirect_stdout(_RayOutput(note)))
        stack.callback(ray.shutdown)
        _be_quiet(ray)
        try:
            yield ray, _pool(ray, options, is_local=is_local)
        except ray.exceptions.RayError as error:
            raise FerjaxError(_explained(error)) from error


@contextmanager
def _local_arguments(options: ClusterOptions) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `ray.init` for this machine, and keep what they take ready."""
    arguments = {
        "num_cpus": max(hardware.cores(), options.workers or 1),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
    # Killed runs leave theirs, with Ray's logs, until the next.
    with temporary.folder("ferjax-ray-") as folder, _path_for_workers():
        short = {"_temp_dir": str(folder)} if len(str(folder)) <= _LONGEST_FOLDER else {}
        yield {**arguments, **short}


def _pool(ray: Any, options: ClusterOptions, *, is_local: bool) -> Pool:
    """Return what a cluster has for the workers."""
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    if options.gpus > 0 and gpus < options.gpus:
        raise FerjaxError(f"expected a cluster with {options.gpus:g} GPUs for --gpus, got {gpus:g}")
    workers = options.workers
    if workers is None:
        workers = int(gpus / options.gpus + _LEAST_GPUS) if options.gpus else int(cpus)
        workers = max(1, workers)
    if options.gpus and workers * options.gpus > gpus + _LEAST_GPUS:
        raise FerjaxError(
            f"expected a cluster with {workers * options.gpus:g} GPUs for {workers} workers, got "
            f"{gpus:g}"
        )
    share = cpus / workers if is_local else min(1.0, cpus / workers)
    # Ray takes whole cores, or hundredths of one; with more some would wait for ever.
    share = float(int(share)) if share >= 1 else int(share * 100) / 100
    return Pool(workers, share, options.gpus)


def _be_quiet(ray: Any) -> None:
    """Keep Ray's own words and progress off stderr."""
    for name in ("ray", "ray.data", "ray.serve", "ray.tune"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
        for handler in logger.handlers:
            handler.setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep off stderr what Ray's C++ says, which no setting keeps from it."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _path_for_workers() -> Iterator[None]:
    """Have the processes that are begun here find the ferjax that this one has."""
    root = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def _explained(error: Exception) -> str:
    """Return what an error of Ray's comes down to, in a line."""
    text = str(error)
    if "No module named 'ferjax" in text:
        return "the cluster's workers have no ferjax; install the same version on all machines"
    for cause in causes(error):
        if isinstance(cause, FerjaxError):
            return str(cause)
    name = type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = printable(lines[-1] if lines else name, 300)
    if "error raised in its creation task" in text:
        return f"Ray: a worker cannot begin: {reason}"
    if any(word in name for word in ("Died", "Unavailable", "Crashed", "OutOfMemory")):
        return (
            f"Ray: a worker died {ATTEMPTS} times at the same part ({name}); --resume goes on "
            "with the others"
        )
    return f"Ray: {name}: {reason}"
