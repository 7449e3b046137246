"""Bad input: one message that names what is wrong and what to do, exit code 2, nothing written."""

import json
import os
import subprocess
import sys

import pytest

from .conftest import QUICK

TABLE = "width,height\n" + "".join(f"{k + 0.5},{(k * 37) % 101}\n" for k in range(60))


def spoil(old, new):
    assert old in TABLE
    return TABLE.replace(old, new, 1)


FIT = {
    "a missing file": (None, (), "does not exist"),
    "an empty file": ("", (), "is empty"),
    "a header only": ("a,b\n", (), "no rows"),
    "a text column": (
        spoil("7.5,", "red,"),
        (),
        "column 'width' (String) is not numeric: row 8 holds 'red'",
    ),
    "a missing value": (spoil("7.5,", ","), (), "column 'width' has a missing value in row 8"),
    "its remedy": (spoil("7.5,", ","), (), "--missing drop"),
    "a value beyond all others": (
        spoil("7.5,", "1e300,"),
        (),
        "column 'width' holds 1e+300 in row 8",
    ),
    "an infinity": (spoil("7.5,", "1e400,"), (), "column 'width' has an infinite value (+inf) in row 8"),
    "an unknown column": (TABLE, ("--columns", "widht"), "columns names 'widht'"),
    "its suggestion": (TABLE, ("--drop", "widht"), "Did you mean 'width'?"),
    "a constant column": ("a,b\n" + "1,2\n" * 30, (), "column 'a' is constant: every row holds 1"),
    "too few rows": ("a\n1\n2\n3\n", (), "3 usable row(s) for 1 column(s); expected at least 20"),
    "ragged rows": (spoil("7.5,", "7.5,9,"), (), "row 8 has 3 field(s); expected 2"),
    "repeated names": (spoil("height", "width"), (), "2 columns named 'width'"),
    "a column without a name": (spoil("height", ""), (), "column 2 has no name"),
    "widths that are none": (TABLE, ("--hidden", "a,b"), "--hidden 'a,b' is not a list of widths"),
    "a device that is not there": (TABLE, ("--device", "cuda:99"), "device='cuda:99'"),
    "a negative budget": (TABLE, ("--time-budget", "-1"), "time_budget=-1.0 must be"),
    "a bad share": (TABLE, ("--validation", "0.9"), "validation=0.9"),
    "a folder that is not there": (TABLE, ("-o", "nowhere/m.safetensors"), "'nowhere' is not"),
    "standard output as a model": (TABLE, ("-o", "-"), "a model is a binary file"),
    "an unknown treatment": (TABLE, ("--missing", "ignore"), "Invalid value for '--missing'"),
    "an unknown option": (TABLE, ("--epoch", "3"), "No such option: --epoch"),
    "a number that is none": (TABLE, ("--seed", "one"), "Invalid value for '--seed'"),
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("case", FIT)
def test_what_fit_refuses(diffeo, tmp_path, monkeypatch, case, as_json):
    content, options, message = FIT[case]
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "in.csv").write_text(content)
    output = () if "-o" in options else ("-o", "m.safetensors")
    outcome = diffeo("fit", "in.csv", *output, *QUICK, *options, *(("--json",) if as_json else ()))
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    if as_json:
        error = outcome.json["error"]
        assert message in error["message"]
        assert error["exit_code"] == 2
    else:
        assert outcome.out == ""
    assert {entry.name for entry in tmp_path.iterdir()} <= {"in.csv"}


SCORE = {
    "a missing file": (None, (), "does not exist"),
    "an absent column": ("width,hight\n1,2\n", (), "column 'height' of the model is not in the data"),
    "its suggestion": ("width,hight\n1,2\n", (), "Did you mean 'hight'?"),
    "a text": (
        "width,height\n1,2\n3,tall\n",
        (),
        "column 'height' (String) is not numeric: row 2 holds 'tall'",
    ),
    "a missing value": ("width,height\n1,2\n1,2\n1,\n", (), "'height' has a missing value in row 3"),
    "its remedy": ("width,height\n1,2\n1,2\n1,\n", (), "--missing keep"),
    "a late ragged row": ("width,height\n" + "1,2\n" * 5000 + "1\n", (), "row 5001 has 1 field(s)"),
    "no rows": ("width,height\n", (), "no rows"),
    "an output of no format": ("width,height\n1,2\n", ("-o", "out.xlsx"), "extension '.xlsx'"),
    "an output in no folder": (
        "width,height\n1,2\n",
        ("-o", "nowhere/out.csv"),
        "'nowhere' is not a folder",
    ),
    "json and data on one stream": ("width,height\n1,2\n", ("-o", "-", "--json"), "-o FILE"),
    "text in an array": (
        "width,height,note\n1,2,x\n",
        ("-o", "out.npy", "--append"),
        "column 'note' is not numeric, so NPY cannot hold it",
    ),
    "a column called as the result": (
        "width,height,log_prob\n1,2,3\n",
        ("-o", "out.csv", "--append"),
        "column 'log_prob' is already in the data",
    ),
}


