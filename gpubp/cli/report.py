"""What `gpubp train --report FOLDER` writes: pictures, all figures as JSON, and a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import plots
from ..errors import InputError
from ..files import check_writable, write_atomically
from ..health import Health
from ..history import History

_PICTURES = {
    "loss": "Mean loss of each epoch, on the training and the held-out examples.",
    "gradients": "Norm of the gradient that reaches each layer, over the updates. Lines that lie "
    "decades apart are gradients that vanish or explode on their way from the output.",
    "updates": "Norm of each update over the norm of the weights it changes. About 0.001 is usual.",
}
_SAMPLES = 40  # at least, where the training is as long


class Report(Health):
    """A Health that says on standard error what it finds, and in the end writes a folder.

    The folder is made if need be. Raises `InputError` where it cannot be written, and
    `gpubp.plots.PlotsError` without Matplotlib: both before the training of `updates` updates.
    """

    def __init__(self, folder: str, updates: int) -> None:
        plots.matplotlib()
        self._folder = _writable(folder)
        super().__init__(every=max(1, min(50, updates // _SAMPLES)))
        self._said: set[str] = set()

    def on_epoch_end(self, net: Any, record: dict[str, Any]) -> str | None:
        super().on_epoch_end(net, record)
        self._say()
        return None

    def on_fit_end(self, net: Any, history: History) -> None:
        super().on_fit_end(net, history)
        self._say()

    def _say(self) -> None:
        for finding in self.findings:
            if finding.name not in self._said:
                self._said.add(finding.name)
                print(f"warning: {finding}", file=sys.stderr)

    def write(self, history: History, options: Mapping[str, Any]) -> None:
        """Write all files, leaving out the pictures for which there are no figures."""
        drawn = []
        for name in _PICTURES:
            if history.records if name == "loss" else self.records:
                figure = self._draw(name, history)
                for ending in ("png", "svg"):
                    plots.save(figure, self._folder / f"{name}.{ending}")
                drawn.append(name)
        findings = [{**asdict(found), "text": str(found)} for found in self.findings]
        told = {"options": dict(options), "history": history.records, "every": self.every,
                "health": self.records, "findings": findings, "limits": asdict(self.limits),
                "non_finite": self.non_finite}  # fmt: skip
        write_atomically(self._folder / "report.json", json.dumps(told, indent=1).encode())
        write_atomically(self._folder / "report.md", self._page(history, options, drawn).encode())

    def _draw(self, name: str, history: History) -> plots.Figure:
        if name == "loss":
            return plots.loss_curves(history)
        return (plots.gradient_norms if name == "gradients" else plots.update_ratios)(self)

    def _page(self, history: History, options: Mapping[str, Any], drawn: list[str]) -> str:
        given = ", ".join(f"{name} {value}" for name, value in options.items() if value is not None)
        lines = ["# A training run", "", f"{given}.", ""]
        if history.records:
            last = history.records[-1]
            figures = ", ".join(f"{k} {v:.4g}" for k, v in last.items() if k not in _TIMES)
            lines += [f"After {last['epoch']} epochs: {figures}.", ""]
        lines += ["## Findings", ""]
        if self.non_finite is not None:
            lines.append(f"- Training ended: {self.non_finite['message']}")
        lines += [f"- {finding}" for finding in self.findings]
        if lines[-1] == "":
            lines.append(f"None in {len(self.records)} updates that were looked into.")
        for name in drawn:
            lines += ["", f"## {name.capitalize()}", "", _PICTURES[name], "",
                      f"![{name}]({name}.svg)"]  # fmt: skip
        return "\n".join([*lines, "", "All figures are in report.json.", ""])


_TIMES = ("epoch", "seconds")


def _writable(folder: str) -> Path:
    path = Path(folder)
    if not folder:
        raise InputError("--report is empty; give the name of a folder")
    try:
        path.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the report to {folder}: {error}") from error
    check_writable(path / "report.json")
    return path
