"""Options that several commands share."""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from ferjax import background, digests, hub, released
from ferjax.cli import process
from ferjax.emotions import ORDERS
from ferjax.errors import FerjaxError, ImageError, PriorError, printable

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_PRIOR: Final = "training"  # `priors.TRAINING`


def add_command(commands: Any, name: str, module: ModuleType) -> argparse.ArgumentParser:
    """Add a command: its module's docstring is the help, `add_arguments` adds its options.

    That is left to the time when it is the one that is called.
    """
    text = _docstring(module)
    command = commands.add_parser(
        name,
        help=text.partition("\n")[0],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_options = module.add_arguments
    return cast(argparse.ArgumentParser, command)


def _docstring(module: ModuleType) -> str:
    """Return a module's docstring, from its source where `python -OO` has stripped it."""
    if module.__doc__ is not None:
        return module.__doc__
    try:
        source = inspect.getsource(module)
        # Not `ast.parse`, which from Python 3.14 on strips docstrings too.
        tree = compile(source, module.__name__, "exec", ast.PyCF_ONLY_AST, optimize=0)
        return ast.get_docstring(cast(ast.Module, tree), clean=False) or ""
    except OSError:  # compiled modules alone
        return ""


def keeps_programs(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Have a command's `run` keep for the next call what is compiled or optimised."""

    @functools.wraps(run)
    def keeping(args: argparse.Namespace) -> int:
        # The cache's key is the weight file's hash: it is computed while NumPy is imported.
        with digests.precomputing(_weight_file(args)):
            from ferjax import session_cache
            from ferjax.xla import compile_cache

            with compile_cache(), session_cache.keeping():
                return run(args)

    return keeping


def _weight_file(args: argparse.Namespace) -> Path | None:
    """Return the weight file to hash ahead; None by JAX, for a hub's address, or without one."""
    weights = getattr(args, "weights", None)
    if getattr(args, "engine", None) == "jax":
        return None
    try:
        return None if hub.parse(weights) is not None else released.path_of(weights)
    except (FerjaxError, OSError, ValueError):  # which loading says
        return None


def add_weights(parser: argparse._ActionsContainer) -> None:
    """Add `--weights`, a path or None."""
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="any weight file of Keras or Flax; of those that ferjax brings, "
        f"{' or '.join(released.NAMES)}; of a hub its address, hf://owner/name[/file] or "
        f"kaggle://owner/model[/...] (default: {released.DEFAULT})",
    )


def add_measured(parser: argparse._ActionsContainer, *, or_table: bool = False) -> None:
    """Add the options that say which weights are measured on which prepared faces.

    Args:
        or_table: whether a table of what was predicted may stand in their place; --labels is a text
            then, which may name a file.
    """
    add_weights(parser)
    if or_table:
        parser.add_argument(
            "--labels",
            metavar="A,B,...|ORDER|FILE.csv",
            help=f"with --data, {_labels_help()}; with TABLE, a list of path and label (default: "
            "the names of the pictures' folders)",
        )
    else:
        add_labels(parser)
    add_value_range(parser, "as the metadata or the layers say")
    add_output(parser)
    parser.add_argument(
        "--data", required=not or_table, metavar="DIR", help="what `ferjax data prepare` made"
    )


def add_classifier(parser: argparse._ActionsContainer) -> None:
    """Add the options that say what predicts, which `load_classifier` takes."""
    add_weights(parser)
    add_architecture(parser)
    add_output(parser)
    add_labels(parser)
    add_value_range(parser, "as its layers say; 0 1")
    parser.add_argument(
        "--engine",
        choices=("auto", "jax", "onnx"),
        default="auto",
        help="what computes; onnx is ONNX Runtime (default: auto, JAX on an accelerator, on CPUs "
        "ONNX Runtime, and JAX for what that cannot do)",
    )


def load_classifier(args: argparse.Namespace) -> EmotionClassifier:
    """Return the classifier that the options of `add_classifier` say."""
    import ferjax

    classifier = ferjax.load(**classifier_arguments(args))
    if process.was_interrupted():  # an import dropped it
        raise KeyboardInterrupt
    return classifier


@contextlib.contextmanager
def preparing(
    classifier: EmotionClassifier, args: argparse.Namespace, *, threads: int | None = None
) -> Iterator[None]:
    """Open the session of ONNX Runtime in a thread, while the block reads images and predicts.

    Not JAX, whose import keeps others from computing, and goes on where no image can be read.

    Args:
        threads: as for the `predict_batch` in the block.
    """
    from ferjax.prediction_engines import may_suit_onnx

    def prepare() -> None:
        with contextlib.suppress(Exception):  # the prediction meets and reports it
            classifier.prepare(threads=threads)

    if not may_suit_onnx(args.engine):
        yield
        return
    prepared = background.begin(prepare, "ferjax-prepare")
    try:
        yield
    finally:
        if prepared is not None:
            prepared.wait()


def classifier_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `ferjax.load` that the options of `add_classifier` say."""
    return {
        "path": args.weights,
        "config": args.config,
        "architecture": args.architecture,
        "output": args.output,
        "labels": args.labels,
        "value_range": value_range_of(args),
        "training_frequencies": getattr(args, "training_frequencies", None),  # not every command's
        "engine": args.engine,
    }


def add_confidence(parser: argparse._ActionsContainer) -> None:
    """Add --calibrated and --abstain-below."""
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="apply the temperature, and the offsets if any, stored with the weights",
    )
    parser.add_argument(
        "--abstain-below",
        type=fraction,
        default=0.0,
        metavar="P",
        help="give no label below this confidence, in [0, 1] (default: 0, always give one)",
    )


def add_face_resize(parser: argparse._ActionsContainer) -> None:
    """Add --resize, of faces that are found in pictures."""
    parser.add_argument(
        "--resize",
        choices=("area", "linear"),
        default="area",
        help="how a face comes to the network's size: by the mean of its pixels, or bilinear as "
        "published, which skips pixels of large faces (default: area)",
    )


def add_going_on(parser: argparse._ActionsContainer, replaced: str) -> None:
    """Add --resume and --force; `replaced` says what the latter replaces."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--resume", action="store_true", help="go on where an interrupted run was, if there is one"
    )
    group.add_argument("--force", action="store_true", help=f"replace {replaced}")


