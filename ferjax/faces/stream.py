"""A stream of photographs, through the detector and the network.

Files are decoded, and their faces found and cropped, ahead in a few threads. ONNX Runtime predicts
there too, so that all cores have something to do; JAX in the thread that asks. The crops of several
photographs go through the network together, and results come in the order of the photographs. What
is held at any time does not depend on how many there are.

Dimension keys: B crops, H height, W width of a picture, C channels; h and w of the network's input.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from ferjax import hardware, image_formats, preprocessing
from ferjax.errors import ImageError, PriorError
from ferjax.faces.classifying import classified
from ferjax.faces.cropping import crop
from ferjax.faces.deferring import Deferred
from ferjax.faces.detection import Detection, detect
from ferjax.faces.face import Face, Photograph, placed
from ferjax.faces.options import FaceOptions
from ferjax.faces.together import Together
from ferjax.image_files import UInt8Array, file_bytes, is_file
from ferjax.prediction_engines import ONNX
from ferjax.preprocessing import Float32Array, Source
from ferjax.priors import Prior, is_adapt

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

AHEAD: Final = 16  # photographs that may wait for the crops of others
BATCH: Final = 8  # crops that ONNX Runtime gets at once; in one thread it is no faster with more
_MAX_THREADS: Final = 4
MAX_BYTES: Final = 200_000_000  # of pictures in memory


def photographs(
    classifier: EmotionClassifier,
    sources: Iterable[Source],
    options: FaceOptions,
    *,
    keep_images: bool = False,
    threads: int | None = None,
    ahead: int = AHEAD,
    full_batches: bool = False,
    numbered: bool = True,
) -> Generator[Photograph, None, None]:
    """Yield a Photograph for every source, in order; bad ones carry their error.

    Sources may be endless, and are taken in the thread that asks for the next Photograph: at most
    `ahead` + 2 `threads` + 3 of them before theirs is given. Pictures in memory take at most about
    200 MB in all, or are two. Closing the iterator ends its threads.

    Args:
        classifier: what tells the expressions.
        sources: photographs, each as `ferjax.preprocessing.preprocess` takes one image. Arrays
            and PIL images may be written to again once the next one is asked for.
        options: which faces, and what is said of them; any prior but "adapt", which needs all faces
            before the first result. A detector is called in the thread that asks for the next
            Photograph, YuNet in the threads that decode.
        keep_images: give each Photograph its picture, for drawing.
        threads: how many decode and look for faces; None: one for each core, up to
            4; 0: the thread that asks for the next Photograph does all itself.
        full_batches: give the network batches of one size, whose rest is empty: then the numbers of
            a face are the same to the last bit whatever faces come before and after it.
        ahead: how many photographs may wait so that the network gets full batches; 0: each is given
            before the next is taken, as for a camera.
        numbered: say in errors which number a photograph that is no path has.

    Raises:
        ValueError: an option is out of range; before any photograph is read.
        FerjaxError: `abstain_below` is not in [0, 1], or as for `EmotionClassifier.predict_proba`.
        DetectorError: `detector` is no callable; from the iterator, it fails, or what it returns
            are no faces.

    What the sources or the detector raise comes out of the iterator once all photographs before it
    have been given.
    """
    if is_adapt(options.prior):
        raise PriorError(
            "expected shares by class, 'uniform' or 'training' for `prior` of a stream, got "
            "'adapt', which needs all faces before the first result; give a list of photographs"
        )
    options.check_values(classifier)
    if threads is None:
        threads = min(_MAX_THREADS, hardware.cores())
    for name, value in (("threads", threads), ("ahead", ahead)):
        if not (isinstance(value, int) and value >= 0):
            raise ValueError(f"expected an integer of at least 0 for `{name}`, got {value!r}")
    if not isinstance(sources, Iterable):
        raise ImageError(f"expected an iterable of images, got {type(sources).__name__}")
    finder = _Finder(
        classifier=classifier,
        options=options,
        keep_images=keep_images,
        numbered=numbered and not isinstance(sources, Single),
        threads=threads,
        pixels=_Pixels(MAX_BYTES),
        together=Together(
            lambda crops: classifier.predict_batch(
                crops, calibrated=options.calibrated, prior=options.prior, threads=1
            ),
            batch=BATCH,
            padded=full_batches,
        ),
    )
    return _classified(
        finder,
        _predicted(finder, _located(finder, sources, ahead), ahead),
        ahead,
        calibrated=options.calibrated,
        prior=options.prior,
        abstain_below=options.abstain_below,
        full_batches=full_batches,
    )


class Single(list[Any]):
    """A photograph on its own, which an error calls by its kind and not by its number."""


# --- finding -------------------------------------------------------------------------------------


class _Pixels:
    """The bytes of pictures in memory, by the number of their photograph."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()

    def add(self, number: int, count: int, *, due: bool) -> bool:
        """Count bytes that are going to be held. False: there is no room for them, and the
        photograph is not the one that is due."""
        with self._lock:
            held = sum(self._held.values())
            if held and held + count > self._limit and not due:
                return False
            self._held[number] = count
            return True

    def drop(self, number: int) -> None:
        with self._lock:
            self._held.pop(number, None)

    @property
    def full(self) -> bool:
        with self._lock:
            return sum(self._held.values()) > self._limit


