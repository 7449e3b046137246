"""Hostile files: refused with a typed error, at once, and without any effect."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

import diffeo
from diffeo.cli import run
from diffeo.errors import ConfigError, FileError
from diffeo.files import container, describe_file
from diffeo.testing.audit import load_safely
from diffeo.testing.damaged import bit_flips, newer_and_unknown
from diffeo.testing.malicious import malicious_files, small_flow
from diffeo.testing.malicious_models import malicious_models, model_about
from diffeo.testing.source import ALLOWED, no_code_execution, suspicious


def test_malicious_files_are_refused_under_an_audit_hook():
    figure = load_safely()
    assert figure.ok, figure
    assert figure.tested > 300


def test_the_audit_sees_what_it_is_for(tmp_path):
    # In a process of its own: an audit hook stays for ever.
    code = f"""
        import os, sys
        from pathlib import Path
        from diffeo.testing.audit import _Watch
        watch = _Watch(Path({str(tmp_path)!r}))
        sys.addaudithook(watch.hook)
        def imports():
            import antigravity
        for call in (
            lambda: eval("1"), lambda: os.system("true"), imports, lambda: open("/etc/passwd"),
            lambda: open({str(tmp_path / "new")!r}, "w"), lambda: os.remove({str(tmp_path / "new")!r}),
            lambda: __import__("socket").socket(), lambda: __import__("subprocess").run(["true"]),
            lambda: __import__("pickle").loads(b"cos\\nsystem\\n(Vtrue\\ntR."),
        ):
            print(watch.during(call), "|", len(watch.seen))
    """
    environment = {**os.environ, "BROWSER": "true"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = [line.split(" | ") for line in done.stdout.splitlines()]
    assert len(lines) == 9
    assert all(outcome == "was accepted" and int(seen) > 0 for outcome, seen in lines), done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Return the path of every malicious file, by what it is."""
    folders = [tmp_path_factory.mktemp(name) for name in ("files", "models")]
    return {**dict(malicious_files(folders[0])), **dict(malicious_models(folders[1]))}


def test_every_message_names_the_file_and_says_what_to_do(corpus):
    remedies = (
        "Give the path", "Copy it again", "Check the path", "Upgrade diffeo", "import the module",
        "It was not written by diffeo", "refused before anything", "perhaps", "nested too deeply",
        "describes no part", "states no format", "no model",
    )  # fmt: skip
    for name, path in corpus.items():
        with pytest.raises(FileError) as caught:
            diffeo.load(path)
        message = str(caught.value)
        assert any(remedy in message for remedy in remedies), (name[:80], message)
        assert str(path) in message or "kind=" in message, (name[:80], message)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no file: a pipe", "is not a regular file"),
        ("no file: a folder", "is not a regular file"),
        ("no file: nothing", "No such file"),
        ("foreign: empty", "it has 0 bytes and no complete safetensors header"),
        ("header: length 9223372036854775808", "no complete safetensors header"),
        ("header: a tensor twice", "no readable 'diffeo' entry"),
        ("tensors: a bit of a tensor", "changed after it was written"),
        ("tensors: a terabyte declared", "does not fit in the file's"),
    ],
)
def test_messages_say_what_is_wrong(corpus, name, words):
    with pytest.raises(FileError, match=words):
        diffeo.load(corpus[name])


def test_the_command_that_describes_a_file_says_so_too(corpus, capsys):
    for name, path in corpus.items():
        if name.startswith(("description:", "header:", "no file:")):
            assert run(["info", str(path)]) in (0, 2), name[:80]
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_cannot_steer_the_terminal(tmp_path, capsys):
    about, tensors = model_about(small_flow())
    about["model"] = {"kind": "\x1b]0;owned\x07\nflows.Flow", "args": {}}
    container.write(tmp_path / "a.safetensors", tensors, {**about, "extra": {"\x1b[2J": "\x1b[2J"}})
    assert run(["info", str(tmp_path / "a.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "owned" in said
    assert "\x1b" not in said


def test_a_flipped_bit_never_loads_as_another_model():
    figure = bit_flips(400, seed=1)
    assert figure.ok, figure


def test_newer_files_and_unknown_kinds_are_told_what_to_do():
    figure = newer_and_unknown()
    assert figure.ok, figure


def test_nothing_in_the_package_executes_a_file():
    figure = no_code_execution()
    assert figure.ok, figure
    assert figure.tested > 50


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import os.path, marshal", "import torch.hub",
        "torch.load(path)", "from torch import load", "torch.hub.load('a', 'b')", "eval(text)",
        "f = exec", "__import__(name)", "os.system('true')", "from os import system",
        "importlib.import_module(name)", "from importlib import import_module", "import subprocess as s",
        "np.load(path, allow_pickle=True)", "torch.jit.load(path)", "load(path, weights_only=False)",
        "from joblib import load", "def f():\n    import dill",
    ],
)  # fmt: skip
def test_what_could_execute_a_file_is_found(source, tmp_path):
    assert list(suspicious(source))
    (tmp_path / "part.py").write_text(source)
    assert not no_code_execution(tmp_path, {}).ok


@pytest.mark.parametrize(
    "source", ["model.eval()", "re.compile('a')", "'import pickle'  # eval(1)", "load(a)"]
)
def test_what_could_not_is_not_found(source):
    assert not list(suspicious(source))


def test_compiled_code_and_needless_exceptions_are_found(tmp_path):
    assert no_code_execution(tmp_path, {}).ok
    assert not no_code_execution(tmp_path, ALLOWED).ok
    (tmp_path / "fast.so").write_bytes(b"\x7fELF")
    assert "compiled code" in no_code_execution(tmp_path, {}).detail


def test_what_a_file_could_not_give_back_is_not_written(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ConfigError, match=r"'a' has dtype torch\.complex64"):
        container.write(path, {"a": torch.zeros(2, dtype=torch.complex64)}, {})
    with pytest.raises(ConfigError, match="Keep large arrays in buffers"):
        container.write(path, {}, {"a": "x" * 2**24})
    with pytest.raises(ConfigError, match="extra must be plain JSON"):
        diffeo.files.save(small_flow(), path, extra={"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(tmp_path):
    path = tmp_path / "model.safetensors"
    flow = small_flow()
    flow.save(path)
    with container.opened(path) as file:
        about, _ = container.header_of(file)
        flow.double().save(path)
        assert container.tensors_of(file, about)["base._anchor"].dtype == torch.float32
    assert diffeo.load(path).dtype == torch.float64


def test_describing_a_file_builds_nothing(tmp_path):
    flow = small_flow()
    flow.save(tmp_path / "model.safetensors")
    about = describe_file(tmp_path / "model.safetensors")
    assert about["model"]["kind"] == "flows.Flow"
    assert {name: tuple(shape) for name, shape in about["tensors"].items()} == {
        name: tuple(tensor.shape) for name, tensor in flow.state_dict().items()
    }