def add_prior(parser: argparse._ActionsContainer) -> None:
    """Add --prior and --training-frequencies."""
    parser.add_argument(
        "--prior",
        type=_prior,
        default=_PRIOR,
        metavar="training|uniform|adapt|CLASS=SHARE,...",
        help="how common each class is among such faces: as in training, as the others, as is "
        "estimated from all faces given, or as is stated for every class; but for training, "
        "probabilities are calibrated where the weights have a calibration (default: training)",
    )
    add_training_frequencies(parser)


def add_training_frequencies(parser: argparse._ActionsContainer) -> None:
    """Add --training-frequencies."""
    parser.add_argument(
        "--training-frequencies",
        type=_shares,
        metavar="CLASS=SHARE,...",
        help="how common each class was in training, which other priors need (default: as the "
        "metadata says)",
    )


def _prior(text: str) -> str | dict[str, float]:
    if text == _PRIOR:  # argparse reads the default too, in every call: NumPy is imported later
        return text
    from ferjax import priors

    try:
        return priors.parse(text)
    except PriorError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _shares(text: str) -> dict[str, float]:
    prior = _prior(text)
    if isinstance(prior, str):
        raise argparse.ArgumentTypeError(f"expected CLASS=SHARE,... of each class, got {prior!r}")
    return prior


def check_given(paths: Sequence[str]) -> None:
    """Raise where none of the images and folders that were given exists.

    Where one does, the others are named as they are read.

    Raises:
        ImageError: there is nothing at any of the paths.
    """
    if all(map(_is_missing, paths)):
        from ferjax.filesystems import is_address, shown  # imports NumPy

        others = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        hint = "; without --on ray only local files are read" if is_address(paths[0]) else ""
        raise ImageError(f"{printable(shown(paths[0]))}{others}: no such file{hint}")


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return path != ""  # of which reading says more
    except (OSError, ValueError):
        pass
    return False


