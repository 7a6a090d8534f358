"""What an analysis of a film is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

import numpy as np

from ferjax.errors import PriorError
from ferjax.faces.detection import MIN_SCORE, Detector, is_number
from ferjax.faces.options import FaceOptions
from ferjax.preprocessing import ChannelOrder, Resize
from ferjax.priors import TRAINING, Prior, is_adapt
from ferjax.video.pictures import Choice
from ferjax.video.smoothing import SMOOTH, check_method
from ferjax.video.sources import latency_of
from ferjax.video.tracks import MAX_GAP

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

Region = tuple[float, float, float, float]

LOOKS: Final = 0.2  # seconds between two looks at whole frames, where nothing else is asked for
KEEP_SCORE: Final = 0.5  # with which a face continues a track


class Options(TypedDict, total=False):
    """The options of `EmotionClassifier.analyze_video`; their defaults are those of `Settings`."""

    every: int
    fps: float | None
    start: float
    end: float | None
    region: Region | None
    latency: str | None
    detect_every: int | None
    max_faces: int | None
    max_gap: float
    detector: Detector | None
    min_score: float
    min_size: float | None
    resize: Resize
    channel_order: ChannelOrder
    calibrated: bool
    prior: Prior
    abstain_below: float
    smooth: float
    smoothing: str
    transition: Any
    keep_images: bool
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an analysis of a film is asked for.

    Attributes:
        every: look at each so many frames.
        fps: instead, at so many frames a second; None: at all that `every` leaves.
        start: seconds from which on.
        end: seconds up to which; None: to the end.
        region: (x, y, width, height) in pixels of the picture as a viewer shows it; faces are found
            there alone. None: in the whole picture.
        latency: "low", each frame as it comes, for cameras; "throughput", several frames through
            the network at once; None: "low" for cameras and live streams.
        detect_every: look at each so many frames as a whole, and in those between only at where
            faces were; None: about five times a second, and with latency "low" as often as keeps up
            with the frames. With a detector of one's own faces are moved on as they moved before.
        max_faces: of each frame only so many: those that had been taken before, then the largest.
        max_gap: seconds for which a face may be unseen and keep its track.
        detector: what finds the faces, as for `ferjax.faces.detect`; None: YuNet.
        min_score: the score that a face needs to begin a track, in [0, 1]; 0.5 continues one.
        min_size: the size that a face needs, in pixels; None: any.
        resize: as for `EmotionClassifier.analyze`.
        channel_order: of a user's own arrays of three or four channels: "rgb" or "bgr".
        calibrated: as for `EmotionClassifier.predict_proba`.
        prior: likewise, but for "adapt", which needs all faces before the first result.
        abstain_below: the smoothed confidence, in [0, 1], that a label needs.
        smooth: seconds over which probabilities are smoothed; 0: not at all.
        smoothing: "exponential" or "hmm"; see `ferjax.video.smoothing`.
        transition: for "hmm", changes a second from each class to each, (K, K).
        keep_images: give each frame its picture.
        timeout: seconds after which a camera or a stream that gives nothing is given up.
    """

    every: int = 1
    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    region: Region | None = None
    latency: str | None = None
    detect_every: int | None = None
    max_faces: int | None = None
    max_gap: float = MAX_GAP
    detector: Detector | None = None
    min_score: float = MIN_SCORE
    min_size: float | None = None
    resize: Resize = "area"
    channel_order: ChannelOrder = "rgb"
    calibrated: bool = False
    prior: Prior = TRAINING
    abstain_below: float = 0.0
    smooth: float = SMOOTH
    smoothing: str = "exponential"
    transition: Any = None
    keep_images: bool = False
    timeout: float = 10.0

    def __post_init__(self) -> None:
        self.choice()
        latency_of(None, self.latency)
        for name in ("detect_every", "max_faces"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"expected an integer of at least 1 for `{name}`, got {value!r}")
        for name, least in (("max_gap", 0), ("smooth", 0), ("timeout", 1e-3)):
            value = getattr(self, name)
            if not (is_number(value) and value >= least):
                raise ValueError(f"expected seconds from {least:g} on for `{name}`, got {value!r}")
        check_method(self.smoothing)
        if self.region is not None:
            _check_region(self.region)
        if is_adapt(self.prior):
            raise PriorError(
                "expected shares by class, 'uniform' or 'training' for `prior` of a film, got "
                "'adapt', which needs all faces before the first result"
            )

    def choice(self, first: int = 0) -> Choice:
        """Return which frames are looked at, from a number on."""
        return Choice(every=self.every, fps=self.fps, start=self.start, end=self.end, first=first)

    def asked(self, classifier: EmotionClassifier) -> dict[str, Any]:
        """Return all that results depend on, by the names of the options."""
        from ferjax.faces.settings import asked_of

        options = {
            f"--{name.replace('_', '-')}": value
            for name, value in vars(self).items()
            if name not in ("detector", "channel_order", "keep_images", "prior", "timeout")
        }
        options["--region"] = None if self.region is None else list(self.region)
        rates = self.transition
        options["--transition"] = None if rates is None else [list(map(float, r)) for r in rates]
        return {**asked_of(classifier, self.prior), **options}

    @property
    def of_faces(self) -> FaceOptions:
        """The options that photographs have too."""
        return FaceOptions(
            detector=self.detector,
            min_score=self.min_score,
            min_size=self.min_size,
            resize=self.resize,
            channel_order=self.channel_order,
            calibrated=self.calibrated,
            prior=self.prior,
            abstain_below=self.abstain_below,
        )

    @property
    def keep_score(self) -> float:
        """The score with which a face continues a track."""
        return min(self.min_score, KEEP_SCORE)


def _check_region(region: Any) -> None:
    try:
        values = np.asarray(region, np.float64)
        is_good = values.shape == (4,) and np.isfinite(values).all() and min(values[2:]) >= 1
        is_good = bool(is_good) and min(values[:2]) >= 0
    except (TypeError, ValueError):
        is_good = False
    if not is_good:
        raise ValueError(
            "expected (x, y, width, height) in pixels, from 0 on and at least 1 wide and high, for "
            f"`region`, got {region!r}"
        )
