"""What is answered where a request is not done: problem details as RFC 9457 has them.

    {"type": "about:blank", "title": "Content Too Large", "status": 413, "code": "too-many-pixels",
     "detail": "a.png: 20000 x 20000 pixels; expected at most 50,000,000 in all, scale it down"}

`code` is for programs and never changes its meaning, `detail` for people.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi.responses import JSONResponse

from ferjax.errors import printable

MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[dict[str, tuple[int, str]]] = {
    # code: status, what it says
    "malformed-body": (400, "The body is not the JSON or the form that its type says."),
    "no-token": (401, "The request bears no token, or none that is known."),
    "origin-not-allowed": (403, "A page of another origin asks, which is not allowed to."),
    "not-found": (404, "Nothing is at this path."),
    "method-not-allowed": (405, "The path is not for this method."),
    "body-timeout": (408, "The body came too slowly."),
    "body-too-large": (413, "The body has too many bytes."),
    "too-many-images": (413, "The request has too many pictures."),
    "too-many-pixels": (413, "A picture has too many pixels."),
    "not-an-image": (415, "What was sent is no picture of a format that is read."),
    "unsupported-body": (415, "The body is of a type that is not taken."),
    "host-not-allowed": (421, "The service is not addressed by a name of its own."),
    "no-images": (422, "The request has no picture."),
    "unreadable-image": (422, "A picture is damaged, cut off or of a kind that is not decoded."),
    "too-many-faces": (422, "A photograph has too many faces."),
    "too-costly": (422, "To look for faces as small as is asked takes too long."),
    "invalid-option": (422, "An option is unknown, or its value is out of range."),
    "too-many-requests": (429, "This client has too many pictures waiting."),
    "failed": (500, "The service failed; its log says where."),
    "busy": (503, "Too many pictures are waiting."),
    "timed-out": (503, "The answer took too long."),
    "starting": (503, "The network is not ready yet."),
    "ending": (503, "The service is about to end."),
}
_AGAIN_IN: Final = {"too-many-requests": 1, "busy": 1, "timed-out": 5, "starting": 2, "ending": 2}


class Refusal(Exception):
    """A request, or a picture of one, that is not done; see `CODES`.

    Attributes:
        code: what is wrong, for programs.
        detail: a sentence for people.
        status: the HTTP status code.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = printable(detail, 1000)
        self.status = CODES[code][0]

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the answer has beside the usual ones."""
        headers = {}
        if self.code in _AGAIN_IN:
            headers["Retry-After"] = str(_AGAIN_IN[self.code])
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="ferjax"'
        return headers

    @property
    def problem(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.problem, self.status, headers=self.headers, media_type=MEDIA_TYPE)
