"""``diffeo toys`` on a second of training: what it prints is what it measured."""

import json

import pytest

from diffeo.cli import run


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("toys")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(
            ["toys", "--toy", "moons", "--seconds", "1", "--workers", "1", "-o", str(folder), "--json"]
        )
    return folder, code, json.loads(out.getvalue()), err.getvalue()


def test_every_flow_is_trained_and_measured(ran):
    _, code, facts, said = ran
    assert code == 0
    assert [run["flow"] for run in facts["runs"]] == ["NSF", "RealNVP", "NICE"]
    for found in facts["runs"]:
        # Never below the entropy but by chance, and not far above what a normal density reaches.
        assert -4 * found["error"] < found["kl"] < 3
        assert found["steps"] > 0
        assert found["aim"] == 0.02
        mark = "✓" if found["kl"] <= 0.02 else "✗"
        assert f"{found['kl']:.4f} ± {found['error']:.4f} {mark}" in said
        assert f"{found['kl']:.4f} ± {found['error']:.4f}" in said


def test_the_picture_is_written(ran):
    folder, _, facts, _ = ran
    assert facts["picture"] == str(folder / "toys.png")
    assert (folder / "toys.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_toy_is_named(tmp_path, capsys):
    assert run(["toys", "--toy", "moon", "-o", str(tmp_path / "out")]) != 0
    said = capsys.readouterr().err
    assert "'moon'" in said
    assert "moons" in said
    assert not (tmp_path / "out").exists()
