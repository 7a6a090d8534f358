"""Figures by group as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ferjax.errors import printable
from ferjax.evaluate.subgroups import Gap, GroupComparison, Subgroups


def text(subgroups: Subgroups) -> str:
    """Return a table for the terminal: a block a comparison."""
    blocks = [_block(comparison, subgroups) for comparison in subgroups.comparisons]
    if any(group.small for c in subgroups.comparisons for group in c.groups):
        blocks.append(
            f"* fewer than {subgroups.smallest} images: left out of gaps, ratios and p-values"
        )
    return "\n\n".join(blocks)


def _block(comparison: GroupComparison, subgroups: Subgroups) -> str:
    names = [printable(group.name, 40) + " *" * group.small for group in comparison.groups]
    width = max(map(len, [*names, "recall"]))
    lines = [
        f"{printable(comparison.name, 80)}: stated for {comparison.stated:,} "
        f"of {subgroups.images:,} images",
        f"  {'group':<{width}}  images  accuracy (95 % interval)  macro F1 (95 % interval)",
    ]
    for name, group in zip(names, comparison.groups):
        low, high = group.accuracy_interval
        accuracy = f"{_points(group.accuracy)} ({100 * low:.1f} to {100 * high:.1f})"
        macro_f1 = f"{group.macro_f1:.3f}"
        if group.macro_f1_interval is not None:
            macro_f1 += " ({:.3f} to {:.3f})".format(*group.macro_f1_interval)
        lines.append(f"  {name:<{width}}  {group.images:6,}  {accuracy:<24}  {macro_f1}")
    lines += [f"  {line}" for line in _recall_lines(comparison, names, width)]
    lines += [f"  {line}" for line in [*_gap_lines(comparison, subgroups), *comparison.notes]]
    return "\n".join(lines)


def _recall_lines(comparison: GroupComparison, names: Sequence[str], width: int) -> list[str]:
    """Return the recall of each group by class, in percent."""
    classes = [printable(name, 12) for name in comparison.groups[0].recall]
    columns = [max(len(name), 5) for name in classes]
    rows = [["recall", *classes]]
    for name, group in zip(names, comparison.groups):
        rows.append(
            [name, *("-" if r is None else f"{100 * r:.1f}" for r in group.recall.values())]
        )
    return [
        "  ".join([f"{first:<{width}}", *(f"{c:>{n}}" for c, n in zip(cells, columns))]).rstrip()
        for first, *cells in rows
    ]


def _gap_lines(comparison: GroupComparison, subgroups: Subgroups) -> list[str]:
    gap, f1, recall = comparison.gap, comparison.macro_f1_gap, comparison.recall_gap
    p, q = comparison.p_value, comparison.p_value_same_classes
    if gap is None or f1 is None or p is None or q is None:
        return []
    corrected, corrected_q = comparison.p_corrected, comparison.p_corrected_same_classes
    several = subgroups.tested > 1
    between = "; " if len(comparison.attributes) > 1 else ", "
    ratio = "" if comparison.ratio is None else f", ratio {comparison.ratio:.2f}"
    for_all = f" ({corrected:.2g} corrected for {subgroups.tested} comparisons)" if several else ""
    lines = [
        f"largest gap {_sides(gap, between)}{ratio}, p {p:.2g}{for_all};",
        f"with the same mixture of expressions {100 * (comparison.standardised_gap or 0):.1f} "
        f"points, p {q:.2g}" + (f" ({corrected_q:.2g} corrected)" if several else ""),
        f"macro F1: gap {f1.size:.3f} ({printable(f1.low, 40)} {f1.low_value:.3f}{between}"
        f"{printable(f1.high, 40)} {f1.high_value:.3f})",
    ]
    if recall is not None:
        lines.append(
            f"recall: largest gap {_sides(recall, between)}, {recall.class_name} (not tested)"
        )
    return lines


def _sides(gap: Gap, between: str) -> str:
    return (
        f"{100 * gap.size:.1f} points ({printable(gap.low, 40)} {_points(gap.low_value)}{between}"
        f"{printable(gap.high, 40)} {_points(gap.high_value)})"
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