_Taken: TypeAlias = "str | os.PathLike[str] | bytes | UInt8Array"


@dataclass(kw_only=True, eq=False)
class _Located:
    """A photograph whose faces are known, and not yet their expressions."""

    number: int
    photograph: Photograph
    detections: Sequence[Detection] = ()
    crops: Sequence[Float32Array] = ()  # (h, w, C) each, until they wait for the network
    rows: Future[Float32Array] | None = None  # their probabilities, (N, K), where they have none


@dataclass(frozen=True, kw_only=True, eq=False)
class _Finder:
    """From a source to a picture, and from a picture to the crops of its faces."""

    classifier: EmotionClassifier
    options: FaceOptions
    keep_images: bool
    numbered: bool
    threads: int
    pixels: _Pixels
    together: Together

    def taken(self, source: Source, number: int, name: str) -> _Taken:
        """Return what a source is now; it may be closed, or become the next picture, afterwards."""
        if isinstance(source, (str, os.PathLike, bytes)):
            return source
        if is_file(source):
            return file_bytes(source, name)
        image = preprocessing.load_picture(
            source, name=name, channel_order=self.options.channel_order
        )
        if preprocessing.is_array(source) and (self.threads or self.keep_images):
            image = image.copy()
        self.pixels.add(number, image.nbytes, due=True)
        return image

    def work(
        self, source: Source, taken: _Taken, number: int, name: str, *, due: bool = False
    ) -> _Located | UInt8Array | None:
        """Return the faces of a picture.

        Or the picture, uint8 (H, W, 3) in RGB order, where somebody's own detector finds them,
        which may not be for several threads; or None where it has no room before it is due.
        """
        if isinstance(taken, np.ndarray):
            image = taken
        else:
            data = file_bytes(taken, name)
            width, height = image_formats.header_size(data, image_formats.kind_of(data, name))
            if not self.pixels.add(number, 3 * width * height, due=due):
                return None
            image = preprocessing.load_picture(data, name=name)
        if self.options.detector is not None:
            return image
        item = self.located(source, image, number)
        if self.threads and item.crops and self.classifier.prepare(threads=1) == ONNX:
            item.rows, item.crops = self.together.add(item.crops), ()
        return item

    def located(self, source: Source, image: UInt8Array, number: int) -> _Located:
        """Find and crop the faces of a picture."""
        detections, crops = find_and_crop(self.classifier, image, self.options)
        height, width = image.shape[:2]
        kept = image if self.keep_images else None
        photograph = Photograph(source=source, faces=[], shape=(height, width), image=kept)
        if kept is None and not preprocessing.is_array(source):
            self.pixels.drop(number)
        return _Located(number=number, photograph=photograph, detections=detections, crops=crops)


def find_and_crop(
    classifier: EmotionClassifier,
    image: UInt8Array,
    options: FaceOptions,
    *,
    max_faces: int | None = None,
) -> tuple[list[Detection], list[Float32Array]]:
    """Return the faces of a picture, uint8 (H, W, 3) in RGB order, and each as the network takes
    it, float32 (h, w, C).

    Raises:
        ImageError: the picture has more than `max_faces`.
        DetectorError: a detector of one's own fails, or what it returns are no faces.
    """
    detections = detect(
        image,
        detector=options.detector,
        min_score=options.min_score,
        min_size=options.min_size,
        order=options.order,
        max_faces=max_faces,
    )
    if options.largest and detections:
        detections = [max(detections, key=lambda face: face.size)]
    crops = [
        classifier.preprocess(crop(image, face), resize=options.resize)[0] for face in detections
    ]
    return detections, crops


