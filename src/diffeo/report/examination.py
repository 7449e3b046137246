"""All that a report says of a model and its rows: findings first, then their words and figures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo._version import __version__
from diffeo.diagnostics.fit import (
    Finding,
    coverage,
    held_out,
    latent_normality,
    marginals,
    overfitting_gap,
    pit,
)
from diffeo.diagnostics.fit.finding import LEVEL, plain, said_p
from diffeo.report import figures
from diffeo.report.moulding import frames
from diffeo.report.subject import Rows, Subject, labels_of, subject_of
from diffeo.report.svg import Drawing, number

Array = NDArray[np.float64]

#: Rows that residuals and classifiers are asked of, at most.
_TESTED = 4_000


@dataclass
class Section:
    """A part of the report."""

    key: str
    title: str
    words: list[str] = field(default_factory=list[str])
    drawings: list[Drawing] = field(default_factory=list[Drawing])
    tables: list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]] = field(
        default_factory=list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]
    )
    text: str = ""


@dataclass
class Examination:
    """A report: its summary, its sections, its figures for machines.

    Attributes:
        title: of the page.
        summary: sentences, each with "good", "look" or "told".
        sections: the parts, in order.
        figures: plain JSON values of everything found.
        payload: what the page's script plays with.
    """

    title: str
    summary: list[tuple[str, str]]
    sections: list[Section]
    figures: dict[str, Any]
    payload: dict[str, Any]

    def in_words(self) -> str:
        """Return the summary."""
        return "\n".join(sentence for _, sentence in self.summary)

    def __str__(self) -> str:
        return self.in_words()

    def to_json(self) -> dict[str, Any]:
        """Return everything found, as plain JSON values."""
        summary = [{"verdict": verdict, "words": words} for verdict, words in self.summary]
        return {"title": self.title, "summary": summary, **self.figures}

    def html(self) -> str:
        """Return the page: one document that needs nothing else."""
        from diffeo.report.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and return where."""
        target = Path(path)
        target.write_text(self.html(), encoding="utf-8")
        return target

    def print(self) -> None:
        """Print the report on the terminal, with small tables in place of figures."""
        from diffeo.report.terminal import show

        show(self)

    def _repr_html_(self) -> str:
        from diffeo.report.page import brief

        return brief(self)


def examine(
    model: Any,
    data: Any,
    *,
    group: str | None = None,
    reference: Any = None,
    seed: int = 0,
    name: str = "",
    progress: Callable[[str], None] | None = None,
) -> Examination:
    """Examine a density and rows: is the fit right, what is unusual, do groups and times differ?

    Args:
        model: a fitted :class:`~diffeo.FlowDensity` without context, a table model, or a flow of vectors.
        data: rows, best such that took no part in the fit.
        group: a column whose groups are compared.
        reference: a second table of the same columns, to which the data are compared (drift).
        seed: of draws and tests: the same seed, the same report.
        name: of the data, for the title.
        progress: told what is done next.

    Raises:
        ConfigError: the model is none that can be reported on, or the group is no column.
        DataError: the table does not have the model's columns.

    >>> import diffeo
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = diffeo.FlowDensity("gaussian", random_state=0).fit(x)
    >>> found = examine(model, x)
    >>> found.figures["rows"], found.html().startswith("<!doctype html>")
    (300, True)
    """
    tell = progress or _silent
    tell("scoring and sampling")
    subject = subject_of(model, data, seed=seed)
    labels = None if group is None else labels_of(subject.rows.columns, group)
    summary: list[tuple[str, str]] = []
    found: dict[str, Any] = {
        "version": __version__, "kind": subject.kind, "columns": list(subject.columns), "rows": subject.total,
        "rows_looked_at": len(subject.rows), "seed": seed, "sha256": subject.digest,
    }  # fmt: skip
    of_rows = f"{subject.total:,} rows of {len(subject.columns)} columns"
    summary.append(("told", f"{subject.kind[0].upper()}{subject.kind[1:]}, asked about {of_rows}."))
    possible = np.isfinite(subject.rows.log_p)
    if not possible.all():
        count = int((~possible).sum())
        summary.append(
            ("look", f"{count} row(s) have density 0 under the model, and take no part in what follows.")
        )
    rows = subject.rows.some(np.flatnonzero(possible))
    if len(rows) < 10:
        from diffeo.errors import DataError

        raise DataError(f"data has {len(rows)} rows that the model holds possible; expected at least 10.")
    sections: list[Section] = []
    for title, work in (
        ("is the fit right?", _fit), ("columns and pairs", _marginals), ("likelihood", _likelihood),
        ("training and verification", _course),
    ):  # fmt: skip
        tell(title)
        sections.extend(work(subject, rows, summary, found, seed))
    place = 3
    if labels is not None and group is not None:
        tell("groups")
        sections.insert(place, _groups(subject, rows, labels[possible], group, summary, found))
        place += 1
    if reference is not None:
        tell("drift")
        sections.insert(place, _drift(subject, rows, subject.read(reference), summary, found))
    return Examination(
        f"diffeo report{': ' + name if name else ''}",
        summary,
        sections,
        plain(found),
        _payload(subject, rows, found),
    )


