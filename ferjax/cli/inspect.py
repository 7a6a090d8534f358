"""Show what a weight file holds, and what in it ferjax cannot use.

The exit code is 1 if ferjax cannot use the file.

example:
  ferjax inspect checkpoints/fer_cnn5.h5
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ferjax.cli.options import add_architecture

if TYPE_CHECKING:
    from ferjax.keras import Inspection
    from ferjax.nets.graph import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    add_architecture(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.conversion import inspect

    found = inspect(args.file, args.config, args.architecture)
    described = describe(found)
    if args.json:
        print(json.dumps(described, indent=2))
    else:
        _print(described, found)
    return 0 if found.model is not None else 1


def describe(found: Inspection) -> dict[str, Any]:
    """Return an inspection as JSON values."""
    described: dict[str, Any] = {
        "path": found.path,
        "kind": found.kind,
        "keras_version": found.keras_version,
        "usable": found.model is not None,
        "problems": found.problems,
    }
    if found.model is not None:
        graph, state = found.model.graph, found.model.optimizer_state
        described |= {
            "name": graph.name,
            "input_shape": graph.input_shape,
            "output_shape": graph.output_shape,
            "classes": _classes(graph)[0],
            "value_range": graph.value_range,
            "parameters": graph.num_params,
            "layers": [
                {
                    "name": layer.name,
                    "class": layer.kind,
                    "weights": {
                        w.keras_names[0]: w.shape for w in graph.weights.get(layer.name, ())
                    },
                }
                for layer in graph.layers
            ],
            "labels": found.model.labels,
            "optimizer": None if state is None else {"name": state.name, "step": state.step},
            "notes": found.model.notes,
        }
    return described


def _classes(graph: Graph) -> tuple[int | None, str]:
    """Return how many classes a network tells apart, None where it does not, and that in words."""
    from ferjax.errors import LayerError
    from ferjax.nets.head import Head

    try:
        head = Head.of(graph)
    except LayerError as error:
        return None, f"none: {error}"
    if head.is_single_unit:
        return head.num_classes, "2, by one unit: the probability of the second"
    return head.num_classes, str(head.num_classes)


def _print(described: dict[str, Any], found: Inspection) -> None:
    from ferjax.errors import printable
    from ferjax.keras import KINDS
    from ferjax.nets.summary import summary

    print(f"file:      {described['path']}")
    print(f"kind:      {described['kind'] or 'not a weight file'}")
    if described["kind"] in KINDS:
        print(f"Keras:     {described['keras_version'] or 'version not stated'}")
    if found.model is None:
        for problem in found.problems:
            print(f"unusable:  {problem}")
        return
    optimizer = described["optimizer"]
    labels = described["labels"]
    state = f"{optimizer['name']}, {optimizer['step']} steps" if optimizer else "none"
    print(f"optimizer: {state}")
    print(f"labels:    {printable(', '.join(labels)) if labels else 'none'}")
    print(f"classes:   {_classes(found.model.graph)[1]}")
    for note in described["notes"]:
        print(f"note:      {note}")
    print(summary(found.model.graph))
