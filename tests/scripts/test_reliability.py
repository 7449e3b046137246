"""The reliability page, on figures that are quickly measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "reliability.py"


def measured(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_prints_and_writes_what_it_measured(tmp_path):
    wanted = ("--figures", "A7", "A8", "--cases", "Affine", "--no-peers")
    answer = measured("--quick", "--workers", 1, *wanted, "--json", tmp_path / "page.json")
    assert answer.returncode == 0, answer.stderr
    page = json.loads((tmp_path / "page.json").read_text())
    assert {figure["figure"] for figure in page["figures"]} == {"A7", "A8"}
    assert all(figure["tested"] > 1000 and figure["failed"] == 0 for figure in page["figures"])
    assert "0 broken" in answer.stdout
    for figure in page["figures"]:
        assert figure["name"] in answer.stdout


def test_an_unknown_figure_is_refused():
    answer = measured("--figures", "Z9")
    assert answer.returncode == 2
    assert "Z9" in answer.stderr


@pytest.fixture
def script(monkeypatch):
    import importlib.util

    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("reliability", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["reliability"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["reliability"]


def test_a_broken_promise_shows_in_the_exit_code(script, monkeypatch, capsys):
    import reliability_page

    from diffeo.diagnostics.figure import Figure

    broken = Figure("slopes", 2.0, 1.0, 10, 3, detail="too steep", figure="A8")
    monkeypatch.setattr(script, "measure", lambda *_: [broken])
    monkeypatch.setattr(sys, "argv", ["reliability.py", "--figures", "A8"])
    assert script.main() == 1
    printed = capsys.readouterr().out
    assert "too steep" in printed
    assert "1 broken" in printed
    assert reliability_page.rate(broken) == "0.3"
    assert reliability_page.rate(Figure("none", 0.0, 1.0, 300, 0)) == "< 0.01"


def test_every_promised_figure_has_a_task(script):
    promised = [
        "A1",
        "A3",
        "A4",
        "A5",
        "A7",
        "A8",
        "A9",
        "A10",
        "B1",
        "B2",
        "B3",
        "B4",
        "B6",
        "B8",
        "B9",
        "C1",
        "C2",
        "C7",
        "C8",
        "D1",
        "D3",
        "D5",
        "D6",
        "D8",
        "E1",
        "E3",
        "E5",
    ]
    assert set(promised) <= set(script.TITLES)
    for label in promised:
        pooled, alone = script.plan(True, [label])
        assert pooled + alone, label
    few, _ = script.plan(True, ["A7", "A8"], "Affine")
    assert all("Affine" in task.arguments[0] for task in few)
    assert {task.name for task in few} == {"contract", "laws"}