# -- is the fit right? ---------------------------------------------------------------------------


def _fit(
    subject: Subject, rows: Rows, summary: list[tuple[str, str]], found: dict[str, Any], seed: int
) -> list[Section]:
    from scipy.special import ndtr

    section = Section("fit", "Is the fit right?")
    some = rows.some(_some(len(rows), seed))
    nats = held_out(rows.log_p, _baselines(subject, rows))
    words = nats.in_words().replace("held-out rows have", "rows have")
    _say(section, found, "nats", nats, words)
    if nats.beside:
        section.drawings.append(figures.of_beside(nats))
    if subject.held is not None:
        gap = overfitting_gap(rows.log_p, subject.held)
        found["gap"] = gap
        if gap.p < LEVEL and gap.gap > 0:
            said = (
                f"These rows are {gap.gap:.3f} ± {gap.error:.3f} nats a row likelier than the rows "
                f"that the fit "
                "held out: they were probably trained on, and the tests below are kinder than they "
                "should be. "
                "Report on rows that took no part in the fit."
            )
        elif gap.p < LEVEL:
            said = (
                f"These rows are {-gap.gap:.3f} ± {gap.error:.3f} nats a row less likely than the rows "
                f"that the "
                "fit held out: they come from elsewhere, or the model was chosen by its held-out rows."
            )
        else:
            said = (
                f"These rows are as likely as the rows that the fit held out ({gap.gap:+.3f} ± "
                f"{gap.error:.3f} nats a row)."
            )
        section.words.append(said)
        summary.append(("good" if gap.p >= LEVEL else "look", said))
    covered = coverage(rows.log_p, subject.draws.log_p, seed=seed)
    _say(section, found, "coverage", covered)
    section.drawings.append(figures.of_coverage(covered))
    verdicts = [covered.p > LEVEL]
    if some.residuals is not None and np.isfinite(some.residuals).all():
        transforms = pit(ndtr(some.residuals), subject.columns)
        _say(section, found, "pit", transforms)
        worst = np.argsort(-transforms.gaps)[:12]
        section.drawings += [figures.of_pit(transforms, int(k), f"pit{k}") for k in worst]
        latent = latent_normality(some.residuals, subject.columns, seed=seed)
        _say(section, found, "latent", latent)
        section.drawings.append(figures.of_latent(latent))
        verdicts += [float(transforms.p.min()) > LEVEL, latent.p > LEVEL]
    else:
        section.words.append(
            "The base is not normal, or rows have no residuals: PIT and latent are not tested."
        )
    told = _classified(some, subject.draws, seed)
    if told is not None:
        found["classifier"] = told
        section.words.append(str(told))
        verdicts.append(told.p_value > LEVEL)
    right = sum(verdicts)
    judged = f"{right} of {len(verdicts)} tests of the fit find nothing at the level of {100 * LEVEL:.0f} %"
    if right == len(verdicts):
        summary.append(("good", f"The density can be trusted as far as these rows can tell: {judged}."))
    else:
        small = covered.worst < 0.03
        size = "the deviations are small" if small else "see below where"
        summary.append(
            (
                "look",
                f"{judged}: the density is not exactly that of these rows; {size}. {covered.in_words()}",
            )
        )
    return [section]


def _say(section: Section, found: dict[str, Any], key: str, one: Finding, words: str = "") -> None:
    found[key] = one
    section.words.append(words or one.in_words())


def _some(rows: int, seed: int) -> NDArray[np.int64]:
    if rows <= _TESTED:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, _TESTED, replace=False))


