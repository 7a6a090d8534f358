"""Predict with ONNX Runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ferjax import hardware, onnx_runtime
from ferjax.errors import FerjaxError, LayerError, WeightFileError, first_line
from ferjax.metadata import METADATA
from ferjax.nets.graph import Graph

if TYPE_CHECKING:
    from ferjax.nets.network import Network

_LARGEST_BATCH = 256  # bounds the memory that a call takes
# How the weights of a model come into a file of their own, which is not read but mapped.
_APART = {
    "session.optimized_model_external_initializers_file_name": "{}.weights",
    "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
}


class Engine:
    """An ONNX model, ready to run.

    Attributes:
        input_shape: of one image, without the batch axis; None where a size is open.
        output_shape: likewise, of what comes out.
        session: the `onnxruntime.InferenceSession`.
    """

    def __init__(
        self,
        model: bytes | str | os.PathLike[str],
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        arrays: Mapping[str, npt.NDArray[np.float32]] | None = None,
        optimized: Path | None = None,
        is_optimized: bool = False,
    ) -> None:
        """Open a model.

        Args:
            model: an ONNX file, or its bytes.
            arrays: what the model lacks of its own; see `ferjax.onnx.exporting.to_parts`.
            threads: how many compute one batch together; None: one for each core.
            providers: ONNX Runtime's names of what computes, the first that can first.
            optimized: where to write the model as it is run, for this kind of CPU; its weights lie
                beside it.
            is_optimized: `model` is such a file. Weights are read from wherever it says, so it must
                be one's own.

        Raises:
            WeightFileError: it is not an ONNX model from one float32 array to one.
            FerjaxError: onnxruntime is missing, or has no such provider.
        """
        runtime = _onnxruntime()
        if threads is not None and threads < 1:
            raise FerjaxError(f"expected threads of at least 1, got {threads}")
        available = runtime.get_available_providers()
        providers = [providers] if isinstance(providers, str) else list(providers)
        unknown = [name for name in providers if name not in available]
        if unknown:
            raise FerjaxError(
                f"expected providers among {', '.join(available)}, got {', '.join(unknown)}"
            )
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4  # what fails is raised, and need not be printed too
        # Threads that wait for work at full speed take it from those that decode and find faces.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if optimized is not None:
            options.optimized_model_filepath = os.fspath(optimized)
            for key, value in _APART.items():
                options.add_session_config_entry(key, value.format(optimized.stem))
        if is_optimized:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            place = content = os.fspath(cast(Any, model))
        else:
            place, content = _content(model)
        # The session may go on reading them where they are.
        self._arrays = {
            name: (array, runtime.OrtValue.ortvalue_from_numpy(array))
            for name, array in (arrays or {}).items()
        }
        try:
            if self._arrays:
                values = [value for _, value in self._arrays.values()]
                options.add_external_initializers(list(self._arrays), values)
            self.session = onnx_runtime.session(content, options, providers)
            (output,), (images,) = self.session.get_outputs(), self.session.get_inputs()
        except Exception as error:  # the runtime's errors have no common base
            reason = first_line(error)
            raise WeightFileError(place, f"not an ONNX model that can be run ({reason})") from None
        if (images.type, output.type) != ("tensor(float)", "tensor(float)"):
            raise WeightFileError(
                place, f"expected a model from float32 to float32, got {images.type}, {output.type}"
            )
        self._input, self._output = images.name, output.name
        self.input_shape = _shape(images.shape)
        self.output_shape = _shape(output.shape)

    @classmethod
    def of(
        cls,
        network: Network | Graph,
        variables: Mapping[str, Any],
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> Engine:
        """Open a network with its variables, without a file; see `ferjax.onnx.to_bytes`."""
        from ferjax.onnx.exporting import to_parts

        content, arrays = to_parts(network, variables)
        return cls(content, threads=threads, providers=providers, arrays=arrays)

    @property
    def metadata(self) -> dict[str, Any]:
        """What ferjax stored in the file: {"labels": [...], ...}; empty where it did not."""
        try:
            metadata = json.loads(
                self.session.get_modelmeta().custom_metadata_map.get(METADATA, "{}")
            )
        except ValueError:
            return {}
        return metadata if isinstance(metadata, dict) else {}

    def __call__(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return what the network gives, in its last layer's terms: probabilities, or else logits.

        Args:
            images: float32, (B, *input_shape), as preprocessed for the network; any B.

        Returns:
            float32 (B, *output_shape).
        """
        images = np.asarray(images)
        fits = len(images.shape) == len(self.input_shape) + 1 and all(
            expected in (None, size) for expected, size in zip(self.input_shape, images.shape[1:])
        )
        if not fits or images.dtype != np.float32:
            sizes = ", ".join("any" if s is None else str(s) for s in self.input_shape)
            raise LayerError(
                f"expected float32 images of shape (B, {sizes}), "
                f"got {images.dtype} of {tuple(images.shape)}"
            )
        if not len(images):
            return np.zeros((0, *(size or 0 for size in self.output_shape)), np.float32)
        parts = [
            self.session.run([self._output], {self._input: images[start : start + _LARGEST_BATCH]})
            for start in range(0, len(images), _LARGEST_BATCH)
        ]
        return np.concatenate([part for (part,) in parts])


def _content(model: bytes | str | os.PathLike[str]) -> tuple[str, bytes]:
    """Return what errors call the model, and its bytes."""
    if isinstance(model, bytes):
        return "ONNX model", model
    try:
        with open(model, "rb") as file:
            return os.fspath(model), file.read()
    except OSError as error:
        raise WeightFileError(model, f"cannot be opened ({error.strerror})") from None


def _shape(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape[1:])


def _onnxruntime() -> Any:
    try:
        return hardware.onnx_runtime()
    except ImportError:
        raise FerjaxError("running ONNX needs onnxruntime: pip install onnxruntime") from None
