"""Prometheus's text format, version 0.0.4.

prometheus-client's own writer takes several times as long, mostly for labels that never change;
here the text of a series is made once.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SERIES_MOST = 20_000  # remembered texts; far above what the closed sets of labels allow


class TextFormat:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, ...], str] = {}

    def render(self, metrics: Iterable[Metric]) -> bytes:
        """All of them, in this order."""
        if len(self._series) > SERIES_MOST:
            self._series.clear()
        lines = []
        for metric in metrics:
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            created = f"{metric.name}_created"  # a series that this format does not have
            lines.append(f"# HELP {name} {metric.documentation}\n# TYPE {name} {metric.type}\n")
            for sample in metric.samples:
                if sample.name == created:
                    continue
                key = (sample.name, *sample.labels.values())
                series = self._series.get(key)
                if series is None:
                    series = self._series[key] = _series(sample.name, sample.labels)
                lines.append(f"{series} {_number(sample.value)}\n")
        return "".join(lines).encode()


def _series(name: str, labels: dict[str, str]) -> str:
    if not labels:
        return name
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
