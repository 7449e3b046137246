"""What README, ARCHITECTURE and docs show is run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{k}")
    for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md")))
    for k, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_shown_runs(block, tmp_path, monkeypatch):
    for package in re.findall(r"^import (emcee)", block, re.MULTILINE):
        pytest.importorskip(package)  # of the dev extra alone
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "<document>", "exec"), {"__name__": "__document__"})


def test_every_document_shows_code():
    named = {"README.md", "ARCHITECTURE.md", "compare.md", "friends.md", "objectives.md", "peers.md"}
    named |= {"engine.md", "imageflows.md", "images.md", "report.md", "tables.md", "understand.md"}
    assert {p.id.split("-")[0] for p in BLOCKS} == named


def test_links_lead_to_files_that_exist():
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}, which does not exist"


def test_importing_diffeo_leaves_heavy_packages_alone():
    """Also where every public name but the scikit-learn estimator is used; torch.compile's own machinery
    alone takes a second.
    """
    heavy = ("polars", "sklearn", "scipy", "matplotlib", "rich", "typer", "hypothesis", "pandas")
    heavy += ("torch._dynamo", "torch._inductor")
    code = (
        "import torch, sys; before = set(sys.modules); import diffeo; "
        "[getattr(diffeo, name) for name in diffeo.__all__ if name != 'FlowDensity']; "
        f"print([m for m in {heavy!r} if m in sys.modules and m not in before])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