_Future: TypeAlias = "Future[_Located | UInt8Array | None]"


class _Here(Executor):
    """Does in the thread that submits what others do in threads."""

    def submit(self, call: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future


def _located(
    finder: _Finder, sources: Iterable[Source], ahead: int
) -> Generator[_Located, None, None]:
    """Yield what is in every source, in order, a few of them at work in threads."""

    def result(number: int, name: str, source: Any, taken: Any, future: _Future) -> _Located:
        try:
            done = future.result()
            if done is None:
                done = finder.work(source, taken, number, name, due=True)
            if not isinstance(done, _Located):
                assert done is not None
                done = finder.located(source, done, number)
            return done
        except ImageError as error:
            finder.pixels.drop(number)
            # Another error, for this one keeps what its traceback sees, pixels among it.
            photograph = Photograph(source=source, faces=[], error=ImageError(str(error)))
            return _Located(number=number, photograph=photograph)

    waiting: deque[tuple[int, str, Any, Any, _Future]] = deque()
    pool = ThreadPoolExecutor(finder.threads, "ferjax-faces") if finder.threads else _Here()
    # Called below, or where a process ends before the iterator does.
    stop = weakref.finalize(finder, pool.shutdown, wait=True, cancel_futures=True)
    most = 2 * finder.threads + 2
    given = Deferred(sources)
    number = 0
    try:
        for source in given:  # enumerate would keep it until the next
            name = preprocessing.name_of(source, number if finder.numbered else None)
            taken: Any = None
            try:
                taken = finder.taken(source, number, name)
            except ImageError as error:
                future: _Future = Future()
                future.set_exception(error)
            else:
                future = pool.submit(finder.work, source, taken, number, name)
            if isinstance(taken, np.ndarray):
                taken = None  # or its pixels stay
            waiting.append((number, name, source, taken, future))
            del source, future, taken
            number += 1
            if number == 1 and finder.threads:  # meanwhile
                finder.classifier.prepare(threads=1)
            while waiting and (len(waiting) > min(most, ahead) or finder.pixels.full):
                yield result(*waiting.popleft())
        while waiting:
            yield result(*waiting.popleft())
        given.end()
    finally:
        stop()


# --- classifying ---------------------------------------------------------------------------------


def _predicted(
    finder: _Finder, located: Generator[_Located, None, None], ahead: int
) -> Generator[_Located, None, None]:
    """Yield what was located, in order, once its rows are there, if it waits for any."""
    waiting: deque[_Located] = deque()
    source = Deferred(located)
    with closing(located):
        for item in source:
            waiting.append(item)
            del item
            while waiting and (_is_ready(waiting[0]) or len(waiting) > ahead or finder.pixels.full):
                if not _is_ready(waiting[0]):
                    finder.together.flush()
                yield waiting.popleft()
        finder.together.flush()
        while waiting:
            yield waiting.popleft()
        source.end()


def _is_ready(item: _Located) -> bool:
    return item.rows is None or item.rows.done()


def _classified(
    finder: _Finder,
    located: Generator[_Located, None, None],
    ahead: int,
    *,
    calibrated: bool,
    prior: Prior,
    abstain_below: float,
    full_batches: bool,
) -> Generator[Photograph, None, None]:
    """Yield photographs with their faces; crops that are left go through the network in batches."""

    def finished(item: _Located, rows: Sequence[Any]) -> Photograph:
        finder.pixels.drop(item.number)
        predictions = [
            finder.classifier.describe(row, abstain_below=abstain_below)
            for row in (rows if item.rows is None else item.rows.result())
        ]
        faces = [Face(**placed(d), **vars(p)) for d, p in zip(item.detections, predictions)]
        return replace(item.photograph, faces=faces)

    stream = classified(
        finder.classifier,
        located,
        ahead=ahead,
        is_full=lambda: finder.pixels.full,
        calibrated=calibrated,
        prior=prior,
        full_batches=full_batches,
    )
    with closing(stream):
        yield from starmap(finished, stream)  # which keeps none of them