def _baselines(subject: Subject, rows: Rows) -> dict[str, Array]:
    """Return log p under a Gaussian and a mixture fitted to the other half of the rows."""
    from diffeo.friends import Gaussian, GaussianMixture

    table = list(rows.columns.values())
    numeric = all(column.dtype.kind == "f" and np.isfinite(column).all() for column in table)
    x = np.stack(table, 1) if numeric else np.zeros((0, 0))
    if not numeric or len(x) < 10 * (x.shape[1] + 1) or any(len(np.unique(c)) < 30 for c in table):
        return {}  # columns with steps have no density that these could be compared by
    x = x[: 2 * _TESTED]
    half = np.arange(len(x)) % 2 == 0
    found: dict[str, Array] = {}
    makers: list[tuple[str, Any]] = [("a Gaussian", Gaussian)]
    if len(x) >= 200:
        makers.append(("a Gaussian mixture", _mixture))
    for name, make in makers:
        log_p = np.full(len(rows), np.nan)
        try:
            log_p[: len(x)][half] = make().fit(x[~half]).log_prob(x[half])
            log_p[: len(x)][~half] = make().fit(x[half]).log_prob(x[~half])
        except (ValueError, np.linalg.LinAlgError):  # a column without spread in one half
            continue
        found[f"{name} of the other half of the rows"] = np.where(np.isnan(log_p), np.inf, log_p)
    _ = GaussianMixture
    return found


def _mixture() -> Any:
    from diffeo.friends import GaussianMixture

    return GaussianMixture(components=(2, 5), covariances=("full",))


def _classified(rows: Rows, draws: Rows, seed: int) -> Any:
    from diffeo.diagnostics.samples import classifier_two_sample

    if rows.numbers.shape[1] != draws.numbers.shape[1]:
        return None  # holes among the ones and not among the others: the columns' tests say so
    fine = np.isfinite(draws.numbers).all(1)
    if len(rows) < 30:
        return None
    return classifier_two_sample(rows.numbers, draws.numbers[fine][: len(rows)], seed, most=2000)


# -- columns -------------------------------------------------------------------------------------


def _marginals(
    subject: Subject, rows: Rows, summary: list[tuple[str, str]], found: dict[str, Any], seed: int
) -> list[Section]:
    section = Section("columns", "Columns and pairs: data over model")
    beside = marginals(rows.columns, subject.draws.columns, seed=seed)
    _say(section, found, "marginals", beside)
    summary.append(("good" if all(c.p > LEVEL for c in beside.columns) else "look", beside.in_words()))
    for k, column in enumerate(beside.columns[:30]):
        said = column.said if column.p <= LEVEL else "alike, to within chance"
        name = column.name
        section.drawings.append(
            figures.of_column(f"column{k}", name, rows.columns[name], subject.draws.columns[name], said)
        )
    if len(beside.columns) > 30:
        section.words.append(f"The 30 columns that are farthest apart are drawn, of {len(beside.columns)}.")
    if beside.pairs:
        table: list[tuple[Any, ...]] = [
            (pair.first, pair.second, f"{100 * pair.distance:.1f} %", said_p(pair.p))
            for pair in beside.pairs[:10]
        ]
        section.tables.append(
            (
                "The pairs of columns that are farthest apart",
                ("first", "second", "rows in other cells", "corrected"),
                table,
            )
        )
    return [section]


# -- likelihood ----------------------------------------------------------------------------------


def _likelihood(
    subject: Subject, rows: Rows, summary: list[tuple[str, str]], found: dict[str, Any], seed: int
) -> list[Section]:
    section = Section("likelihood-rows", "Likelihood, and the strangest rows")
    section.drawings.append(figures.of_likelihood(rows, subject.draws))
    held = subject.held if subject.held is not None else np.sort(subject.draws.log_p)
    against = "held-out rows of the fit" if subject.held is not None else "draws from the model"
    p = (1 + np.searchsorted(held, rows.log_p, side="right")) / (len(held) + 1)
    order = np.argsort(rows.log_p, kind="stable")[:10]
    table: list[tuple[Any, ...]] = []
    strange: list[dict[str, Any]] = []
    for k in order:
        why = _why(subject, rows, int(k))
        table.append((int(rows.index[k]) + 1, number(float(rows.log_p[k])), number(float(p[k])), why))
        strange.append(
            {"row": int(rows.index[k]) + 1, "log_p": float(rows.log_p[k]), "p": float(p[k]), "why": why}
        )
    section.tables.append(
        ("The ten least likely rows (counted from 1)", ("row", "log p", "p", "what is unusual"), table)
    )
    few = int((p <= LEVEL).sum())
    expected = LEVEL * len(p)
    section.words.append(
        f"p is the share of the {len(held):,} {against} that are as unlikely, so that it is calibrated "
        f"where a raw "
        f"likelihood is not. {few} of {len(p):,} rows have p ≤ {LEVEL:g}, where {expected:.0f} would "
        f"by chance. A "
        "row can also be too likely to be typical; that the histogram shows."
    )
    found["strangest"] = strange
    first = strange[0]
    summary.append(
        (
            "told",
            f"The least likely row is row {first['row']} (log p {number(first['log_p'])}, "
            f"{said_p(first['p'])}): {first['why']}.",
        )
    )
    return [section]