@pytest.mark.parametrize("case", SCORE)
def test_what_score_refuses(diffeo, model, tmp_path, monkeypatch, case):
    content, options, message = SCORE[case]
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "in.csv").write_text(content)
    (tmp_path / "out.csv").write_text("as it was")
    output = () if "-o" in options else ("-o", "out.csv")
    outcome = diffeo("score", model, "in.csv", *output, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert (tmp_path / "out.csv").read_text() == "as it was"
    assert {entry.name for entry in tmp_path.iterdir()} <= {"in.csv", "out.csv"}


@pytest.mark.parametrize(
    "command", [("score", "M", "in.csv"), ("sample", "M", "-n", "3"), ("verify", "M"), ("info", "M")]
)
@pytest.mark.parametrize(
    "content", [None, b"", b"not a model", b"\xff" * 9], ids=["none", "empty", "text", "bytes"]
)
def test_a_file_that_is_no_model(diffeo, tmp_path, command, content):
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    (tmp_path / "in.csv").write_text(TABLE)
    arguments = [path if word == "M" else tmp_path / word if word == "in.csv" else word for word in command]
    outcome = diffeo(*arguments)
    assert outcome.code == 2
    assert "m.safetensors" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_flow_that_knows_no_columns_cannot_score_but_can_be_verified(diffeo, tmp_path):
    from diffeo.flows import RealNVP

    RealNVP(2, couplings=2, hidden=(4,)).save(tmp_path / "flow.safetensors")
    (tmp_path / "in.csv").write_text(TABLE)
    outcome = diffeo("score", tmp_path / "flow.safetensors", tmp_path / "in.csv")
    assert outcome.code == 2
    assert "holds a Flow, which knows no columns of a table" in outcome.err
    assert diffeo("info", tmp_path / "flow.safetensors", "--json").json["kind"] == "flows.Flow"
    assert diffeo("verify", tmp_path / "flow.safetensors", "--json").json["ok"] is True


def test_stated_treatments_report_what_they_leave_out(diffeo, tmp_path):
    text = "a,b,c,note\n" + "".join(f"{k if k != 5 else ''},{(k * 37) % 101},7,{'x'}\n" for k in range(60))
    (tmp_path / "in.csv").write_text(text)
    options = ("--missing", "drop", "--constant", "drop", "--drop", "note", "--json", *QUICK)
    outcome = diffeo("fit", tmp_path / "in.csv", "-o", tmp_path / "m", *options)
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows_left_out"] == 1
    assert outcome.json["columns_left_out"] == ["c", "note"]
    assert "rows left out, with a missing or infinite value: 1" in outcome.err
    assert "columns left out: 'c', 'note'" in outcome.err


def test_warnings_are_said_and_recorded(diffeo, tmp_path):
    (tmp_path / "in.csv").write_text("n\n" + "".join(f"{k % 7}\n" for k in range(300)))
    outcome = diffeo("fit", tmp_path / "in.csv", "-o", tmp_path / "m", "--json", *QUICK)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.json["warnings"])
    assert "column 'n' (7 distinct values in 300 rows) looks discrete" in said
    assert "can only be a normal density" in said
    assert outcome.err.count("warning: ") == len(outcome.json["warnings"])


def test_a_failed_training_exits_with_1(diffeo, tmp_path, monkeypatch):
    from diffeo.errors import TrainingError

    def failing(*arguments, **options):
        raise TrainingError("the loss was not finite in layer '2: Coupling'")

    monkeypatch.setattr("diffeo.tables.fitting.fit", failing)
    (tmp_path / "in.csv").write_text(TABLE)
    outcome = diffeo("fit", tmp_path / "in.csv", "-o", tmp_path / "m", "--json")
    assert outcome.code == 1
    assert outcome.json["error"]["type"] == "TrainingError"
    assert not (tmp_path / "m").exists()


