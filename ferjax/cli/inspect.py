"""Show what a weight file holds, and what in it ferjax cannot use.

A file without class names may be of a network whose order is known. With --data the order is
measured: which class each output stands for, by what the network says of labelled faces.

The exit code is 1 if ferjax cannot use the file.

examples:
  ferjax inspect checkpoints/fer_cnn5.h5
  ferjax inspect emotion_model.hdf5 --data emotion-detection-fer.zip
"""

from __future__ import annotations

import argparse
import json
import shlex
from typing import TYPE_CHECKING, Any

from ferjax.cli.options import add_architecture, add_output, add_value_range, value_range_of
from ferjax.cli.progress import reported
from ferjax.emotions import ORDERS
from ferjax.errors import FerjaxError, LayerError, printable

if TYPE_CHECKING:
    from ferjax.evaluate import LabelOrder
    from ferjax.evaluate.label_order import Candidate
    from ferjax.keras import Inspection
    from ferjax.nets.graph import Graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    add_architecture(parser)
    add_output(parser)
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="tell the order of the classes by these labelled faces: what `ferjax data prepare` "
        "made, or anything that it takes",
    )
    add_value_range(parser, "as its layers say, or a known network's source; with --data alone")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax.weights import inspect

    value_range = value_range_of(args)
    if value_range is not None and args.data is None:
        raise FerjaxError("--value-range is for --data, which measures with it: give both")
    inspection = inspect(args.file, args.config, args.architecture, output=args.output)
    described = describe(inspection)
    measured = None
    if args.data is not None and inspection.model is not None:
        measured = _measured(args, value_range)
        described["label_order"] = measured.to_json()
    if args.json:
        print(json.dumps(described, indent=2))
    else:
        _print(described, inspection)
    if measured is not None and not args.json:
        _print_order(measured)
    return 0 if inspection.model is not None else 1


def _measured(args: argparse.Namespace, value_range: tuple[float, float] | None) -> LabelOrder:
    from ferjax.evaluate.label_order import label_order
    from ferjax.xla import compile_cache

    with compile_cache(), reported() as progress:
        return label_order(
            args.file,
            args.data,
            config=args.config,
            architecture=args.architecture,
            output=args.output,
            value_range=value_range,
            progress=progress,
        )


def describe(inspection: Inspection) -> dict[str, Any]:
    """Return an inspection as JSON values."""
    described: dict[str, Any] = {
        "path": inspection.path,
        "kind": inspection.kind,
        "keras_version": inspection.keras_version,
        "usable": inspection.model is not None,
        "problems": inspection.problems,
    }
    if inspection.model is not None:
        graph, state = inspection.model.graph, inspection.model.optimizer_state
        several = not inspection.has_one_output
        described |= {
            "name": graph.name,
            "input_shape": graph.input_shape,
            "output_shape": None if several else graph.output_shape,
            "outputs": [{"name": o.name, "shape": o.shape} for o in inspection.model.outputs],
            "classes": None if several else _classes(graph)[0],
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
            "labels": inspection.model.labels,
            "recognised": None if several else _recognised(inspection.model.graph),
            "optimizer": None if state is None else {"name": state.name, "step": state.step},
            "notes": inspection.model.notes,
        }
    return described


def _classes(graph: Graph) -> tuple[int | None, str]:
    """Return how many classes a network tells apart, None where it does not, and that in words."""
    from ferjax.nets.head import Head

    try:
        head = Head.of(graph)
    except LayerError as error:
        return None, f"none: {error}"
    if head.is_single_unit:
        return head.num_classes, "2, by one unit: the probability of the second"
    return head.num_classes, str(head.num_classes)


def _recognised(graph: Graph) -> dict[str, Any] | None:
    """Return which known network it is, as JSON values."""
    from ferjax.nets.known import recognise

    network = recognise(graph)
    names = ("name", "order", "labels", "value_range", "source")
    return None if network is None else {name: getattr(network, name) for name in names}


def _print(described: dict[str, Any], inspection: Inspection) -> None:
    from ferjax.keras import KINDS
    from ferjax.nets.summary import summary

    print(f"file:      {described['path']}")
    if described["kind"] is not None:  # else the problem says what it is, or that it was not had
        print(f"kind:      {described['kind']}")
    if described["kind"] in KINDS:
        print(f"Keras:     {described['keras_version'] or 'version not stated'}")
    if inspection.model is None:
        for problem in inspection.problems:
            print(f"unusable:  {problem}")
        return
    optimizer = described["optimizer"]
    labels, network = described["labels"], described["recognised"]
    state = f"{optimizer['name']}, {optimizer['step']} steps" if optimizer else "none"
    print(f"optimizer: {state}")
    print(f"labels:    {printable(', '.join(labels)) if labels else 'none'}")
    outputs = inspection.model.outputs
    for number, output in enumerate(outputs if len(outputs) > 1 else ()):
        print(f"output {number}:  {output}")
    if inspection.has_one_output:
        print(f"classes:   {_classes(inspection.model.graph)[1]}")
    else:
        print("note:      --output NAME or NUMBER chooses among them")
    if network is not None:
        low, high = network["value_range"]
        order = f" ({network['order']})" if network["order"] in ORDERS else ""
        print(
            f"network:   {network['name']}: {', '.join(network['labels'])}{order}, "
            f"images in [{low:g}, {high:g}]; {network['source']}"
        )
    elif not labels and described["classes"] is not None:
        print("note:      no class names: --labels gives them, --data FACES tells their order")
    for note in described["notes"]:
        print(f"note:      {note}")
    print(summary(inspection.model.graph))


def _print_order(measured: LabelOrder) -> None:
    def line(c: Candidate) -> str:
        order = f" ({c.order})" if c.order else ""
        return printable(f"{', '.join(c.labels)}{order}: {c.accuracy:.1%} right")

    low, high = measured.value_range
    print(f"\nmeasured on {measured.images:,} images, {measured.data}, in [{low:g}, {high:g}]")
    print(f"best:      {line(measured.best)}")
    if measured.runner_up is not None:
        print(f"runner-up: {line(measured.runner_up)}")
    for candidate in measured.orders:
        if candidate.labels != measured.best.labels:
            print(f"order:     {line(candidate)}")
    if measured.agrees is False and measured.clear:
        print("note:      the names that the weights have are in another order")
    if measured.clear:
        print(f"clear:     yes; --labels {printable(shlex.quote(measured.argument))}")
    else:
        print(printable(f"clear:     no: {'; '.join(measured.reasons)}"))
        print(f"at best:   --labels {printable(shlex.quote(measured.argument))}")
