"""Predict by JAX, in batches of few sizes, so that few programs are ever compiled.

Dimension keys: B images, K classes.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np
import numpy.typing as npt

from ferjax import collector, hardware
from ferjax.nets.forward import inference, with_prepared
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head
from ferjax.nets.packing import Packing, packed
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
    """A network's probabilities on the default device; belongs to a process.

    Attributes:
        is_few: whether few images are to be predicted: convolutions of a Graph are then `direct` on
            CPUs, see `Run`.
    """

    is_few = False

    def __init__(self, network: Network | Graph, head: Head) -> None:
        begin_keeping()
        self._network, self._head = _plain_graph(network) or network, head
        # By whether they are direct, and whether for single images; direct programs share one.
        self._last: dict[tuple[bool, bool], _Prepared] = {}
        self._jitted: dict[Packing, dict[tuple[bool, bool], Any]] = {}  # see `_Prepared.programs`
        self._sizes: set[tuple[bool, int]] = set()  # that are compiled, by whether direct
        self._compiling = threading.Lock()

    def __call__(
        self, variables: Any, batch: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.floating[Any]]:
        """Return probabilities, (B, K), of at most `LARGEST_BATCH` preprocessed images."""
        count = len(batch)
        direct = self.is_few and jax.default_backend() == "cpu"
        if (direct, count) in self._sizes:
            return self._computed(variables, batch, direct)
        size = next(size for size in _BATCH_SIZES if size >= count)
        if size > count:
            batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), np.float32)])
        if (direct, size) in self._sizes:
            return self._computed(variables, batch, direct)[:count]
        with self._compiling, collector.seldom(first="program"):  # by whichever thread comes first
            rows = self._computed(variables, batch, direct)
        self._sizes.add((direct, size))
        return rows[:count]

    def _computed(
        self, variables: Any, batch: npt.NDArray[np.float32], direct: bool
    ) -> npt.NDArray[np.floating[Any]]:
        prepared = self._prepared(variables, len(batch), direct)
        is_quick = direct or len(batch) < _LARGEST_ON_CPU
        program = prepared.programs.get((direct, is_quick))
        if program is None:
            compute = partial(_probabilities, self._network, self._head, prepared.packing, direct)
            program = jax.jit(compute, compiler_options=compiler_options(is_quick=is_quick))
            prepared.programs[direct, is_quick] = program
        if not hardware.has_float64():
            return np.asarray(program(prepared.arguments, batch))
        with jax.enable_x64(False):  # the same program
            return np.asarray(program(prepared.arguments, batch))

    def _prepared(self, variables: Any, size: int, direct: bool) -> _Prepared:
        """Return what is made of the variables, anew where they are others."""
        which = (direct, size == 1 and not direct)
        last, given = self._last.get(which), jax.tree.leaves(variables)
        if (
            last is not None
            and len(given) == len(last.given)
            and all(map(operator.is_, given, last.given))
        ):
            return last
        if isinstance(self._network, Graph):
            largest = 1 if size == 1 else largest_batch()
            variables = with_prepared(self._network, variables, largest, direct=direct)
        arguments, packing = packed(variables)
        prepared = _Prepared(given, arguments, packing, self._jitted.setdefault(packing, {}))
        if all(isinstance(array, jax.Array) for array in given):  # NumPy's may be written to
            self._last[which] = prepared
        return prepared


@dataclass(frozen=True)
class _Prepared:
    """What programs take of variables.

    Attributes:
        given: the arrays of the variables.
        arguments: what is made of them.
        packing: how they are arguments.
        programs: those that take them so, by whether convolutions are direct, and whether they were
            compiled quickly.
    """

    given: list[Any]
    arguments: list[Any]
    packing: Packing
    programs: dict[tuple[bool, bool], Any]


def _probabilities(
    network: Network | Graph,
    head: Head,
    packing: Packing,
    direct: bool,
    arguments: Sequence[jax.Array],
    images: jax.Array,
) -> Any:
    variables = packing.unpacked(arguments)
    # GPUs would otherwise multiply in TF32, which is as far from Keras as 1e-3.
    with jax.default_matmul_precision("highest"):
        if isinstance(network, Graph):
            return head.probabilities(inference(network, variables, images, direct=direct))
        return head.probabilities(network.apply(variables, images))


def _plain_graph(network: Network | Graph) -> Graph | None:
    """Return the graph; None for a network of one's own, which may do anything."""
    if isinstance(network, Graph):
        return network
    from ferjax.nets.network import Network

    return network.graph if type(network) is Network else None