def note_unread_images(paths: Sequence[str]) -> None:
    """Say on stderr which photographs in folders are left out, for want of a reader."""
    from ferjax.image_files import find_unread_images

    unread = find_unread_images(paths)
    if unread:
        print(
            f"ferjax: note: photographs in formats that are not read: {len(unread):,}, "
            f"such as {printable(os.fspath(unread[0]))}; left out, save them as JPEG",
            file=sys.stderr,
        )


def add_architecture(parser: argparse._ActionsContainer) -> None:
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


def add_output(parser: argparse._ActionsContainer) -> None:
    """Add --output."""
    parser.add_argument(
        "--output",
        metavar="NAME|NUMBER",
        help="which output of a model of several, such as emotion beside age: by name, or by "
        "number from 0; `ferjax inspect` lists them",
    )


def add_labels(parser: argparse._ActionsContainer) -> None:
    """Add --labels."""
    parser.add_argument(
        "--labels",
        metavar="A,B,...|ORDER",
        type=label_list,
        help=_labels_help(),
    )


def _labels_help() -> str:
    return (
        f"class names in output order, or an order by its name: {order_names()} (default: those "
        "that travel with the weights, or a known network's)"
    )


def add_reports(parser: argparse._ActionsContainer) -> None:
    """Add --report and --other-seeds, of which a card is made."""
    parser.add_argument(
        "--report",
        dest="reports",
        action="extend",
        nargs="+",
        default=[],
        metavar="REPORT.json",
        help="of `ferjax evaluate --out` with these weights; may be several, the main one first",
    )
    parser.add_argument(
        "--other-seeds",
        action="extend",
        nargs="+",
        default=[],
        metavar="METADATA.json",
        help="metadata beside weights that the same recipe gave with other seeds, to be compared "
        "on the card",
    )


def add_runtime(parser: argparse._ActionsContainer) -> None:
    """Add --runtime."""
    parser.add_argument(
        "--runtime",
        metavar="PATH",
        help="ONNX Runtime Web, by which the page computes: the tarball of its npm package, or a "
        "folder with its files",
    )


def order_names() -> str:
    """Return the names of the orders of emotions, as a list in a sentence."""
    *names, last = ORDERS
    return f"{', '.join(names)} or {last}"


def label_list(text: str) -> list[str]:
    """Split comma-separated names; the name of an order is one."""
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise argparse.ArgumentTypeError("expected names separated by commas, or an order's name")
    return labels


def add_value_range(parser: argparse._ActionsContainer, default: str) -> None:
    """Add --value-range; `default` says what is taken without it."""
    parser.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("BLACK", "WHITE"),
        help=f"what the network expects black and white to be (default: {default})",
    )


def value_range_of(args: argparse.Namespace) -> tuple[float, float] | None:
    """Return the numbers of --value-range, or None without it."""
    if args.value_range is None:
        return None
    black, white = args.value_range
    if not -math.inf < black < white < math.inf:
        raise FerjaxError(f"expected BLACK below WHITE for --value-range, got {black} {white}")
    return black, white


def count(text: str) -> int:
    """Read an integer from 1 on."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected an integer from 1 on, got {text!r}")
    return int(text)


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    return _number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def pixels(text: str) -> float:
    """Read a positive number of pixels."""
    return _number(text, "a positive number of pixels", lambda value: 0 < value < math.inf)


def port(text: str) -> int:
    """Read the number of a port, or 0 for any that is free."""
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """Read a positive number."""
    return _number(text, "a positive number", lambda value: 0 < value < math.inf)


def seconds(text: str) -> float:
    """Read seconds from 0 on."""
    return _number(text, "seconds from 0 on", lambda value: 0 <= value < math.inf)


def _number(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    with contextlib.suppress(ValueError):
        if fits(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
