"""Options that several commands share."""

from __future__ import annotations

import argparse
import math


def add_architecture(parser: argparse.ArgumentParser) -> None:
    """Add --config and --architecture."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--config",
        metavar="FILE",
        help="architecture of a weights-only file: a model.json, or a Keras file that has one",
    )
    group.add_argument(
        "--architecture",
        metavar="NAME",
        help="architecture of a weights-only file by name: fer_cnn8 or fer_cnn5",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add --labels."""
    parser.add_argument(
        "--labels",
        metavar="A,B,...",
        type=label_list,
        help="class names in output order (default: those that travel with the weights)",
    )


def label_list(text: str) -> list[str]:
    """Split comma-separated names."""
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return labels


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value
