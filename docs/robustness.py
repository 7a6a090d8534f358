"""Draw how robust weights are from a report.json that `ferjax evaluate --robustness` wrote.

python docs/robustness.py checkpoints/reports/fer_cnn8_votes.json docs/pictures/robustness.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from ferjax.evaluate import card, plots
from ferjax.evaluate.robustness import Robustness


def main(argv: Sequence[str]) -> None:
    source, picture = argv
    report = card.read_report(source)
    evaluation = SimpleNamespace(
        robustness=Robustness(**report["robustness"]),
        weights=report["weights"],
        data=report["data"],
        tta=report["tta"],
        whole=SimpleNamespace(images=report["whole"]["images"]),
    )
    plots.robustness(cast(Any, evaluation)).savefig(picture, dpi=120)


if __name__ == "__main__":
    main(sys.argv[1:])
