"""A service's parts: the classifier, the threads that compute, its limits and its state."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax import hardware
from ferjax.serve.answers import Queue
from ferjax.serve.bodies import Memory
from ferjax.serve.computing import Computer
from ferjax.serve.metrics import Metrics
from ferjax.serve.page import Page
from ferjax.serve.refusals import Refusal
from ferjax.serve.settings import Settings
from ferjax.web.card import card

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

logger = logging.getLogger("ferjax.serve")

_TOLD: Final = ("architecture", "source", "licence", "trained_on")
_OF_A_REQUEST: Final = ("max_body", "max_images", "max_pixels", "max_faces", "timeout")


class Service:
    """What a process of the service holds.

    Attributes:
        classifier: what tells the expressions.
        settings: what the service is asked for.
        metrics: what Prometheus is told.
        computer: the threads that compute.
        memory: the bytes of bodies in it.
        queue: the pictures that wait.
        name: of the weights.
        is_ready: whether the network has been run once.
        is_ending: whether the service is about to end; it ends once this is set.
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        settings: Settings,
        *,
        weights: Path | None = None,
        page: Page | None = None,
    ) -> None:
        """Make ready to begin.

        Args:
            classifier: what tells the expressions; it predicts in several threads at once.
            settings: what the service is asked for.
            weights: the classifier's file, of which the service tells the name.
            page: what is shown at "/".
        """
        limits = settings.limits
        self.classifier = classifier
        self.settings = settings
        self.metrics = Metrics()
        self.memory = Memory(limits.held)
        self.queue = Queue(limits.queue, limits.per_client)
        self._weights = weights
        self.page = page
        self.name = classifier.network.graph.name if weights is None else weights.stem
        self.is_ready = False
        self.is_ending = False
        self.failure: Exception | None = None
        self._changed: asyncio.Event | None = None
        self.computer = Computer(
            lambda images, threads: classifier.predict_batch(images, threads=threads),
            threads=self.threads,
            batch=self.batch,
            wait=settings.wait,
            observer=self.metrics,
        )

    @property
    def batch(self) -> int:
        """How many faces go through the network at once."""
        return min(self.settings.batch, self.classifier.largest_batch)

    @property
    def threads(self) -> int:
        """How many threads compute."""
        return self.settings.threads or max(1, hardware.cores() // self.settings.workers)

    def warm_up(self) -> None:
        """Run what a request will: the detector, and the network in batches of each size, on one
        core and on all; and write the page.

        Raises:
            FerjaxError: it cannot be done.
        """
        from ferjax.faces import yunet
        from ferjax.faces.detection import MIN_SCORE

        start = time.monotonic()
        yunet.find(np.zeros((480, 640, 3), np.uint8), min_score=MIN_SCORE)
        height, width = self.classifier.image_size
        channels = self.classifier.network.graph.image_shape[2] or 1
        size = 1
        while size < 2 * self.batch:
            images = np.zeros((min(size, self.batch), height, width, channels), np.float32)
            for threads in {1, self.threads}:
                self.classifier.predict_batch(images, threads=threads)
            size *= 2
        if self.page is not None and self._weights is not None:
            self.page.write(self.classifier, self._weights, self.settings.runtime)
        _ = self.described
        logger.info("ready after %.1f s", time.monotonic() - start)

    async def begin(self) -> None:
        """Warm up beside what is asked; then the service is ready.

        What fails is left in `failure`.
        """
        self._changed = asyncio.Event()
        if not self.is_ready:
            try:
                await asyncio.to_thread(self.warm_up)
            except Exception as error:
                self.failure = error
        self.is_ready = self.failure is None
        self.metrics.ready.set(int(self.is_ready))
        self._changed.set()

    async def until_ready(self) -> None:
        """Wait until the service is ready.

        Raises:
            Refusal: it cannot be.
        """
        if not self.is_ready and self._changed is not None:
            await self._changed.wait()
        if not self.is_ready:
            raise Refusal("ending", "the service cannot begin, and is about to end")

    def end(self) -> None:
        """Do what is waiting, and end the threads."""
        self.metrics.ready.set(0)
        self.computer.close()

    @cached_property
    def described(self) -> dict[str, Any]:
        """What `/v1/model` says."""
        classifier, limits = self.classifier, self.settings.limits
        height, width = classifier.image_size
        known, about = classifier.metadata, card(classifier, self._weights)
        figures = known.get("accuracy")
        return {
            "name": self.name,
            "labels": list(classifier.labels),
            "image_size": [height, width],
            "channels": classifier.network.graph.image_shape[2],
            "engine": classifier.engine,
            "temperature": classifier.temperature,
            "prior": classifier.prior,
            "parameters": classifier.network.graph.num_params,
            "sha256": about["sha256"],
            **{key: known.get(key) for key in _TOLD},
            "accuracy": [
                figure
                for figure in (figures if isinstance(figures, list) else [])
                if isinstance(figure, dict) and figure.get("view", "single") == "single"
            ],
            "limits": about["limits"],
            "request_limits": {name: getattr(limits, name) for name in _OF_A_REQUEST},
        }
