"""What a measurement comes to: medians, spreads, bars; as a table and as JSON."""

from dataclasses import asdict, dataclass, field
from math import pi, sqrt
from statistics import median, quantiles


@dataclass
class Figure:
    """One figure against its bar. `at_least`: more is better; otherwise less is."""

    name: str
    title: str
    value: float
    bar: float
    unit: str
    at_least: bool = True
    # Why the figure means nothing on this machine now; such a figure neither passes nor fails.
    unreliable: str = ""
    remark: str = ""
    raw: dict = field(default_factory=dict)

    @property
    def verdict(self):
        if self.unreliable:
            return "unreliable"
        good = self.value >= self.bar if self.at_least else self.value <= self.bar
        return "pass" if good else "FAIL"

    def to_json(self):
        return {**asdict(self), "verdict": self.verdict}


def of(runs, key="cpuSeconds"):
    """The median of one figure of several runs."""
    return median(run[key] for run in runs)


def uncertainty(runs, key):
    """The standard error of the median of one figure of several runs, as part of it: that of a normal distribution with the same
    middle half."""
    low, middle, high = quantiles((run[key] for run in runs), n=4)
    return sqrt(pi / 2) * (high - low) / 1.349 / sqrt(len(runs)) / middle


def spread(runs, key="cpuSeconds"):
    """Least and greatest, as part of the median."""
    values, middle = [run[key] for run in runs], of(runs, key)
    return f"{min(values) / middle - 1:+.0%}…{max(values) / middle - 1:+.0%}"


def line(figure):
    """One figure in a line."""
    return f"{figure.title}: {shown(figure.value, figure.unit)} ({bar(figure)}, {figure.verdict}); {remark(figure)}"


def table(figures):
    """The figures as lines of text."""
    head = ("", "figure", "bar", "", "")
    rows = [(f.title, shown(f.value, f.unit), bar(f), f.verdict, remark(f)) for f in figures]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows])


def remark(figure):
    return f"{figure.unreliable}; {figure.remark}" if figure.unreliable else figure.remark


def bar(figure):
    return ("≥ " if figure.at_least else "≤ ") + shown(figure.bar, figure.unit)


def shown(value, unit):
    if unit == "%":
        return f"{value:.1%}"
    return f"{value:.2f} ×" if value < 5 else f"{value:.1f} ×"
