"""Where a model comes from and what it is: moulding, members, verification, card."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from diffeo._version import __version__
from diffeo.report.draft import Draft
from diffeo.report.svg import number

#: Rows that the flow is verified at: time grows with them times the columns.
_VERIFIED = 24


def describe_moulding(draft: Draft) -> None:
    """Write the section that the page's script plays."""
    moulder = draft.subject.moulder
    if moulder is None or len(moulder.columns) < 2:
        return
    section = draft.section("moulding", "Noise moulded into data")
    section.words.append(
        "Points of noise on their way through the flow's layers, coloured by how much volume grew "
        "around them."
    )
    if moulder.weight < 0.999:
        section.words.append(f"The flow is the heaviest of the members, of weight {moulder.weight:.2f}.")


def describe_course(draft: Draft) -> None:
    """Write what was tried and chosen."""
    section = draft.section("training", "Training: what was tried and chosen")
    if draft.subject.weights:
        listed: list[tuple[Any, ...]] = [(name, f"{weight:.3f}") for name, weight in draft.subject.weights]
        section.tables.append(("Members of the mixture", ("member", "weight"), listed))
        draft.figures["members"] = dict(draft.subject.weights)
    section.text = "\n".join(draft.subject.log)
    if not draft.subject.log:
        section.words.append("The model says nothing of how it was trained.")


def verify_flow(draft: Draft) -> None:
    """Verify the flow: differentiable, invertible, its determinant right."""
    from diffeo.diagnostics import verify

    section = draft.section("verification", "Verification: is it a normalizing flow?")
    moulder = draft.subject.moulder
    if moulder is None:
        section.words.append(
            "No member is a flow of numbers alone that can be taken apart: nothing is verified."
        )
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what verify has to say is in its report
        points = moulder.flow.sample((_VERIFIED,), generator=torch.Generator().manual_seed(draft.seed))
        report = verify(moulder.flow, points.detach(), seed=draft.seed)
    draft.figures["verify"] = report.to_dict()
    section.words.append(f"{report.words}.")
    listed: list[tuple[Any, ...]] = [
        (requirement, one.name, number(one.worst), number(one.limit), "holds" if one.ok else "FAILS")
        for requirement, figures in report.requirements.items()
        for one in figures
    ]
    section.tables.append(("Every check", ("requirement", "check", "worst", "limit", "verdict"), listed))
    said = f"Its flow is verified: {report.words}." if report.ok else f"Its flow fails: {report.words}."
    draft.say("good" if report.ok else "look", said)


def write_card(draft: Draft) -> None:
    """Write the model card."""
    section = draft.section("card", "Model card")
    facts = {
        **draft.subject.card,
        "rows": f"{draft.subject.total:,}, of which {len(draft.subject.rows):,} were looked at",
        "SHA-256 of the rows": draft.subject.digest,
        "seed of this report": str(draft.seed),
        "diffeo": __version__,
    }
    draft.figures["card"] = facts
    short: list[tuple[Any, ...]] = [(key, value) for key, value in facts.items() if "\n" not in value]
    section.tables.append(("The model and the rows", ("what", "value"), short))
    section.text = "\n\n".join(value for value in facts.values() if "\n" in value)
