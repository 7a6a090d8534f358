"""Predict emotions with a network and its weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Unpack, cast, overload

import numpy as np
import numpy.typing as npt

from ferjax import metadata, preprocessing, priors, released, session_cache, weights
from ferjax.confidence import Confidence
from ferjax.emotions import Labels
from ferjax.errors import FerjaxError, ImageError, LayerError
from ferjax.metadata import image_size
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head
from ferjax.nets.known import labels_of
from ferjax.nets.value_range import of_statistics
from ferjax.prediction import Prediction, check_threshold
from ferjax.prediction_engines import AUTO, ENGINES, Predictor, Variables, may_suit_onnx
from ferjax.preprocessing import ChannelOrder, Resize, Source
from ferjax.priors import TRAINING, Prior, Shares
from ferjax.scaling import Scaling

if TYPE_CHECKING:
    import PIL.Image

    from ferjax.faces import Detector, Face
    from ferjax.faces.analysis import Options
    from ferjax.nets.network import Network
    from ferjax.video.seen import VideoFrame
    from ferjax.video.settings import Options as VideoOptions
    from ferjax.video.sources import Source as VideoSource

__all__ = ["ENGINES", "EmotionClassifier", "Prediction", "load", "predict_emotion"]


class EmotionClassifier:
    """A network with its weights and the names of its classes.

    Attributes:
        labels: the K class names in output order; "0", "1", ... where nobody knows them.
        image_size: (H, W) that images are resized to.
        value_range: what black and white are to the network.
        scaling: what calibrates the probabilities, or None; `temperature` is its temperature.
        training_frequencies: how common each class was in training, K shares in output order, as
            stated by hand; None: as the metadata says.
        adapted_prior: what `prior="adapt"` estimated last, by label; None before.
        metadata: what is known of the weights.

    >>> classifier = EmotionClassifier(network, variables, labels=EMOTIONS)  # doctest: +SKIP
    >>> classifier.predict("examples/astronaut.png")[0].label  # doctest: +SKIP
    'happy'
    """

    def __init__(
        self,
        network: Network | Graph,
        variables: Variables,
        labels: Labels | None = None,
        *,
        value_range: tuple[float, float] | None = None,
        temperature: float | None = None,
        scaling: Scaling | None = None,
        training_frequencies: Shares | None = None,
        engine: str = AUTO,
        threads: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Make ready to predict; what computes is made at the first prediction, so that a process
        may load and then fork workers.

        Args:
            network: a Network or its Graph, from images (H, W, C), C of 1 (gray) or 3 (RGB), to K
                classes.
            variables: {"params", "batch_stats"}, float32; other floats are cast to it, under
                jax_enable_x64 too.
            labels, training_frequencies, engine, threads: as for `load`.
            value_range: what black and white are to the network; None: as its layers and the
                statistics of a Normalization say; see `ferjax.nets.value_range`.
            temperature: what calibrates the probabilities, positive; see `predict_proba`.
            scaling: instead, what calibrates them where that is more than a temperature.
            metadata: what is known of the weights, kept as it is.

        Raises:
            LabelsError: there are not K different labels.
            LayerError: the network does not classify images, or begins with statistics of no usual
                range of values and `value_range` is not given.
            PriorError: `training_frequencies` are no positive numbers of all classes.
            FerjaxError: there is no such engine, or ONNX Runtime is asked for and is missing or
                cannot run the network, or `threads` is not for this engine, or the temperature is
                not positive.
        """
        if temperature is not None and scaling is not None:
            raise FerjaxError("expected `temperature` or `scaling`, got both")
        graph = network if isinstance(network, Graph) else network.graph
        height, width, channels = graph.image_shape
        if channels not in (1, 3):
            raise LayerError(f"expected images of 1 or 3 channels, the network takes {channels}")
        self._predictor = Predictor(network, Head.of(graph), variables, engine, threads=threads)
        self.metadata = dict(metadata or {})
        classes = self.head.num_classes
        if value_range is None:
            self.value_range = of_statistics(graph, variables) or graph.value_range
        else:
            self.value_range = preprocessing.check_value_range(value_range)
        assumed = self.value_range if value_range is None else None
        self.labels = labels_of(graph, labels, assumed)
        self.scaling = scaling
        if temperature is not None:
            self.temperature = temperature
        offsets = None if scaling is None else scaling.offsets
        if offsets is not None and len(offsets) != classes:
            raise FerjaxError(f"expected {classes} offsets of `scaling`, got {len(offsets)}")
        self.training_frequencies: npt.NDArray[np.float64] | None = None
        if training_frequencies is not None:
            self.training_frequencies = priors.shares(
                training_frequencies, self.labels, name="training_frequencies"
            )
        self.adapted_prior: dict[str, float] | None = None
        # A network of open size gets the one it was trained at, if that is known.
        usual = image_size(self.metadata) or (48, 48)
        self.image_size = (height or usual[0], width or usual[1])

    def __repr__(self) -> str:
        labels = ", ".join(self.labels)
        return (
            f"<EmotionClassifier {self.graph.name!r} of {labels}; engine {self._predictor.current}>"
        )

    @property
    def graph(self) -> Graph:
        """The network's layers and their connections."""
        return self._predictor.graph

    @property
    def network(self) -> Network:
        """The network as a Flax module."""
        return self._predictor.network

    @property
    def head(self) -> Head:
        """How the network's outputs become probabilities of classes."""
        return self._predictor.head

    @property
    def variables(self) -> Variables:
        """What the network computes with: {"params": {layer: {weight: array}}, "batch_stats"}.

        From the first prediction on they are where that is computed, and cannot be written to, but
        replaced.
        """
        return self._predictor.variables

    @variables.setter
    def variables(self, variables: Variables) -> None:
        self._predictor.variables = variables

    @property
    def engine(self) -> str:
        """What computes: "jax" or "onnx"; it is made ready to, if it was not."""
        return self._predictor.engine().name

    def prepare(self, *, threads: int | None = None) -> str:
        """Make ready what computes, as the first prediction does, and return its name.

        Args:
            threads: as for the `predict_batch` that follows.
        """
        return self._predictor.engine(threads).name

    @property
    def expected_images(self) -> int | None:
        """About how many images will be predicted, at least 0; None, the default, if unknown.

        It decides what JAX compiles on CPUs, and nothing elsewhere. For up to 256 that takes a
        quarter to an eighth of the time; a single image then takes half longer, a batch twice as
        long. Probabilities differ by rounding errors, of the networks that ferjax brings by less
        than 1e-6. Set it before the first prediction: set later, the next one may compile anew.

        Raises:
            FerjaxError: it is set to a number below 0, or to something else.
        """
        return self._predictor.expected

    @expected_images.setter
    def expected_images(self, images: int | None) -> None:
        is_count = isinstance(images, int | np.integer) and images >= 0
        if images is not None and not is_count:
            raise FerjaxError(f"expected a number of images of at least 0, or None, got {images!r}")
        self._predictor.expected = images

    @property
    def largest_batch(self) -> int:
        """How many images go through the network at once; more are cut into such parts."""
        return self._predictor.engine().largest_batch

    @property
    def temperature(self) -> float | None:
        """What logits are divided by in order to calibrate, or None; setting it drops offsets."""
        return None if self.scaling is None else self.scaling.temperature

    @temperature.setter
    def temperature(self, value: float | None) -> None:
        self.scaling = None if value is None else Scaling(temperature=value)

    @property
    def prior(self) -> dict[str, float] | None:
        """How common each class is among the faces that the probabilities hold for, by label: as
        in training, or as among those that offsets were fitted on; None where nobody knows.

        Raises:
            PriorError: the metadata's are no positive numbers of all classes.
        """
        shares = self._confidence.prior_after(self.scaling)
        return None if shares is None else dict(zip(self.labels, shares.tolist()))

    def prior_after(self, scaling: Scaling | None) -> npt.NDArray[np.float64] | None:
        """Return what probabilities hold for after a calibration, as `prior` says it.

        Args:
            scaling: the calibration; None: probabilities as the network gives them.

        Returns:
            float64 (K,), shares in output order; None where nobody knows.

        Raises:
            PriorError: as for `prior`.
        """
        return self._confidence.prior_after(scaling)

    @property
    def _confidence(self) -> Confidence:
        return Confidence(
            labels=self.labels,
            head=self.head,
            scaling=self.scaling,
            training_frequencies=self.training_frequencies,
            metadata=self.metadata,
        )

    def predict_proba(
        self,
        images: Source | Sequence[Source],
        *,
        channel_order: ChannelOrder = "rgb",
        resize: Resize | None = None,
        calibrated: bool = False,
        prior: Prior = TRAINING,
    ) -> npt.NDArray[np.float32]:
        """Return the probability of every class for every image.

        Args:
            images: a path, the bytes of a file, a file opened in binary mode (or an upload, or
                what else has `.read()`), a PIL image, an array, or a list of these. Arrays, NumPy's
                or what turns into them, are uint8 in [0, 255] or floats in [0, 1], (H, W),
                (H, W, 1|3|4), or a batch of them; see `ferjax.preprocessing.preprocess`. Faces are
                cropped beforehand: the whole image is taken for one face.
            channel_order: "rgb" or "bgr", for arrays of three or four channels.
            resize: "linear", as published and as Keras users do, or "area", which averages the
                pixels of large images and is right for faces cropped from photographs. None:
                "linear", with a SkippedPixelsWarning, once at each place in a program, where that
                skips most pixels of an image.
            calibrated: apply the temperature, and the offsets of the classes if any, that `ferjax
                calibrate` stored with the weights; a temperature alone leaves the order of the
                classes as it is. False: as Keras predicts.
            prior: how common each class is among such faces. "training": as among those that the
                network was trained on, which leaves the probabilities as they are. "uniform": each
                as common as the others. Shares by label, or in the order of `labels`: positive, of
                which only the ratios matter. "adapt": as estimated from all these images, two or
                better hundreds; `adapted_prior` has it then. Bayes' rule holds for calibrated
                probabilities: but for "training" they are calibrated, whatever `calibrated` says,
                and a PriorWarning tells where the weights have no calibration. See `ferjax.priors`.

        Returns:
            float32 (B, K), each row in the order of `labels`.

        Raises:
            ImageError: an image cannot be read; all such images are named.
            PriorError: a prior misses a class or is not positive, or nobody knows how common each
                class was in training, or there are too few images to adapt to.
            FerjaxError: `calibrated` is asked for, and the weights come without a temperature, or
                the network's outputs do not sum to 1.
        """
        self.check_confidence(calibrated=calibrated, prior=prior)
        batch = self.preprocess(images, channel_order=channel_order, resize=resize)
        return self.with_confidence(self._probabilities(batch), calibrated=calibrated, prior=prior)

    def preprocess(
        self,
        images: Source | Sequence[Source],
        *,
        channel_order: ChannelOrder = "rgb",
        resize: Resize | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return images as the network takes them, float32 (B, H, W, C); see `predict_proba`."""
        return preprocessing.preprocess(
            images,
            size=self.image_size,
            channels=cast(Any, self.graph.image_shape[2]),
            channel_order=channel_order,
            value_range=self.value_range,
            resize=resize,
        )

    def predict_batch(
        self,
        batch: npt.NDArray[np.floating],
        *,
        calibrated: bool = False,
        prior: Prior = TRAINING,
        threads: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return probabilities, float32 (B, K), of preprocessed images, float32 (B, H, W, C).

        Other floats, NumPy's, JAX's or another library's, are cast to float32.

        Args:
            batch: what `preprocess` returned.
            calibrated, prior: as for `predict_proba`.
            threads: as for `load`, for this batch; None: as the classifier was loaded.

        Raises:
            ImageError: the images are integers, as before `preprocess`.
            LayerError: they are of another shape.
            FerjaxError: as for `predict_proba`.
        """
        self.check_confidence(calibrated=calibrated, prior=prior)
        batch = np.asarray(batch)
        if not _is_float(batch.dtype):
            raise ImageError(
                f"expected preprocessed images, float32, got {batch.dtype}; "
                "`preprocess` makes them, `predict_proba` takes images as they are"
            )
        rows = self._probabilities(batch.astype(np.float32, copy=False), threads)
        return self.with_confidence(rows, calibrated=calibrated, prior=prior)

    def _probabilities(
        self, batch: npt.NDArray[np.float32], threads: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the network's own, float32 (B, K), of preprocessed images, (B, H, W, C)."""
        graph = self._predictor.graph
        if graph.data_format == "channels_first":
            batch = np.moveaxis(batch, -1, 1)
        graph.check_input(batch.shape[1:])
        if len(batch) == 1:  # as of a camera, whose frames follow quickly
            return np.array(self._predictor(batch, threads=threads))  # JAX's is read-only
        largest = self._predictor.engine(threads).largest_batch
        parts = [batch[i : i + largest] for i in range(0, len(batch), largest)]
        if not parts:
            return np.zeros((0, len(self.labels)), np.float32)
        return np.concatenate(self._predictor.many(parts, threads=threads))

    def with_confidence(
        self,
        probabilities: npt.NDArray[np.float32],
        *,
        calibrated: bool = False,
        prior: Prior = TRAINING,
    ) -> npt.NDArray[np.float32]:
        """Return what the network's own probabilities become as `predict_proba` is asked for them.

        Args:
            probabilities: float32 (B, K), as `predict_proba` gives them without options.
            calibrated, prior: as for `predict_proba`.

        Raises:
            FerjaxError: as for `predict_proba`.
        """
        if not calibrated and priors.is_training(prior):
            return probabilities
        self.check_confidence(calibrated=calibrated, prior=prior)
        return self.with_prior(self._confidence.calibrated(probabilities), prior)

    def with_prior(
        self, probabilities: npt.NDArray[np.float32], prior: Prior
    ) -> npt.NDArray[np.float32]:
        """Return what calibrated probabilities become under another prior, float32 (B, K).

        Args:
            probabilities: (B, K), as `predict_proba` gives them: calibrated, where the weights have
                a calibration.
            prior: as for `predict_proba`; "adapt" estimates it from these rows.

        Raises:
            PriorError: as for `predict_proba`.
            FerjaxError: the probabilities do not sum to 1.
        """
        self.check_confidence(prior=prior)
        if priors.is_training(prior):
            return probabilities
        adapted, shares = self._confidence.with_prior(probabilities, prior)
        if priors.is_adapt(prior):
            self.adapted_prior = dict(zip(self.labels, shares.tolist()))
        return adapted

    def check_confidence(self, *, calibrated: bool = False, prior: Prior = TRAINING) -> None:
        """Raise what `predict_proba` would for any image; worth a call before reading many."""
        if calibrated or not priors.is_training(prior):
            self._confidence.check(calibrated=calibrated, prior=prior)

    def predict(
        self,
        images: Source | Sequence[Source],
        *,
        channel_order: ChannelOrder = "rgb",
        resize: Resize | None = None,
        calibrated: bool = False,
        prior: Prior = TRAINING,
        abstain_below: float = 0.0,
    ) -> list[Prediction]:
        """Return a Prediction for every image; see `predict_proba`.

        Args:
            abstain_below: the confidence, in [0, 1], that a label needs; below it the label is
                None. `ferjax evaluate` tells what accuracy and coverage a threshold gives.

        Raises:
            FerjaxError: `abstain_below` is not in [0, 1], or as for `predict_proba`.
        """
        check_threshold(abstain_below)
        rows = self.predict_proba(
            images, channel_order=channel_order, resize=resize, calibrated=calibrated, prior=prior
        )
        return [self.describe(row, abstain_below=abstain_below) for row in rows]

    @overload
    def analyze(
        self, images: str | os.PathLike[str] | bytes | PIL.Image.Image, **options: Unpack[Options]
    ) -> list[Face]: ...
    @overload
    def analyze(
        self, images: list[Any] | tuple[Any, ...], **options: Unpack[Options]
    ) -> list[list[Face]]: ...
    @overload
    def analyze(self, images: Any, **options: Unpack[Options]) -> Any: ...

    def analyze(
        self,
        images: Any,
        *,
        detector: Detector | None = None,
        min_score: float = 0.7,
        min_size: float | None = None,
        order: str = "reading",
        largest: bool = False,
        resize: Resize = "area",
        channel_order: ChannelOrder = "rgb",
        calibrated: bool = False,
        prior: Prior = TRAINING,
        abstain_below: float = 0.0,
    ) -> Any:
        """Return the faces in photographs, each with its expression.

        Args:
            images: one photograph, which is a path, the bytes of a file, an open file, a PIL image
                or an array (H, W), (H, W, 1|3|4) as for `predict_proba`; a list or tuple of
                photographs, or an array that is a batch of them; or any other iterable, perhaps
                endless, of photographs.
            detector: what finds the faces, as for `ferjax.faces.detect`; None: YuNet.
            min_score: the score that a face needs, in [0, 1].
            min_size: the size that a face needs, in pixels; None: any.
            order: of a photograph's faces: "reading", line by line from the left, or "size", the
                largest first.
            largest: of each photograph only the largest face.
            resize: how crops come to the size that the network takes: "area" or "linear", see
                `ferjax.preprocessing.preprocess`.
            channel_order: "rgb" or "bgr", for arrays of three or four channels.
            calibrated: as for `predict_proba`.
            prior: as for `predict_proba`; "adapt" estimates from the faces of all the photographs,
                of which there must be a list then, or many faces in one.
            abstain_below: as for `predict`.

        Returns:
            A list of Face for one photograph, empty where no face is found; a list of such lists
            for several; an iterator of such lists for another iterable, which it takes a few ahead
            and of which it holds no more. Boxes and landmarks are in pixels of the picture as a
            viewer shows it, EXIF orientation applied.

        Raises:
            ImageError: a photograph cannot be read; of a list, all such are named; an iterator
                raises it in the place of the first.
            ValueError: an option is out of range.
            PriorError: as for `predict_proba`, or an iterator is to be adapted to.
            FerjaxError: as for `predict`, or what a detector returns are no faces.
        """
        from ferjax.faces import analysis

        return analysis.analyze(
            self,
            images,
            detector=detector,
            min_score=min_score,
            min_size=min_size,
            order=order,
            largest=largest,
            resize=resize,
            channel_order=channel_order,
            calibrated=calibrated,
            prior=prior,
            abstain_below=abstain_below,
        )

    def analyze_video(
        self, source: VideoSource, **options: Unpack[VideoOptions]
    ) -> Iterator[VideoFrame]:
        """Yield the frames of a film with their faces, each with its track and its expression.

        Results come as they are made, and memory does not grow with the film's length. Reading
        films takes PyAV (`pip install "ferjax[video]"`); cameras and frames of one's own do not.

        Args:
            source: a path, a stream's address (https://, rtsp://, ...), the number of a camera, a
                film opened in binary mode, or an iterable of pairs (seconds, image), images as
                `analyze` takes them; these may be taken in another thread.
            **options: see `ferjax.video.Settings`: which frames (`every`, `fps`, `start`, `end`,
                `region`), how they are looked at (`latency`, `detect_every`, `max_faces`,
                `max_gap`, `timeout`), how probabilities are smoothed (`smooth`, in seconds, 0 for
                not at all, `smoothing`, `transition`), `keep_images`, and those of `analyze`.

        Returns:
            An iterator of `ferjax.video.VideoFrame`: `number`, `time` in seconds as the film states
            it, and `faces`, each a Face with `track`, smoothed `probabilities` and `raw` ones.
            `ferjax.video.find_events` makes events of them, `ferjax.video.to_pandas` a table.

        Raises:
            VideoError: the film cannot be opened; from the iterator, it has no frame, or breaks
                off, or gives nothing for too long, once all frames before were given.
            ValueError: an option is out of range.
            FerjaxError: as for `predict`, or PyAV is missing.
        """
        from ferjax.video import analysis

        return analysis.analyze(self, source, **options)

    def describe(
        self, probabilities: npt.NDArray[np.float32], *, abstain_below: float = 0.0
    ) -> Prediction:
        """Return the Prediction for one row of probabilities, (K,)."""
        index = int(self.head.predicted(probabilities))
        by_label = {label: float(p) for label, p in zip(self.labels, probabilities)}
        confidence = float(probabilities[index])
        if confidence < abstain_below:
            return Prediction(None, None, confidence, by_label)
        return Prediction(self.labels[index], index, confidence, by_label)

    def require_temperature(self) -> float:
        """Return the temperature, or raise a FerjaxError that says how to get one."""
        return self._confidence.require_temperature()


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    architecture: str | None = None,
    output: str | int | None = None,
    labels: Labels | None = None,
    value_range: tuple[float, float] | None = None,
    training_frequencies: Shares | None = None,
    engine: str = AUTO,
    threads: int | None = None,
) -> EmotionClassifier:
    """Load weights, ready to predict.

    Args:
        path: any file that `ferjax.keras.load` reads, a Flax msgpack or an Orbax folder, or one of
            `ferjax.released.NAMES`, the weights that ferjax brings, or an address of a hub, as
            hf://owner/name/file; None: the default among the first.
        config: the architecture of a weights-only file, as for `ferjax.keras.load`.
        architecture: instead, a named architecture.
        output: of several outputs the one to predict, by its name or its number from 0.
        labels: the class names in output order, or an order by its name: "sorted", "fer2013",
            "ferplus" and others of `ferjax.emotions.ORDERS`; None: those that travel with the
            weights, or those of a known network, or else "0", "1", ..., both with a warning.
        value_range: what black and white are to the network; None: as the metadata or the layers
            say.
        training_frequencies: how common each class was in training, by label or in output order,
            for `prior` of `predict_proba`; None: as the metadata says.
        engine: what computes. "auto": JAX on an accelerator; on CPUs ONNX Runtime, which is faster
            there, and JAX for what ONNX Runtime cannot do. "jax", "onnx": that one. Probabilities
            differ by less than 1e-6 between them. `EmotionClassifier.engine` says which it is.
        threads: how many compute a batch together by ONNX Runtime; None: one for each core. 1 where
            several threads predict at once: each batch takes less of the CPU's time.

    Raises:
        WeightFileError: the file cannot be used.
        LabelsError: the labels do not fit the network.
        FerjaxError: there is no such engine, or ONNX Runtime is asked for and is missing or cannot
            run the network, or `threads` is not for this engine.
    """
    path = released.path_of(path)
    model: Any
    is_alone = config is None and architecture is None and output is None
    entry = session_cache.Entry.of(path) if is_alone and may_suit_onnx(engine) else None
    if entry is not None:
        model = weights.read_kept(path, entry)
    else:
        model = weights.read(path, config, architecture, output=output)
    classifier = EmotionClassifier(
        model.graph,
        model.variables,
        model.labels if labels is None else labels,
        value_range=value_range or metadata.value_range(model.metadata, path),
        training_frequencies=training_frequencies,
        engine=engine,
        threads=threads,
        metadata=model.metadata,
    )
    classifier.scaling = metadata.scaling(model.metadata, path, classifier.labels)
    return classifier


def _is_float(dtype: np.dtype) -> bool:
    """Whether numbers are floats; NumPy itself does not know bfloat16 and its like for some."""
    is_extension = dtype.kind == "V" and dtype.names is None
    return dtype.kind == "f" or (is_extension and dtype.name.startswith(("bfloat", "float")))


@lru_cache(maxsize=1)
def _default_classifier() -> EmotionClassifier:
    return load()


def predict_emotion(path: str | os.PathLike[str]) -> int:
    """Return the class index, into `ferjax.EMOTIONS`, of the face in an image file.

    The published model's usage, with the weights that ferjax brings.
    """
    classifier = _default_classifier()
    return int(
        classifier.head.predicted(classifier.predict_proba([os.fspath(path)], resize="linear")[0])
    )
