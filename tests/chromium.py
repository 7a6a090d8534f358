"""Chromium for tests, without a window, by Playwright."""

from __future__ import annotations

import os
import shutil
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


def launch(chromium: Any, *flags: str) -> Any:
    """Start Chromium, Playwright's browser type, with flags; root's takes another one."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return chromium.launch(
        executable_path=CHROMIUM, args=[*flags, *(["--no-sandbox"] if is_root else [])]
    )
