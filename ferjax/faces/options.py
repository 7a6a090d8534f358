"""What is asked of faces in photographs: which are found, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ferjax import preprocessing
from ferjax.faces import detection
from ferjax.faces.detection import MIN_SCORE, Detector
from ferjax.prediction import check_threshold
from ferjax.preprocessing import ChannelOrder, Resize
from ferjax.priors import TRAINING, Prior

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier


@dataclass(frozen=True, kw_only=True)
class FaceOptions:
    """The options of `EmotionClassifier.analyze`, which says what they are."""

    detector: Detector | None = None
    min_score: float = MIN_SCORE
    min_size: float | None = None
    order: str = "reading"
    largest: bool = False
    resize: Resize = "area"
    channel_order: ChannelOrder = "rgb"
    calibrated: bool = False
    prior: Prior = TRAINING
    abstain_below: float = 0.0

    def check_values(self, classifier: EmotionClassifier) -> None:
        """Raise what `EmotionClassifier.analyze` would for an option that is out of range."""
        detection.check_options(self.detector, self.min_score, self.min_size, self.order)
        if self.resize is None:
            raise ValueError("expected 'linear' or 'area' for `resize`, got None")
        preprocessing.check_resize(self.resize)
        preprocessing.check_channel_order(self.channel_order)
        check_threshold(self.abstain_below)
        classifier.check_confidence(calibrated=self.calibrated, prior=self.prior)