def _why(subject: Subject, rows: Rows, k: int) -> str:
    """Return which cells of a row are unlikely given those before them, by their residuals."""
    if rows.residuals is None:
        return ", ".join(f"{name} = {_cell(rows.columns[name][k])}" for name in list(rows.columns)[:3])
    z = np.nan_to_num(rows.residuals[k])
    worst = [j for j in np.argsort(-np.abs(z))[:3] if abs(z[j]) > 1.5] or [int(np.argmax(np.abs(z)))]
    return "; ".join(
        f"{subject.columns[j]} = {_cell(rows.columns[subject.columns[j]][k])} ({z[j]:+.1f} σ given the "
        f"columns before it)"
        for j in worst
    )


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.40}"


# -- groups, drift -------------------------------------------------------------------------------


def _groups(
    subject: Subject,
    rows: Rows,
    labels: NDArray[Any],
    group: str,
    summary: list[tuple[str, str]],
    found: dict[str, Any],
) -> Section:
    section = Section("groups", f"Groups of {group}")
    names, counts = np.unique(labels, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:12]]
    entries: list[tuple[str, float, float, float]] = []
    told: list[dict[str, Any]] = []
    for name in shown:
        mine = rows.log_p[labels == name]
        mean, half = (
            float(mean_of(mine)),
            float(2 * mine.std(ddof=1) / len(mine) ** 0.5) if len(mine) > 1 else np.inf,
        )
        entries.append((f"{name} ({len(mine):,} rows)", mean, mean - half, mean + half))
        told.append({"group": name, "rows": len(mine), "nats": mean, "half_interval": half})
    section.drawings.append(
        figures.of_intervals(
            "groups-nats",
            "Nats by group",
            "nats a row",
            entries,
            "Mean log p of each group's rows with two standard errors; small groups have wide ones.",
        )  # fmt: skip
    )
    listed = ", ".join(f"{name!r} {int((labels == name).sum()):,}" for name in shown)
    section.words.append(f"Rows by group: {listed}.")
    differ: list[str] = []
    if len(shown) > 1:
        first = labels == shown[0]
        for name in shown[1:]:
            other = labels == name
            if min(first.sum(), other.sum()) < 10:
                section.words.append(f"{name!r} has too few rows ({int(other.sum())}) for a comparison.")
                continue
            apart = marginals(
                {c: v[first] for c, v in rows.columns.items() if c != group},
                {c: v[other] for c, v in rows.columns.items() if c != group},
            )
            found.setdefault("groups_apart", {})[name] = apart
            section.tables.append(
                (
                    f"Columns in {shown[0]!r} and {name!r}",
                    ("column", "% of rows elsewhere", "corrected"),
                    [(c.name, f"{100 * c.distance:.1f} %", said_p(c.p)) for c in apart.columns[:10]],
                )  # fmt: skip
            )
            differ += [c.name for c in apart.columns if c.p <= LEVEL]
    names_ = ", ".join(repr(name) for name in dict.fromkeys(differ))
    said = (
        f"Between groups of {group!r} these columns differ by more than chance: {names_}. Whether that "
        f"is bias is a "
        "question about where the rows come from."
        if differ
        else f"Between groups of {group!r} no column differs by more than chance explains."
    )
    section.words.append(said)
    summary.append(("look" if differ else "good", said))
    found["groups"] = told
    return section


def mean_of(values: Array) -> float:
    """Return the mean, NaN for none."""
    return float(values.mean()) if len(values) else float("nan")


