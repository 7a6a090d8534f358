"""The page at "/": `ferjax.web` writes it for the classifier of the service.

Photographs that are looked at there stay in the browser; the service gets none of them. Where ONNX
Runtime Web is not at hand, a short page says how to get it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from ferjax.errors import FerjaxError
from ferjax.serve.refusals import Refusal
from ferjax.web import headers, runtime, site

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

logger = logging.getLogger("ferjax.serve")

_MISSING: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>ferjax</title></head>
<body>
<h1>ferjax answers here</h1>
<p>The page that looks at photographs in the browser needs ONNX Runtime Web, which this service
lacks: <code>npm pack {package}@{version}</code> fetches it, and
<code>ferjax serve --runtime FILE</code> takes it.</p>
<p>For programs: <a href="openapi.json">openapi.json</a>.</p>
</body>
</html>
"""


class Page:
    """The page's files, or what stands in for them.

    Args:
        folder: where they are, or are to be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: _Files | None = None
        self._is_missing = False

    def write(
        self, classifier: EmotionClassifier, weights: Path, given: str | os.PathLike[str] | None
    ) -> None:
        """Write the page, unless another process of the service has.

        Args:
            classifier: what the page classifies by.
            weights: their file.
            given: where ONNX Runtime Web is, as for `ferjax.web.find_runtime`, or None.

        Raises:
            FerjaxError: what is given is not ONNX Runtime Web.
        """
        if not self._folder.exists():
            try:
                at_hand = runtime.find(given, fetch=False)
                site.write(classifier, self._folder, runtime=at_hand, weights=weights)
            except runtime.RuntimeMissingError:
                logger.info("the page lacks ONNX Runtime Web; --runtime names it")
            except FerjaxError as error:
                if given is not None:
                    raise
                logger.warning("no page: %s", error)
        if self._folder.exists():
            self._files = _Files(directory=self._folder, html=True)
        self._is_missing = self._files is None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer for a file of the page."""
        response: Any
        if self._files is not None:
            response = self._files
        elif self._is_missing and scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            text = _MISSING.format(package=runtime.PACKAGE, version=runtime.VERSION)
            response = HTMLResponse(text, headers=dict(headers.HEADERS))
        elif self._is_missing:
            raise HTTPException(404)
        else:
            raise Refusal("starting", "the page is not written yet; try again")
        await response(scope, receive, send)


class _Files(StaticFiles):
    """The site's files, with its headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        for name, value in headers.HEADERS.items():
            response.headers[name] = value
        if response.status_code != 304:
            response.headers["Content-Type"] = headers.content_type(os.fspath(args[0]))
        return response
