"""What computes a network's probabilities: JAX, or ONNX Runtime.

Where none is named JAX computes on an accelerator, and on CPUs ONNX Runtime, which takes less time
there for a single image and less than half for a start; but JAX what only JAX can: layers without a
counterpart in ONNX, a module of one's own, and where a program asks for float64 by
`jax_enable_x64`.

Dimension keys: B images, K classes; H, W, C of the network's input, in its order of axes.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ferjax import collector, hardware
from ferjax.errors import FerjaxError, LayerError
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head
from ferjax.nets.variables import arrays_of, read_only
from ferjax.session_cache import Kept

if TYPE_CHECKING:
    from ferjax.nets.network import Network
    from ferjax.onnx.engine import Engine

AUTO, JAX, ONNX = "auto", "jax", "onnx"
ENGINES: Final = (AUTO, JAX, ONNX)

# Images up to which JAX uses the program that compiles fast. On two cores of an Intel Xeon the
# usual one makes up for its compiling after some 500 single images of `fer_cnn8` (2 to 3 ms less
# each, 1.3 s longer to compile), or 1,500 in batches of eight (30 ms a batch instead of 60, 5.5 s
# longer). Half of the former, for code that is kept is compiled only once.
_FEW: Final = 256
_ONNX_BATCH: Final = 32  # images that ONNX Runtime gets at once; it is no faster with more

Float32Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.floating[Any]]
Variables = Mapping[str, Any]


class Predictor:
    """A network with its variables, whatever computes it.

    What computes is made at the first prediction, for a process of its own: a process may load, and
    fork workers, before and after it predicts. So it is where `variables` are replaced.

    Attributes:
        graph: the network.
        head: how its outputs become probabilities.
        asked: one of `ENGINES`.
        threads: how many compute a batch together by ONNX Runtime; None: one for each core.
        variables: {"params", "batch_stats"}; from the first prediction on those of the engine,
            which cannot be written to.
    """

    def __init__(
        self,
        network: Network | Graph,
        head: Head,
        variables: Variables,
        asked: str,
        *,
        threads: int | None = None,
    ) -> None:
        """Make ready; nothing is computed yet.

        Raises:
            FerjaxError: there is no such engine, or `threads` is not for it; or ONNX Runtime is
                asked for, and missing, or there is no ONNX for the network.
        """
        if asked not in ENGINES:
            raise FerjaxError(f"expected an engine among {', '.join(ENGINES)}, got {asked!r}")
        if threads is not None and asked == JAX:
            raise FerjaxError(f"expected `threads` for ONNX Runtime alone, got engine {asked!r}")
        if threads is not None and threads < 1:
            raise FerjaxError(f"expected threads of at least 1, got {threads}")
        self.threads = threads
        self.graph = network if isinstance(network, Graph) else network.graph
        self.head, self.asked = head, asked
        self._variables: Variables = variables if isinstance(variables, Kept) else dict(variables)
        self._network = None if isinstance(network, Graph) else network
        self._engine: _Engine | None = None
        self._expected: int | None = None
        if asked == ONNX:
            self.engine()

    @property
    def variables(self) -> Variables:
        with _lock:
            if isinstance(self._variables, Kept):  # who has them may put others in their place
                self._variables = self._variables.variables
            return self._variables

    @variables.setter
    def variables(self, variables: Variables) -> None:
        self._variables = variables

    @property
    def expected(self) -> int | None:
        """About how many images will be predicted; None where nobody knows."""
        return self._expected

    @expected.setter
    def expected(self, images: int | None) -> None:
        self._expected = images
        if self._engine is not None:
            self._engine.expect(images)

    @property
    def network(self) -> Network:
        """The Flax module, which is made when first asked for."""
        if self._network is None:
            from ferjax.nets.network import Network

            self._network = Network(self.graph)
        return self._network

    @property
    def current(self) -> str:
        """The name of the engine, or as what it was asked for where there is none yet."""
        return self.asked if self._engine is None else self._engine.name

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process, or a copy, makes it of."""
        return {**vars(self), "_variables": self.variables, "_engine": None}

    def engine(self, threads: int | None = None) -> _Engine:
        """Return what computes.

        Args:
            threads: those of the next batch; None: the `threads` of all.

        Raises:
            BackendError: JAX has no default device.
            FerjaxError: as for making a Predictor.
        """
        engine = self._engine
        if engine is not None and engine.is_current(self._variables):
            return engine
        with _lock, collector.seldom(first="engine"):
            if self._engine is None or not self._engine.is_current(self._variables):
                self._set(self._chosen(threads or self.threads))
            assert self._engine is not None
            return self._engine

    def __call__(self, batch: Float32Array, *, threads: int | None = None) -> Rows:
        """Return probabilities, (B, K), of images, (B, H, W, C).

        Args:
            batch: at most as many as the engine's `largest_batch`.
            threads: how many compute it together, see `engine`. JAX decides by itself.
        """
        engine = self.engine(threads)
        try:
            return engine(batch, threads or self.threads)
        except LayerError:
            raise
        except Exception:
            if self.asked != AUTO or engine.name == JAX:
                raise
        with _lock:  # ONNX Runtime has no code for what the network does with such images
            self._set(JaxEngine(self._network or self.graph, self.head, self.variables))
        return self.engine()(batch, None)

    def many(self, batches: Sequence[Float32Array], *, threads: int | None = None) -> list[Rows]:
        """Return the probabilities of each of several batches, which it may compute together.

        Args:
            batches: each as for a call.
            threads: as for a call; no more batches are computed at the same time.
        """
        at_once = min(len(batches), threads or len(batches))
        if at_once > 1:
            at_once = min(at_once, self.engine(threads).batches_at_once)
        if at_once <= 1:
            return [self(batch, threads=threads) for batch in batches]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(at_once, "ferjax-predict") as pool:
            return list(pool.map(lambda batch: self(batch, threads=threads), batches))

    def _chosen(self, threads: int | None) -> _Engine:
        """Return a new engine: the one that is asked for, or that is right here."""
        if self.asked == ONNX or (self.asked == AUTO and self._suits_onnx()):
            try:
                return OnnxEngine(self.graph, self.head, self._variables, threads)
            except FerjaxError:
                if self.asked == ONNX:
                    raise
        return JaxEngine(self._network or self.graph, self.head, self.variables)

    def _suits_onnx(self) -> bool:
        if self._network is not None:
            from ferjax.nets.network import Network

            if type(self._network) is not Network:  # which may compute something else
                return False
        return not (hardware.has_float64() or hardware.has_accelerator())

    def _set(self, engine: _Engine) -> None:
        engine.expect(self._expected)
        self._variables, self._engine = engine.variables, engine


