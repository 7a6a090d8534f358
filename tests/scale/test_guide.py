"""The examples of the guide, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import ROOT

GUIDE = ROOT / "docs" / "guides" / "scale.md"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["Ray Data", "Spark", "Dask"])
def test_an_example_of_the_guide_gives_a_row_for_each_face(
    engine: str, photos: Path, tmp_path: Path
) -> None:
    module = {"Ray Data": "ray", "Spark": "pyspark", "Dask": "dask"}[engine]
    pytest.importorskip(module, reason=f"needs {module}")
    text = GUIDE.read_text(encoding="utf-8")
    (code,) = re.findall(rf"^{engine}:\n\n```python\n(.*?)^```", text, re.M | re.S)
    assert len(code.splitlines()) <= 16
    (photos / "sub" / "two.png").rename(photos / "two.png")
    (photos / "sub").rmdir()
    (photos / "notes.txt").unlink()
    # Dask's processes begin by importing what started them.
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    env["RAY_worker_niceness"] = "0"  # by default they come after all other processes
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    from pyarrow import parquet

    rows = [
        row
        for path in (tmp_path / "rows").rglob("*.parquet")
        for row in parquet.ParquetFile(path).read().to_pylist()
    ]
    found = sorted((Path(row["path"]).name, row["face"], bool(row["error"])) for row in rows)
    assert found == [
        ("cut.png", 0, True),
        *([] if engine == "Spark" else [("empty.jpg", 0, True)]),  # Spark passes over these
        ("none.png", 0, False),
        ("one.png", 1, False),
        ("two.png", 1, False),
        ("two.png", 2, False),
    ]
    assert all(row["label"] == "happy" for row in rows if row["face"])