def _drift(
    subject: Subject, rows: Rows, before: Rows, summary: list[tuple[str, str]], found: dict[str, Any]
) -> Section:
    section = Section("drift", "Drift: these rows beside the reference")
    apart = marginals(before.columns, rows.columns)
    found["drift"] = apart
    moved = [column for column in apart.columns if column.p <= LEVEL]
    finite = before.log_p[np.isfinite(before.log_p)]
    gap = overfitting_gap(rows.log_p, finite)
    found["drift_gap"] = gap
    named = ", ".join(repr(column.name) for column in moved[:6])
    said = (
        f"{len(moved)} of {len(apart.columns)} columns moved since the reference: {named}"
        if moved
        else f"None of {len(apart.columns)} columns moved since the reference by more than chance explains"
    )
    said += (
        f"; these rows are {gap.gap:+.3f} ± {gap.error:.3f} nats a row likelier than those of the "
        f"reference."
    )
    section.words.append(said)
    summary.append(("look" if moved or gap.p < LEVEL else "good", said))
    table: list[tuple[Any, ...]] = [
        (c.name, f"{100 * c.distance:.1f} %", said_p(c.p)) for c in apart.columns[:20]
    ]
    section.tables.append(
        ("Columns, those that moved most first", ("column", "% of rows elsewhere", "corrected"), table)
    )
    return section


# -- training, verification, card ----------------------------------------------------------------


def _course(
    subject: Subject, rows: Rows, summary: list[tuple[str, str]], found: dict[str, Any], seed: int
) -> list[Section]:
    training = Section("training", "What was tried and chosen")
    if subject.weights:
        entries = [(name, weight) for name, weight in subject.weights]
        training.tables.append(
            ("Members of the mixture", ("member", "weight"), [(n, f"{w:.3f}") for n, w in entries])
        )
    training.text = "\n".join(subject.log)
    if not subject.log:
        training.words.append("The model file says nothing of how it was trained.")
    verification = Section("verification", "Is it a normalizing flow? Verification")
    moulder = subject.moulder
    if moulder is None:
        verification.words.append(
            "No member is a flow of numbers alone that could be taken apart: nothing is verified here."
        )
    else:
        from diffeo.diagnostics import verify

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = verify(moulder.flow, seed=seed)
        found["verify"] = report.to_dict()
        verification.words.append(f"{report.words}.")
        table: list[tuple[Any, ...]] = [
            (requirement, f.name, number(f.worst), number(f.limit), "holds" if f.ok else "FAILS")
            for requirement, all_ in report.requirements.items()
            for f in all_
        ]
        headings = ("requirement", "check", "worst", "limit", "")
        verification.tables.append(("Every check", headings, table))
        if not report.ok:
            summary.append(("look", f"Verification of its flow fails: {report.words}."))
        else:
            summary.append(("good", f"Its flow is verified: {report.words}."))
    card = Section("card", "Model card")
    facts = {
        **subject.card,
        "diffeo": __version__,
        "seed of this report": str(seed),
        "SHA-256 of the rows": subject.digest,
    }
    found["card"] = facts
    short = [(key, value) for key, value in facts.items() if "\n" not in value]
    card.tables.append(("The model and the rows", ("", ""), [*short]))
    card.text = "\n\n".join(value for value in facts.values() if "\n" in value)
    sections = [training, verification, card]
    if moulder is not None:
        weight = (
            "" if moulder.weight > 0.999 else f" It is the heaviest member, of weight {moulder.weight:.2f}."
        )
        sections.insert(0, Section("moulding", "Noise moulded into data", [
            f"Points of noise on their way through the flow's layers, coloured by how much volume grew "
            f"around them.{weight}"
        ]))  # fmt: skip
    return sections


def _payload(subject: Subject, rows: Rows, found: dict[str, Any]) -> dict[str, Any]:
    """Return points of pairs, and the frames of the moulding, for the page's script."""
    names = [name for name, values in rows.columns.items() if values.dtype.kind == "f"][:12]
    payload: dict[str, Any] = {"pairs": None, "moulding": None}
    if len(names) > 1:
        payload["pairs"] = {
            "columns": names,
            "rows": [_rounded(rows.columns[name][:400]) for name in names],
            "draws": [_rounded(subject.draws.columns[name][:400]) for name in names],
        }
    if subject.moulder is not None and len(subject.moulder.columns) > 1:
        payload["moulding"] = frames(subject.moulder)
    return plain(payload)


def _rounded(values: Array) -> list[float | None]:
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values.tolist()]


def _silent(line: str) -> None:
    del line