def test_a_bug_is_called_one_and_shows_its_place_only_on_request(diffeo, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("diffeo.tables.fitting.fit", broken)
    (tmp_path / "in.csv").write_text(TABLE)
    command = ("fit", tmp_path / "in.csv", "-o", tmp_path / "m")
    outcome = diffeo(*command)
    assert outcome.code == 1
    assert "ZeroDivisionError: oops (this should not happen: it is a bug in diffeo" in outcome.err
    assert "Traceback" not in outcome.err
    monkeypatch.setenv("DIFFEO_DEBUG", "1")
    assert "Traceback" in diffeo(*command).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Usage: diffeo"),
        (("--version",), 0, "diffeo "),
        (("--help",), 0, "Usage: diffeo"),
        (("fit", "--help"), 0, "--time-budget"),
        (("fti",), 2, "No such command 'fti'"),
        (("sample", "m", "-n", "0"), 2, "Invalid value for '--rows' / '-n'"),
    ],
)
def test_usage(diffeo, arguments, code, said):
    outcome = diffeo(*arguments)
    assert outcome.code == code
    assert said in outcome.out + outcome.err


def test_a_closed_pipe_is_no_error(model):
    command = f"'{sys.executable}' -m diffeo.cli sample '{model}' -n 300000 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("width,height")
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_hostile_names_stay_text(diffeo, tmp_path):
    """Names are quoted where they are shown, so that none can pass for markup or for a control code."""
    names = ["[red]a[/red]", "\x1b[31mb", "=cmd", "line\nbreak"]
    header = ",".join('"' + name + '"' for name in names)
    rows = "".join(f"{k},{(k * 37) % 101},{(k * 53) % 97},{(k * k) % 89}\n" for k in range(60))
    (tmp_path / "in.csv").write_text(header + "\n" + rows)
    outcome = diffeo("fit", tmp_path / "in.csv", "-o", tmp_path / "m", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "'[red]a[/red]'" in outcome.err
    text = diffeo("info", tmp_path / "m").out
    assert "\x1b" not in outcome.err + text
    assert "'line\\nbreak'" in text
    drawn = diffeo("sample", tmp_path / "m", "-n", 2, "-o", tmp_path / "s.csv")
    assert drawn.code == 0
    from diffeo.tables import read_table

    assert read_table(tmp_path / "s.csv").columns == names
    facts = diffeo("info", tmp_path / "m", "--json")
    assert [column["name"] for column in json.loads(facts.out)["columns"]] == names


def test_no_command_writes_over_what_it_reads(diffeo, data, model, tmp_path):
    table, copy = tmp_path / "table.csv", tmp_path / "model.safetensors"
    table.write_bytes(data.read_bytes())
    copy.write_bytes(model.read_bytes())
    for command, file in (
        (("score", copy, table, "-o", table), table),
        (("score", copy, table, "-o", copy), copy),
        (("sample", copy, "-n", 3, "-o", copy), copy),
        (("fit", table, "-o", table, *QUICK), table),
        (("fit", table, "-o", copy, "--checkpoint", copy, *QUICK), copy),
    ):
        before = file.read_bytes()
        outcome = diffeo(*command)
        assert outcome.code == 2
        assert "would be lost" in outcome.err
        assert file.read_bytes() == before


def test_a_seed_that_no_generator_takes_is_refused_at_once(diffeo, data, model, tmp_path):
    for command in (
        ("fit", data, "-o", tmp_path / "m"),
        ("sample", model, "-n", 3, "-o", tmp_path / "s.csv"),
    ):
        outcome = diffeo(*command, "--seed", 2**64)
        assert outcome.code == 2
        assert "bug" not in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [("sample", "-n", "3"), ("info",), ("info", "--json")])
def test_a_full_output_is_said_to_be_full(model, command, unbuffered):
    # Python keeps what it could not write, and would try once more, and fail, at the very end.
    name, *options = command
    done = to_full(name, str(model), *options, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.count("could not be written") == 1
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_a_full_output_is_said_to_be_full_where_nothing_else_fails():
    done = to_full("--version", PYTHONUNBUFFERED="")
    assert done.returncode == 1
    assert done.stderr.count("could not be written") == 1


def to_full(*arguments, **environment):
    """Return what comes of a command whose standard output is a device that is full."""
    command = [sys.executable, "-m", "diffeo.cli", *arguments]
    with open("/dev/full", "w") as full:
        return subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )


def test_a_closed_output_is_said_to_be_closed(model):
    command = f"'{sys.executable}' -m diffeo.cli sample '{model}' -n 3 >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_error_of_ours(model, unbuffered):
    command = [sys.executable, "-m", "diffeo.cli", "sample", str(model), "-n", "3"]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone:
        done = subprocess.run(
            command,
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_a_table_without_a_header_is_suspected(diffeo, tmp_path):
    path = tmp_path / "bare.csv"
    path.write_text("".join(f"{k}.5,{k * k}\n" for k in range(60)))
    outcome = diffeo("fit", path, "-o", tmp_path / "m", *QUICK)
    assert outcome.code == 0
    assert "every column name is a number (0.5, 0)" in outcome.err
