"""A table of text, and numbers as people read them."""

from collections.abc import Sequence


def number(value: float) -> str:
    """Two or three digits that matter: 0.012, 1.23, 12.3, 123."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or not value else f"{value:.2g}"


def render(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head. The first column is text, the others are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([row[0].ljust(widths[0]), *others]) if first else "  ".join(others)
