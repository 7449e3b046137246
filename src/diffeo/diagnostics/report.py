"""What :func:`~diffeo.diagnostics.verify.verify` found: figures by requirement, in words and as a table."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from html import escape
from typing import Any

from diffeo.diagnostics.checks.round_trip import FLAGGED
from diffeo.diagnostics.figure import Figure


@dataclass(frozen=True)
class Report:
    """The outcome of a verification.

    Attributes:
        name: what was verified.
        requirements: the figures of each requirement: "contract", "differentiable", "invertible",
            "determinant", "cheap", "rows", and of a flow "mass" and "sampler".
    """

    name: str
    requirements: dict[str, tuple[Figure, ...]]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Return every figure."""
        return tuple(figure for figures in self.requirements.values() for figure in figures)

    @property
    def failures(self) -> tuple[Figure, ...]:
        """Return the figures that failed."""
        return tuple(figure for figure in self.figures if not figure.ok)

    @property
    def ok(self) -> bool:
        """Whether no figure failed."""
        return not self.failures

    @property
    def layers_at_fault(self) -> tuple[str, ...]:
        """Return the layers named by failures, as ("2: Coupling",), in the order found."""
        return tuple(dict.fromkeys(figure.layer for figure in self.failures if figure.layer))

    @property
    def words(self) -> str:
        """Return the verdict in one line.

        >>> import torch, diffeo
        >>> from diffeo.diagnostics import verify
        >>> verify(diffeo.bijections.Scale(2)).words
        'differentiable: yes · invertible: yes · determinant: right and cheap · contract: kept · rows: ...'
        """
        said: list[str] = []
        if "differentiable" in self.requirements:
            said.append(f"differentiable: {self._yes('differentiable')}")
        if "invertible" in self.requirements:
            said.append(f"invertible: {self._yes('invertible')}{self._conditioning()}")
        if "determinant" in self.requirements:
            determinants = self.requirements["determinant"]
            compared = any(figure.tested for figure in determinants if "autograd" in figure.name)
            right = self._one_of("determinant", "right" if compared else "not compared", "wrong")
            if "cheap" in self.requirements:
                cheap = self._failed("cheap")
                if not (cheap and _raised(cheap)):
                    right += ", not cheap" if cheap else " and cheap"
            said.append(f"determinant: {right}")
        if self.requirements.get("mass"):
            figure = self.requirements["mass"][0]
            told = figure.detail if figure.tested else "not judged"
            said.append(f"mass: {told}" if figure.ok else f"mass: wrong ({told})")
        if "sampler" in self.requirements:
            said.append(
                f"samples: {self._one_of('sampler', 'agree with the density', 'do not agree with it')}"
            )
        if "contract" in self.requirements:
            said.append(f"contract: {self._one_of('contract', 'kept', 'broken')}")
        if "rows" in self.requirements:
            said.append(f"rows: {self._one_of('rows', 'isolated', 'not isolated')}")
        return " · ".join(said)

    def _conditioning(self) -> str:
        """Return a remark when rows are too ill-conditioned for float32."""
        told = [figure.detail for figure in self.requirements["invertible"] if figure.ok]
        for precision in ("float64", "float32"):
            if any(f"{FLAGGED} {precision}" in detail for detail in told):
                return f", with rows {FLAGGED} {precision}"
        return ""

    def _failed(self, requirement: str) -> list[Figure]:
        return [figure for figure in self.requirements[requirement] if not figure.ok]

    def _one_of(self, requirement: str, yes: str, no: str) -> str:
        failed = self._failed(requirement)
        if failed:
            layer = next((figure.layer for figure in failed if figure.layer), "")
            said = "cannot be checked" if _raised(failed) else no
            return f"{said} (layer {layer})" if layer else said
        judged = any(figure.tested for figure in self.requirements[requirement])
        return yes if judged else "not judged"

    def _yes(self, requirement: str) -> str:
        return self._one_of(requirement, "yes", "no")

    def __str__(self) -> str:
        """Return the words, then one line for each figure, and what was found below it."""
        lines = [f"{self.name}: {'ok' if self.ok else 'FAILED'}", self.words, ""]
        wide = max((len(figure.name) for figure in self.figures), default=0)
        head = f"  {'requirement':<15}{'check':<{wide}}"
        head += f"  {'worst':>9}  {'limit':>7}  {'tested':>6}  {'failed':>6}"
        lines += [head, "  " + "─" * (len(head) - 2)]
        seen: set[str] = set()
        for requirement, figures in self.requirements.items():
            for k, figure in enumerate(figures):
                mark = " " if figure.ok else "✗"
                lines.append(
                    f"{mark} {requirement if k == 0 else '':<15}{figure.name:<{wide}}  "
                    f"{figure.worst:>9.2g}  {figure.limit:>7.2g}  {figure.tested:>6}  {figure.failed:>6}"
                )
                where = f"layer {figure.layer}: " if figure.layer else ""
                told = where + figure.detail
                if told and told not in seen:
                    lines.append(f"{'':<17}↳ {told}")
                    seen.add(told)
        return "\n".join(lines)

    def print(self) -> None:
        """Print the report, in colour on a terminal."""
        from rich.console import Console
        from rich.text import Text

        text = Text()
        for line in str(self).splitlines():
            bad = line.startswith("✗") or line.endswith(": FAILED")
            text.append(line + "\n", style="bold red" if bad else "dim" if "↳" in line else "")
        Console().print(text, end="", soft_wrap=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values; a number that is not finite is None."""

        def plain(figure: Figure) -> dict[str, Any]:
            values = dataclasses.asdict(figure) | {"ok": figure.ok}
            for key, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    values[key] = None
            return values

        return {
            "name": self.name,
            "ok": self.ok,
            "words": self.words,
            "requirements": {
                key: [plain(figure) for figure in all_] for key, all_ in self.requirements.items()
            },
        }

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def _raised(figures: list[Figure]) -> bool:
    """Whether every one of the figures stands for an exception, and none for a measurement."""
    return all(figure.detail.startswith("raised") for figure in figures)
