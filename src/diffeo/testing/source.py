"""The package's own source, read as Python reads it: is there anything that could execute a file?"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import diffeo
from diffeo.diagnostics.figure import Figure

#: Modules that unpickle, compile, load machine code or start programs.
_MODULES = {
    "pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "subprocess",
    "ctypes", "cffi", "code", "codeop", "runpy", "imp", "pty", "commands", "zipimport",
}  # fmt: skip

#: Functions that execute what they are given, by the names they are called by.
_FUNCTIONS = {"eval", "exec", "compile", "__import__", "execfile"}

#: Attributes that do, with what they are attributes of.
_ATTRIBUTES = {
    "torch.load", "torch.save", "torch.hub", "torch.jit.load", "torch.package", "torch.serialization",
    "os.system", "os.popen", "os.startfile", "os.execv", "os.execve", "os.execvp", "os.execl", "os.spawnv",
    "os.spawnl", "os.posix_spawn", "os.fork", "builtins.eval", "builtins.exec", "importlib.import_module",
}  # fmt: skip

#: What compiled code ends in.
_COMPILED = frozenset({".so", ".pyd", ".dll", ".dylib", ".c", ".cc", ".cpp", ".cu", ".pyx", ".pyc"})

#: What is allowed all the same: (file or folder, what) and why. An entry that is not needed fails as well.
ALLOWED: Mapping[tuple[str, str], str] = {
    (
        "__init__.py",
        "importlib.import_module",
    ): "imports this package's own modules when they are asked for",
    (
        "registry.py",
        "importlib.import_module",
    ): "imports this package's own folders, out of a constant list",
    (
        "kernels/native/source/diffeo.cpp",
        "compiled code",
    ): "the kernels' own text, which the user's compiler makes a library of",
    (
        "diagnostics/__init__.py",
        "importlib.import_module",
    ): "imports one folder of this package, named by a constant, which stands a layer above",
    (
        "images/data/pickled.py",
        "pickle",
    ): "reads CIFAR-10 as it was published, by a reader to which a file can name stand-ins only",
    ("training/config.py", "compile"): "the name of a setting",
    ("kernels/native/build.py", "subprocess"): "runs the C++ compiler on this package's own sources",
    ("kernels/native/library.py", "ctypes"): "loads what the compiler made of them, by the digest of both",
    ("kernels/native/program.py", "ctypes"): "calls it",
    ("kernels/native/levels.py", "ctypes"): "calls it",
    ("testing", "subprocess"): "starts this interpreter again, to look at a process of its own",
}


def no_code_execution(
    folder: Path | None = None, allowed: Mapping[tuple[str, str], str] = ALLOWED
) -> Figure:
    """Count the places in a package that unpickle, evaluate, execute or import by a computed name.

    Read from the syntax tree: what docstrings and comments say does not count. Compiled code does.

    Args:
        folder: of the package; diffeo itself if not given.
        allowed: the exceptions, each (file or folder, what) with its reason.

    >>> no_code_execution().ok
    True
    """
    root = folder or Path(diffeo.__file__).parent
    found: list[tuple[str, str, int]] = []
    files = 0
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if "__pycache__" in path.parts or not path.is_file():
            continue
        if path.suffix in _COMPILED:
            found.append((name, "compiled code", 0))
        elif path.suffix == ".py":
            files += 1
            found += [(name, what, line) for what, line in suspicious(path.read_text("utf-8"))]
    seen = {(place, what) for name, what, _ in found for place in (name, name.partition("/")[0])}
    bad = [
        f"{name}:{line}: {what}"
        for name, what, line in found
        if (name, what) not in allowed and (name.partition("/")[0], what) not in allowed
    ]
    bad += [
        f"{name}: {what} is allowed, and not there" for name, what in allowed if (name, what) not in seen
    ]
    return Figure(
        "places that could execute a file",
        worst=float(len(bad)),
        limit=0.0,
        tested=files,
        failed=len(bad),
        detail="; ".join(bad[:3]) or f"{len(allowed)} allowed, each with a reason",
        figure="D8",
    )


def suspicious(source: str) -> Iterator[tuple[str, int]]:
    r"""Yield what could execute code in ``source``, and the line.

    >>> list(suspicious("import torch\ntorch.load('model')  # not pickle\nmodel.eval()"))
    [('torch.load', 2)]
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((what, node.lineno) for what in _imported(node))
        elif isinstance(node, ast.Name) and node.id in _FUNCTIONS:
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            if dotted in _ATTRIBUTES:
                yield dotted, node.lineno
        elif isinstance(node, ast.Call):
            yield from _unsafe_settings(node)


def _unsafe_settings(call: ast.Call) -> Iterator[tuple[str, int]]:
    if _dotted(call.func).endswith(".save"):  # numpy's: writing executes nothing
        return
    safe = {"allow_pickle": False, "weights_only": True}
    for keyword in call.keywords:
        if keyword.arg in safe:
            value = keyword.value
            if not (isinstance(value, ast.Constant) and value.value is safe[keyword.arg]):
                yield f"{keyword.arg}={ast.unparse(value)}", value.lineno


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.Import):
        yield from (name.partition(".")[0] for name in names if name.partition(".")[0] in _MODULES)
        yield from (name for name in names if name in _ATTRIBUTES)
        return
    module = node.module or ""
    if node.level == 0 and module.partition(".")[0] in _MODULES:
        yield module.partition(".")[0]
    dotted = {f"{module}.{name}" for name in names}
    yield from sorted(dotted & _ATTRIBUTES)


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
