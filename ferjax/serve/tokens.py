"""The tokens of which each request has to bear one: `Authorization: Bearer TOKEN`.

A token file has one a line; empty lines and those that begin with # are left out. It is read again
once it has changed, so that tokens are added and withdrawn without a new start: what it does not
hold any more is withdrawn, all of it where it is empty or gone.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ferjax.errors import FerjaxError, printable

SHORTEST: Final = 16  # letters
_MOST_BYTES: Final = 1 << 20
_LOOK_EVERY: Final = 1.0  # seconds
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # what a Bearer header may hold

logger = logging.getLogger("ferjax.serve")


class Tokens:
    """The tokens of a file.

    Args:
        path: the file.
        strict: refuse a file that holds no token or one that is too short. Later, and where this is
            False, its good tokens hold, which may be none, and the log says so.
        clock: seconds, for when to look whether it has changed.

    Raises:
        FerjaxError: it cannot be read, or is refused.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        strict: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._state_now()
        self._digests, problem = self._read()
        if problem and strict:
            raise FerjaxError(problem)
        if problem:
            logger.warning("%s; tokens that hold: %d", problem, len(self._digests))
        self._logged = problem
        self._looked = clock()
        if self._state is not None and os.name == "posix" and self._state[0] & 0o077:
            logger.warning(
                "%s can be read by other users; chmod 600 it", printable(os.fspath(path))
            )

    def client(self, header: str | None) -> str | None:
        """Return a name for whoever bears a token, or None where it is unknown or missing.

        Args:
            header: what `Authorization` says.

        Takes as long whichever of the tokens it is, and however much of it is right.
        """
        scheme, _, token = (header or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        known = None
        for other in self._current():
            if hmac.compare_digest(digest, other):
                known = other
        return None if known is None or scheme.lower() != "bearer" else known.hex()[:16]

    def _current(self) -> tuple[bytes, ...]:
        with self._lock:
            now = self._clock()
            if now - self._looked >= _LOOK_EVERY:
                self._looked = now
                state = self._state_now()
                if state != self._state:
                    self._state = state
                    self._read_again()
            return self._digests

    def _read_again(self) -> None:
        before = self._digests
        try:
            self._digests, problem = self._read()
        except FerjaxError as error:  # it is not known what the file holds now
            problem = f"{error}; the tokens from before still hold"
            self._state = ()  # so that it is tried again
        withdrawn = len(set(before) - set(self._digests))
        if problem != self._logged or self._digests != before:
            hold = f"tokens that hold: {len(self._digests)}, withdrawn: {withdrawn}"
            logger.warning("%s", f"{problem}; {hold}" if problem else hold)
        self._logged = problem

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            at = self._path.stat()
        except (OSError, ValueError):
            return None
        return at.st_mode, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns

    def _read(self) -> tuple[tuple[bytes, ...], str]:
        """Return the digests of the file's tokens, and what is wrong with it, "" for nothing.

        Raises:
            FerjaxError: it is there, and cannot be read.
        """
        name = printable(os.fspath(self._path))
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                return (), f"{name}: expected a file of tokens, one a line"
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            problem = f"{name}: the tokens cannot be read: {reason}"
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                return (), problem
            raise FerjaxError(problem) from None
        lines = [line.strip() for line in content.splitlines()]
        tokens = [line for line in lines if line and not line.startswith(b"#")]
        is_good = [len(token) >= SHORTEST and bool(_TOKEN.fullmatch(token)) for token in tokens]
        problem = ""
        if not tokens:
            problem = f"{name}: expected a token a line, got none; `openssl rand -hex 32` makes one"
        elif not all(is_good):
            problem = (
                f"{name}: token {is_good.index(False) + 1}: expected at least {SHORTEST} letters, "
                "digits and -._~+/; `openssl rand -hex 32` makes one"
            )
        good = [token for token, good in zip(tokens, is_good, strict=True) if good]
        return tuple(hashlib.sha256(token).digest() for token in good), problem
