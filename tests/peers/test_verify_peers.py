"""The example that runs verify on peers: its tables and findings, on the peers that are installed here."""

import importlib.metadata
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from diffeo.diagnostics import Figure, Report

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_peers.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("verify_peers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["verify_peers"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["verify_peers"]


@pytest.mark.parametrize("peer", ["zuko", "nflows"])
def test_a_sound_flow_gets_its_marks(script, peer):
    marks = {
        weights: {key: script.mark(report, key) for key in (*script.MATHEMATICS, *script.PROMISES)}
        for _, weights, report, _ in script.verified(peer, most=1)
    }
    assert set(marks) == {"default", "stressed × 4"}
    for requirement in script.MATHEMATICS:
        assert marks["default"][requirement] == "✓", marks
        assert marks["stressed × 4"][requirement] in "✓–", marks
    assert marks["default"]["rows"] == "✗"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_is_found_in_zuko(script):
    seen = [answer for _, answer in script.findings("zuko")]
    assert "off by 3.2189 nats" in seen[0]
    assert "comes back as [[10.0, " in seen[1]
    assert 0 < float(re.search(r"∫p = ([0-9.]+)", seen[2])[1]) < 0.99


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_is_found_in_nflows(script):
    seen = [answer for _, answer in script.findings("nflows")]
    assert seen[0].startswith("RuntimeError")
    assert "(4, 10, 2) at once, (8, 5, 2) in batches" in seen[1]
    below, drawn = re.search(r"each (\d+) raise .*, (\d+) at normal", seen[2]).groups()
    assert int(below) > 50
    assert int(drawn) == 0


def test_every_finding_says_whose_it_is(script):
    for peer, found in script.FINDINGS.items():
        assert found
        assert all(finding.__doc__.startswith(f"{peer}: ") for finding in found)


def test_a_peer_that_is_not_installed_is_skipped_loudly(script, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    (line,) = script.page("normflows")
    assert "SKIPPED" in line
    assert "pip install normflows" in line


def test_a_page_has_a_row_for_each_flow_and_what_was_found(script, monkeypatch):
    wrong = Figure("log-determinant", 2.0, 1e-9, 32, 32, "1: Flipped", "it has the wrong sign", "A3")
    right = Figure("round trip", 0.1, 10.0, 64, 0)
    report = Report("it", {"invertible": (right,), "determinant": (right, wrong)})
    monkeypatch.setattr(script, "verified", lambda peer, most: iter([("It", "default", report, 1.0)]))
    monkeypatch.setitem(script.FINDINGS, "nflows", script.FINDINGS["nflows"][1:2])
    lines = list(script.page("nflows"))
    assert lines[0].startswith("## nflows 0.14")
    assert "| It | default | – | ✓ | ✗ | – | – | – | – | – | 1 |" in lines
    assert "- It, default: log-determinant, layer 1: Flipped: it has the wrong sign" in lines
    assert any("in batches of 5" in line for line in lines)


def test_the_two_lines_of_the_document_run():
    text = (SCRIPT.parents[1] / "docs" / "peers.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(compile(block, "docs/peers.md", "exec"), names)
    assert names["report"].name == "zuko MAF"
    assert not [
        f
        for key in ("invertible", "determinant", "mass")
        for f in names["report"].requirements[key]
        if not f.ok
    ]


def test_the_document_quotes_what_the_script_asks(script):
    text = " ".join((SCRIPT.parents[1] / "docs" / "peers.md").read_text().split())
    for found in script.FINDINGS.values():
        for finding in found:
            assert finding.__doc__ in text
