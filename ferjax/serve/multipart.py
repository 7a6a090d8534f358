"""A form with pictures, `multipart/form-data`, as its bytes come; nothing of it goes to the disk.

A part with a file name, or of a type `image/...`, is a picture; any other is an option.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ferjax.errors import printable
from ferjax.serve.refusals import Refusal

_MAX_OPTIONS: Final = 32
_MAX_OPTION_BYTES: Final = 16_384
_MAX_BOUNDARY: Final = 70  # letters, as RFC 2046 has it
_PLAIN: Final = (b"", b"7bit", b"8bit", b"binary")


@dataclass
class Upload:
    """A picture of a request: its name, or None, and its file's bytes."""

    name: str | None
    data: bytes


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file_name: str | None = None
    is_image: bool = False
    data: bytearray = field(default_factory=bytearray)


class Form:
    """The parts of a form.

    Attributes:
        images: the pictures so far.
        options: the other parts so far, by name.
    """

    def __init__(self, content_type: str, max_images: int) -> None:
        """Begin a form.

        Args:
            content_type: what the request's header says, of which the boundary is taken.
            max_images: how many pictures it may have.

        Raises:
            Refusal: it names no boundary.
        """
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary", b"")
        if not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise Refusal("malformed-body", "expected a boundary in the Content-Type of a form")
        self.images: list[Upload] = []
        self.options: dict[str, str] = {}
        self._max_images = max_images
        self._part = _Part()
        self._name, self._value = bytearray(), bytearray()
        self._ended = False
        callbacks: Any = {
            name: getattr(self, f"_{name}")
            for name in (
                "on_part_begin on_part_data on_part_end on_header_field on_header_value "
                "on_header_end on_headers_finished on_end"
            ).split()
        }
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            Refusal: they are no form, or it has more parts than it may.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise _malformed() from None

    def close(self) -> None:
        """Take that the body is at its end.

        Raises:
            Refusal: the form is not.
        """
        try:
            self._parser.finalize()
        except FormParserError:
            raise _malformed() from None
        if not self._ended:
            raise Refusal("malformed-body", "the form breaks off before its last boundary")

    # --- what the parser calls -------------------------------------------------------------------

    def _on_part_begin(self) -> None:
        self._part = _Part()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._part.headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        part = self._part
        disposition, about = parse_options_header(part.headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in about:
            raise Refusal("malformed-body", "expected a name in the header of each part of a form")
        encoding = part.headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _PLAIN:
            raise Refusal("unsupported-body", "expected parts of a form as they are, not encoded")
        part.name = printable(_text(about[b"name"]), 100)
        file_name = about.get(b"filename")
        type_ = part.headers.get(b"content-type", b"").strip().lower()
        part.is_image = file_name is not None or type_.startswith(b"image/")
        part.file_name = printable(_text(file_name), 200) if file_name else None
        if part.is_image and len(self.images) >= self._max_images:
            raise too_many_images(self._max_images)
        if not part.is_image and part.name in self.options:
            raise Refusal("invalid-option", f"{part.name}: given twice")
        if not part.is_image and len(self.options) >= _MAX_OPTIONS:
            raise Refusal("invalid-option", f"expected at most {_MAX_OPTIONS} options, got more")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.data += memoryview(data)[start:end]
        if not part.is_image and len(part.data) > _MAX_OPTION_BYTES:
            raise Refusal(
                "invalid-option",
                f"{part.name}: expected an option of at most {_MAX_OPTION_BYTES:,} bytes; "
                "a part with a picture has a file name",
            )

    def _on_part_end(self) -> None:
        part = self._part
        if part.is_image:
            self.images.append(Upload(part.file_name, bytes(part.data)))
        else:
            self.options[part.name] = _text(bytes(part.data))
        part.data = bytearray()

    def _on_end(self) -> None:
        self._ended = True


def too_many_images(most: int) -> Refusal:
    """Return what is said of more pictures in a request than it may have."""
    return Refusal(
        "too-many-images", f"expected at most {most} pictures in a request, got more; send several"
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _malformed() -> Refusal:
    return Refusal("malformed-body", "expected a form, multipart/form-data, as its type says")
