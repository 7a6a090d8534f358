"""Write a network and its weights as ONNX, for ONNX Runtime and what else reads that format.

The model takes what the network takes, float32 images as ferjax preprocesses them, and gives its
probabilities. The labels and what else is known of the weights go into its metadata.

examples:
  ferjax export emotions.onnx
  ferjax export --weights runs/fast/best.h5 emotions.onnx
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ferjax.cli.options import add_architecture, add_labels, add_output, add_weights
from ferjax.errors import WriteError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="OUT.onnx")
    add_weights(parser)
    add_architecture(parser)
    add_output(parser)
    add_labels(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def run(args: argparse.Namespace) -> int:
    from ferjax import onnx, released, weights
    from ferjax.nets.head import checked_labels
    from ferjax.nets.known import recognise

    # Whoever takes OUT for the weights must not lose them.
    if not args.target.lower().endswith(".onnx"):
        raise WriteError(
            f"{args.target}: expected a name that ends in .onnx; --weights names the file to read"
        )
    source = released.path_of(args.weights)
    model = weights.read(source, args.config, args.architecture, output=args.output)
    labels = model.labels
    if args.labels is not None:
        labels = checked_labels(args.labels, model.graph)
    elif labels is None:
        network = recognise(model.graph)
        fitting = f"{network.order} (the order of {network.name}) " if network else ""
        model.notes.append(f"no class names are stored; --labels {fitting}stores them")
    onnx.save(args.target, model.graph, model.variables, labels=labels, metadata=model.metadata)
    for note in model.notes:
        print(f"ferjax: note: {note}", file=sys.stderr)
    size = Path(args.target).stat().st_size
    if args.json:
        document = {
            "source": str(source),
            "kind": model.kind,
            "target": args.target,
            "parameters": model.graph.num_params,
            "opset": onnx.OPSET,
            "ir_version": onnx.IR_VERSION,
            "bytes": size,
            "labels": labels,
        }
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{source} ({model.kind}) -> {args.target} (onnx, opset {onnx.OPSET}): "
            f"{model.graph.num_params:,} parameters, {size / 1e6:.1f} MB"
        )
    return 0
