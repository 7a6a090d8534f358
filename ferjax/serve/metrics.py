"""What Prometheus is told: counts and times, nothing of any picture.

With several processes each writes its numbers to files in a folder, `PROMETHEUS_MULTIPROC_DIR`,
which prometheus_client looks for where it is first imported; what is told is of all of them.
"""

from __future__ import annotations

import os
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of a service."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._own = own
        self._requests = Counter(
            "ferjax_requests", "Requests that were answered.", ["path", "status"], registry=own
        )
        self._seconds = Histogram(
            "ferjax_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=own,
        )
        self._images = Counter(
            "ferjax_images", "Pictures, by path and by what came of them.", ["path", "outcome"],
            registry=own,
        )  # fmt: skip
        self._faces = Counter("ferjax_faces", "Faces that were classified.", registry=own)
        self._find = Histogram(
            "ferjax_find_seconds",
            "Seconds in which a picture was decoded and its faces found.",
            buckets=_SECONDS,
            registry=own,
        )
        self._network = Histogram(
            "ferjax_network_seconds",
            "Seconds in which a batch went through the network.",
            buckets=_SECONDS,
            registry=own,
        )
        self._batch = Histogram(
            "ferjax_batch_faces", "Faces of a batch.", buckets=_FACES, registry=own
        )
        self._waited = Histogram(
            "ferjax_batch_wait_seconds",
            "Seconds that a batch's first face waited for the network.",
            buckets=_SECONDS,
            registry=own,
        )
        self.waiting = Gauge(
            "ferjax_images_waiting",
            "Pictures that wait or are looked at.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self.ready = Gauge(
            "ferjax_ready_processes",
            "Processes whose network is ready.",
            multiprocess_mode="livesum",
            registry=own,
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def image(self, path: str, outcome: str) -> None:
        """Count a picture; `outcome` is "done", "given-up" or the code of why it is not."""
        self._images.labels(path, outcome).inc()

    def found(self, seconds: float) -> None:
        """Count a picture whose faces were found; see `computing.Observer`."""
        self._find.observe(seconds)

    def classified(self, faces: int, seconds: float, waited: float) -> None:
        """Count a batch; see `computing.Observer`."""
        self._faces.inc(faces)
        self._batch.observe(faces)
        self._network.observe(seconds)
        self._waited.observe(waited)

    def told(self, accept: str | None) -> tuple[bytes, str]:
        """Return what Prometheus is told, of all processes, and its media type."""
        encode, media_type = choose_encoder(accept or "")
        registry = self._own
        if os.environ.get(FOLDER):
            registry = CollectorRegistry()
            collect: Any = MultiProcessCollector  # untyped
            collect(registry)
        return encode(registry), media_type