class _Engine(Protocol):
    """What computes in one process.

    Attributes:
        name: "jax" or "onnx".
        variables: what it computes with, which cannot be written to.
        largest_batch: how many images it takes at once.
        batches_at_once: how many such batches are best computed at the same time.
    """

    @property
    def name(self) -> str: ...

    @property
    def variables(self) -> Variables: ...

    @property
    def largest_batch(self) -> int: ...

    @property
    def batches_at_once(self) -> int: ...

    def is_current(self, variables: Variables) -> bool:
        """Whether it computes with these, and in this process."""

    def expect(self, images: int | None) -> None:
        """Learn about how many images will be predicted."""

    def __call__(self, batch: Float32Array, threads: int | None) -> Rows:
        """Do what `Predictor.__call__` says."""


class JaxEngine:
    """JAX on its default device, which gets the variables when this is made."""

    name = JAX

    def __init__(self, network: Network | Graph, head: Head, variables: Variables) -> None:
        """Make ready to compile; of a Graph without importing Flax.

        Raises:
            BackendError: there is no default device.
        """
        hardware.check_backend()
        from ferjax.nets.compiled import Compiled
        from ferjax.nets.packing import in_one_piece

        self.variables: Variables = in_one_piece(dict(variables))
        self._compiled = Compiled(network, head)

    @property
    def largest_batch(self) -> int:
        from ferjax.nets.compiled import largest_batch

        return largest_batch()

    @property
    def batches_at_once(self) -> int:
        from ferjax.nets.compiled import batches_at_once

        return batches_at_once()

    def is_current(self, variables: Variables) -> bool:
        self.variables = variables  # whatever they are now: what is compiled takes them as inputs
        return True

    def expect(self, images: int | None) -> None:
        self._compiled.is_few = images is not None and images <= _FEW

    def __call__(self, batch: Float32Array, threads: int | None) -> Rows:
        hardware.check_backend()  # a forked process would wait forever
        return self._compiled(self.variables, batch)


class OnnxEngine:
    """ONNX Runtime on CPUs.

    Its `variables` are views that cannot be written to: sessions, one for each number of threads,
    have copies of their own.
    """

    name = ONNX
    largest_batch = _ONNX_BATCH
    batches_at_once = 1  # its threads share one

    def __init__(self, graph: Graph, head: Head, variables: Variables, threads: int | None) -> None:
        """Open a session.

        Raises:
            FerjaxError: ONNX Runtime is missing, or there is no ONNX for the network.
        """
        self._graph, self._head = graph, head
        self._process = os.getpid()  # a session's threads are not there after a fork
        self._is_kept = isinstance(variables, Kept)  # then they may not be read yet
        self.variables: Variables = variables if self._is_kept else read_only(variables)
        self._arrays = [] if self._is_kept else arrays_of(self.variables)
        self._sessions: dict[int | None, Engine] = {}
        self._session(threads)

    def is_current(self, variables: Variables) -> bool:
        if self._process != os.getpid():
            return False
        if self._is_kept and variables is self.variables:
            return True
        mine = self.variables.arrays if isinstance(self.variables, Kept) else self._arrays
        given = arrays_of(variables)
        return len(given) == len(mine) and all(map(operator.is_, given, mine))

    def expect(self, images: int | None) -> None:
        pass  # it compiles nothing

    def __call__(self, batch: Float32Array, threads: int | None) -> Rows:
        return np.asarray(self._head.probabilities(self._session(threads)(batch)))

    def _session(self, threads: int | None) -> Engine:
        session = self._sessions.get(threads)
        if session is None:
            with _lock:
                session = self._sessions.get(threads)
                if session is None:
                    session = self._opened(threads)
                    self._sessions[threads] = session
        return session

    def _opened(self, threads: int | None) -> Engine:
        if isinstance(self.variables, Kept):
            return self.variables.session(threads)
        from ferjax.onnx.engine import Engine

        return Engine.of(self._graph, self.variables, threads=threads)


def may_suit_onnx(engine: str) -> bool:
    """Whether ONNX Runtime is likely to compute where `engine` is asked for."""
    return engine == ONNX or (engine == AUTO and not hardware.may_have_accelerator())


_lock = threading.RLock()  # of threads that want an engine or a session, each waits for the first


def _renew_lock() -> None:
    """Give a process that was forked its own: the thread that held it may not be there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
