"""From a film to its frames with their faces, tracks and expressions.

A thread decodes ahead and others look at whole frames; the thread that asks for the next frame
follows the faces, crops them and gives the crops of several frames to the network together. What is
held at any time does not depend on how long the film is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np
import numpy.typing as npt

from ferjax.errors import VideoWarning, warn_caller
from ferjax.faces.classifying import MAX_CROPS, classified
from ferjax.faces.face import placed
from ferjax.video.ahead import MOST_BYTES, Ahead
from ferjax.video.finding import Finder, Seen
from ferjax.video.pictures import Frame, Picture
from ferjax.video.seen import VideoFace, VideoFrame
from ferjax.video.settings import Options, Settings
from ferjax.video.smoothing import Smoother
from ferjax.video.sources import Source, latency_of, opened

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

BATCH: Final = 8  # crops that go through ONNX Runtime at once; it is no faster with more
AHEAD: Final = 64  # frames that may wait so that it gets so many


class Analysis:
    """The analysis of one film, from its beginning or from where another one was.

    Attributes:
        name: what errors call the film.
        rate: frames a second, as the film says; None where it does not.
        duration: seconds, as the film says; None where it does not.
        is_live: whether it goes on while nobody reads it.
        number: of the last frame that was given; -1 before the first.
        time: of the last frame that was given, in seconds.
        state: what is known after that frame, as JSON has it, for another analysis to go on from;
            None but after some frames, see `snapshots`.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        source: Source,
        settings: Settings,
        *,
        state: dict[str, Any] | None = None,
        snapshots: float | None = None,
    ) -> None:
        """Open the film; no frame is decoded yet.

        Args:
            classifier: what tells the expressions.
            source: the film, as for `EmotionClassifier.analyze_video`.
            settings: what is asked for.
            state: of another analysis of the same film with the same settings, to go on from.
            snapshots: seconds after which a frame has a `state` again; None: none has.

        Raises:
            VideoError: the film cannot be opened.
            FerjaxError: the settings do not suit the classifier, or PyAV is not installed.
        """
        settings.of_faces.check_values(classifier)
        self._classifier, self._settings, self._snapshots = classifier, settings, snapshots
        self._smoother = Smoother(
            len(classifier.labels),
            smooth=settings.smooth,
            method=settings.smoothing,
            transition=settings.transition,
            shares=_shares(classifier, settings),
        )
        latency = latency_of(source, settings.latency)
        self._opened = opened(
            source, latency=latency, timeout=settings.timeout, channel_order=settings.channel_order
        )
        self.name, self.rate = self._opened.name, self._opened.rate
        self.duration, self.is_live = self._opened.duration, self._opened.is_live
        # What an address does not say, what comes from it may.
        self._low = latency == "low" or (self.is_live and settings.latency is None)
        self.number, self.time = -1, 0.0
        self.state: dict[str, Any] | None = None
        self._ahead: Ahead[Frame] | None = None
        self._reached = 0.0  # the time of the last picture that was decoded
        self._held = 0  # bytes of pictures that wait for the network
        self._finder = Finder(classifier, settings, low_latency=self._low, name=self.name)
        self._first = 0
        if state is not None:
            self._finder.restore(state)
            self._smoother.restore(state["smoother"])
            self._first = int(state["number"]) + 1

    @property
    def dropped(self) -> int:
        """How many frames of a live source were left out to keep up with it."""
        return 0 if self._ahead is None else self._ahead.dropped

    @property
    def problems(self) -> list[str]:
        """What was wrong with the film so far, a line each."""
        return self._opened.problems.lines(self.name)

    def __iter__(self) -> Generator[VideoFrame, None, None]:
        """Yield the frames with their faces, in order.

        Raises:
            VideoError: the film has no frame, or breaks off, or gives nothing for too long; once
                all frames before were given.
        """
        settings = self._settings
        with closing(self._frames()) as frames:
            rows = classified(
                self._classifier,
                self._counted(frames),
                ahead=0 if self._low else AHEAD,
                is_full=lambda: self._held > MOST_BYTES,
                calibrated=settings.calibrated,
                prior=settings.prior,
                full_batches=not self._low,
                batch=self._batch,
            )
            with closing(rows) as stream:
                for seen, probabilities in stream:
                    yield self._finished(seen, probabilities)

    @property
    def _batch(self) -> int:
        """How many crops go through the network at once."""
        if self._low:  # as many as a frame has
            return MAX_CROPS
        engine = self._classifier.engine
        return BATCH if engine == "onnx" else min(self._classifier.largest_batch, MAX_CROPS)

    def _counted(self, frames: Generator[Frame, None, None]) -> Generator[Seen, None, None]:
        """Yield frames with what is found in them, and count the bytes that they hold."""
        for seen in self._finder.faces_of(frames, snapshots=self._snapshots):
            self._held += 0 if seen.image is None else seen.image.nbytes
            yield seen

    def _frames(self) -> Generator[Frame, None, None]:
        """Yield the frames that are looked at, and close the film in the end."""
        frames = self._read()
        if self._low and not self.is_live:
            yield from frames
            return
        # Files and a user's frames may take their time.
        timeout = self._settings.timeout if self.is_live else None
        self._ahead = Ahead(frames, newest=self._low, timeout=timeout, name=self.name)
        with closing(iter(self._ahead)) as stream:
            yield from stream

    def _read(self) -> Generator[Frame, None, None]:
        """Yield the frames that are looked at; the thread that reads them closes the film too."""
        settings, is_empty = self._settings, self._first == 0
        try:
            for frame in settings.choice(self._first).frames(self._timed()):
                is_empty = False
                yield frame
            if is_empty and (settings.start or settings.end is not None):
                end = "on" if settings.end is None else f"to {settings.end:g} s"
                self._opened.problems.more.append(
                    f"has no frame from {settings.start:g} s {end}{self._extent()}"
                )
        finally:
            self._opened.close()

    def _timed(self) -> Iterator[Picture]:
        """Yield the pictures, and keep the time of the last."""
        for picture in self._opened:
            self._reached = picture.time
            yield picture

    def _extent(self) -> str:
        """Return how far a film without frames in the range goes, as the end of a sentence."""
        settings = self._settings
        if settings.end is not None and self._reached >= settings.end:
            return ""
        if self.duration is not None and self.duration >= self._reached:
            return f"; it is {self.duration:.2f} s long"
        return f"; its last frame is at {self._reached:.2f} s"

    def _finished(self, seen: Seen, probabilities: list[npt.NDArray[np.float32]]) -> VideoFrame:
        """Return a frame with the expressions of its faces."""
        self._held -= 0 if seen.image is None else seen.image.nbytes
        classifier, faces = self._classifier, []
        for face, track, row in zip(seen.faces, seen.tracks, probabilities, strict=True):
            smooth = self._smoother.smoothed(track, seen.time, row)
            prediction = classifier.describe(smooth, abstain_below=self._settings.abstain_below)
            raw = {label: float(p) for label, p in zip(classifier.labels, row)}
            faces.append(VideoFace(**placed(face), **vars(prediction), track=track, raw=raw))
        self._smoother.keep(set(seen.live))
        self.number, self.time, self.state = seen.number, seen.time, seen.state
        if self.state is not None:
            self.state["smoother"] = self._smoother.state()
        return VideoFrame(
            number=seen.number,
            time=seen.time,
            faces=faces,
            cut=seen.cut,
            shape=seen.shape,
            live=seen.live,
            unseen=seen.unseen,
            image=seen.image,
        )


def _shares(classifier: EmotionClassifier, settings: Settings) -> Any:
    """Return how common each class is where the probabilities hold, or None where nobody knows."""
    from ferjax import priors

    if not priors.is_training(settings.prior):
        return priors.wanted(settings.prior, classifier.labels)
    return classifier.prior_after(classifier.scaling if settings.calibrated else None)


def analyze(
    classifier: EmotionClassifier, source: Source, **options: Unpack[Options]
) -> Iterator[VideoFrame]:
    """Do what `EmotionClassifier.analyze_video` says."""
    return _told(Analysis(classifier, source, Settings(**options)))


def _told(analysis: Analysis) -> Generator[VideoFrame, None, None]:
    """Yield the frames, and warn of what was wrong with the film in the end."""
    failure: Exception | None = None
    try:
        yield from analysis
    except Exception as error:  # not of an iterator that is closed
        failure = error
    for line in analysis.problems:
        warn_caller(line, VideoWarning)
    if failure is not None:
        raise failure
