"""Predict by JAX, in batches of few sizes, so that few programs are ever compiled.

Dimension keys: B images, K classes.
"""

from __future__ import annotations

import operator
import threading
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np
import numpy.typing as npt

from ferjax import hardware
from ferjax.nets.forward import inference, with_prepared
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head
from ferjax.xla import begin_keeping, compiler_options

if TYPE_CHECKING:
    from ferjax.nets.network import Network

# Batches are padded to the next of these sizes.
_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LARGEST_BATCH: Final = _BATCH_SIZES[-1]
# On CPUs larger ones are slower, for their feature maps do not stay in the cache: fer_cnn8 takes
# 3.3 ms an image in batches of 8, 3.8 in batches of 64.
_LARGEST_ON_CPU: Final = 8
_MOST_AT_ONCE: Final = 8  # batches, each with some 30 MB of feature maps


def largest_batch() -> int:
    """Return how many images are best computed at once on the default device.

    Raises:
        BackendError: there is no default device.
    """
    hardware.check_backend()
    return _LARGEST_ON_CPU if jax.default_backend() == "cpu" else LARGEST_BATCH


def batches_at_once() -> int:
    """Return how many batches are best computed at the same time on the default device.

    On CPUs one for each core: of a single batch small products keep one core busy alone. On two
    cores `fer_cnn8` takes 1.4 to 1.9 ms an image batch by batch, 1.25 with two at a time.

    Raises:
        BackendError: there is no default device.
    """
    hardware.check_backend()
    config: Any = jax.config
    if jax.default_backend() != "cpu" or config.jax_default_device is not None:
        return 1  # other threads would not know of a `with jax.default_device(...)`
    return min(hardware.cores(), _MOST_AT_ONCE)


class Compiled:
    """A network's probabilities on the default device; belongs to a process."""

    def __init__(self, network: Network | Graph, head: Head) -> None:
        graph = _plain_graph(network)

        def probabilities(variables: Any, images: jax.Array) -> Any:
            if graph is not None:
                return head.probabilities(inference(graph, variables, images))
            return head.probabilities(network.apply(variables, images))  # type: ignore[union-attr]

        begin_keeping()
        self._graph = graph
        # Variables, and what was made of them, for single images and for batches.
        self._last: dict[int, tuple[list[Any], Any]] = {}
        self._probabilities = probabilities
        self._jitted: dict[bool, Any] = {}  # by whether it is compiled quickly
        self._sizes: set[int] = set()  # for which the program is compiled
        self._compiling = threading.Lock()

    def __call__(
        self, variables: Any, batch: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.floating[Any]]:
        """Return probabilities, (B, K), of at most `LARGEST_BATCH` preprocessed images."""
        count = len(batch)
        size = next(size for size in _BATCH_SIZES if size >= count)
        if size > count:
            batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), np.float32)])
        if size in self._sizes:
            return self._computed(variables, batch)[:count]
        with self._compiling:  # by whichever thread comes first
            rows = self._computed(variables, batch)
        self._sizes.add(size)
        return rows[:count]

    def _computed(
        self, variables: Any, batch: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.floating[Any]]:
        # GPUs would otherwise multiply in TF32, which is as far from Keras as 1e-3.
        compute = self._program(is_quick=len(batch) < _LARGEST_ON_CPU)
        with jax.default_matmul_precision("highest"), jax.enable_x64(False):
            return np.asarray(compute(self._prepared(variables, len(batch)), batch))

    def _program(self, *, is_quick: bool) -> Any:
        if is_quick not in self._jitted:
            options = compiler_options(is_quick=is_quick)
            self._jitted[is_quick] = jax.jit(self._probabilities, compiler_options=options)
        return self._jitted[is_quick]

    def _prepared(self, variables: Any, size: int) -> Any:
        """Return the variables with what is made of them alone, anew where they are others."""
        if self._graph is None:
            return variables
        largest = 1 if size == 1 else largest_batch()
        given, prepared = self._last.get(largest, ([], None))
        arrays = jax.tree.leaves(variables)
        if len(arrays) != len(given) or any(map(operator.is_not, arrays, given)):
            prepared = with_prepared(self._graph, variables, largest)
            # NumPy's can be written to meanwhile.
            kept = all(isinstance(array, jax.Array) for array in arrays)
            self._last[largest] = (arrays, prepared) if kept else ([], None)
        return prepared


def _plain_graph(network: Network | Graph) -> Graph | None:
    """Return the graph; None for a network of one's own, which may do anything."""
    if isinstance(network, Graph):
        return network
    from ferjax.nets.network import Network

    return network.graph if type(network) is Network else None
