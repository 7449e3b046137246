"""Is the fit right? Nats, the gap to held-out rows, coverage, conditionals, latent, a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit import Gap, coverage, held_out, latent_normality, overfitting_gap, pit
from diffeo.diagnostics.fit.finding import LEVEL
from diffeo.report import figures
from diffeo.report.draft import TESTED, Draft, Section, numeric
from diffeo.report.subject import Rows, Subject

Array = NDArray[np.float64]


def judge_fit(draft: Draft) -> None:
    """Write the section on the fit, and its verdict."""
    from scipy.special import ndtr

    section = draft.section("fit", "Is the fit right?")
    rows, subject, some = draft.rows, draft.subject, draft.some()
    beside, chosen, spaced = _simple_densities(rows, subject)
    nats = held_out(rows.log_p[chosen], beside)
    draft.figures["nats"] = nats
    section.words.append(nats.in_words().replace("held-out rows have", "rows have"))
    if nats.beside and spaced:
        section.words.append(
            f"Of numbers with a spacing ({', '.join(spaced)}) the model has probabilities; the simple "
            "densities are taken times the spacing, which is nearly that."
        )
    if nats.beside:
        section.drawings.append(figures.of_beside(nats))
    if subject.held is not None:
        _say_gap(draft, section, overfitting_gap(rows.log_p, subject.held))
    covered = coverage(rows.log_p, subject.draws.log_p, seed=draft.seed)
    draft.find(section, "coverage", covered)
    section.drawings.append(figures.of_coverage(covered))
    verdicts = {"coverage": covered.p}
    if some.residuals is not None and np.isfinite(some.residuals).all():
        names = subject.columns
        if subject.density is None:  # layers may permute: a latent number is of no column
            names = tuple(f"z{k + 1}" for k in range(len(names)))
        else:
            transforms = pit(ndtr(some.residuals), names)
            draft.find(section, "pit", transforms)
            if subject.together:
                section.words.append(
                    f"Of the columns that are modelled together ({', '.join(subject.together)}) it is "
                    "the latent number of each that is tested, given the other columns."
                )
            worst = np.argsort(-transforms.gaps)[:12]
            section.drawings += [figures.of_pit(transforms, int(k), f"pit{k}") for k in worst]
            verdicts["conditionals (PIT)"] = float(transforms.p.min())
        latent = latent_normality(some.residuals, names, seed=draft.seed)
        draft.find(section, "latent", latent)
        section.drawings.append(figures.of_latent(latent))
        verdicts["latent"] = latent.p
    else:
        section.words.append("The base is not standard normal: conditionals and latent are not tested.")
    told = _classified(some, subject.draws, draft.seed)
    if told is not None:
        draft.figures["classifier"] = told
        section.words.append(str(told))
        verdicts["classifier"] = told.p_value
    _conclude(draft, verdicts, covered.worst)


def _conclude(draft: Draft, verdicts: dict[str, float], worst: float) -> None:
    """Say in the summary whether the density can be trusted; several tests are corrected for."""
    level = LEVEL / len(verdicts)
    speaking = [name for name, p in verdicts.items() if p <= level]
    quiet = [name for name in verdicts if name not in speaking]
    draft.figures["tests"] = verdicts
    if not speaking:
        draft.say(
            "good",
            f"As far as {len(draft.rows):,} rows can tell, the density is right: {_listed(quiet)} find "
            "nothing wrong.",
        )
        return
    verb = "says" if len(speaking) == 1 else "say"
    others = f" {_listed(quiet)} {'finds' if len(quiet) == 1 else 'find'} nothing." if quiet else ""
    draft.say(
        "look",
        f"The density is not exactly that of these rows: {_listed(speaking)} {verb} so.{others} Regions "
        f"of highest density are off by {100 * worst:.1f} % of the rows at most.",
    )


def _listed(names: list[str]) -> str:
    text = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
    return text[:1].upper() + text[1:] if text else text


def _say_gap(draft: Draft, section: Section, gap: Gap) -> None:
    """Say whether the rows are likelier than those that were held out of the fit."""
    draft.figures["gap"] = gap
    size = f"{abs(gap.gap):.3f} ± {gap.error:.3f} nats a row"
    verdict = "look"
    if gap.p > LEVEL:
        verdict = "good"
        said = f"These rows are as likely as the rows that the fit held out (a difference of {size})."
    elif gap.gap > 0 and draft.subject.folds:
        verdict = "told"
        said = (
            f"These rows are {size} likelier than rows were while the fit held them out. A mean of "
            "models of several folds is better than each of them, so that new rows may be; rows that were "
            "trained on look the same."
        )
    elif gap.gap > 0:
        said = (
            f"These rows are {size} likelier than the rows that the fit held out: they were probably "
            "trained on, and the tests of the fit are kinder than they should be. Report on rows that "
            "took no part."
        )
    else:
        said = (
            f"These rows are {size} less likely than the rows that the fit held out: they come from "
            "elsewhere, or the fit was chosen by its held-out rows."
        )
    section.words.append(said)
    draft.say(verdict, said)


def _simple_densities(
    rows: Rows, subject: Subject
) -> tuple[dict[str, Array], NDArray[np.int64], list[str]]:
    """Return log p under densities fitted to the other half of the rows, the rows, and columns on lattices.

    Columns of a few values, labels, holes or atoms among real numbers have no density that these could be
    compared with. On a lattice the model has probabilities: there densities are taken times its spacing.
    """
    columns = list(rows.columns.values())
    everything = np.arange(len(rows))
    variables = [] if subject.density is None else subject.density.density_.joint.variables
    spaced = {v.name: v.lattice for v in variables if v.lattice}
    fine = all(v.lattice or not v.levels for v in variables)
    if not fine or not all(
        numeric(c) and np.isfinite(c).all() and len(np.unique(c)) > 0.5 * len(c) for c in columns
    ):
        return {}, everything, []
    x = np.stack(columns, 1)[: 2 * TESTED]
    if len(x) < 10 * (x.shape[1] + 1):
        return {}, everything, []
    from diffeo.friends import Gaussian, GaussianMixture

    half = np.arange(len(x)) % 2 == 0
    found: dict[str, Array] = {}
    makers: list[tuple[str, Any]] = [("a Gaussian", Gaussian())]
    if len(x) >= 200:
        makers.append(("a Gaussian mixture", GaussianMixture(components=(2, 5), covariances=("full",))))
    for name, friend in makers:
        log_p = np.empty(len(x))
        for mine in (half, ~half):
            log_p[mine] = friend.fit(x[~mine]).log_prob(x[mine]) + np.log(list(spaced.values())).sum()
        found[f"{name}, fitted to the other half of the rows"] = log_p
    return found, everything[: len(x)], list(spaced)


def _classified(rows: Rows, draws: Rows, seed: int) -> Any:
    """Return what a classifier finds between rows and draws; None where it cannot be asked."""
    from diffeo.diagnostics.samples import classifier_two_sample

    fine = draws.numbers[np.isfinite(draws.numbers).all(1)]
    if rows.numbers.shape[1] != fine.shape[1] or min(len(rows), len(fine)) < 30:
        return None  # holes among the ones and not among the others: the columns' tests say so
    return classifier_two_sample(rows.numbers, fine[: len(rows)], seed, most=2000)
