"""No shell, no pickle, no eval, and nothing of the device code can write a picture: read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for top in ("agent", "training", "quantize", "deploy") for p in (ROOT / top).rglob("*.py"))

CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput", "yaml.load"}
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
PICTURES = {"imwrite", "imencode", "VideoWriter", "tofile", "savez", "savez_compressed", "imsave"}
"""Calls that turn arrays into files."""


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: import {a.name}" for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in CALLS:
                yield f"{node.lineno}: {name}()"
            for keyword in node.keywords:
                given = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, given) in {("shell", True), ("allow_pickle", True), ("weights_only", False)}:
                    yield f"{node.lineno}: {name}({keyword.arg}={given})"


def test_no_shell_no_pickle_no_eval() -> None:
    """No file of the project calls a shell or eval, or reads a pickle."""
    found = [f"{path.relative_to(ROOT)}:{what}" for path in SOURCES for what in dangers(ast.parse(path.read_text()))]
    assert found == []
    assert len(SOURCES) > 30, "the sources were found"


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "import pickle", "from pickle import loads", "import os\nos.system('x')",
     "import subprocess\nsubprocess.run('x', shell=True)", "import numpy as np\nnp.load('x', allow_pickle=True)"],
)  # fmt: skip
def test_the_search_finds_them(code: str) -> None:
    """Each of the dangers is found when it is there."""
    assert list(dangers(ast.parse(code)))


def test_the_agent_has_no_code_that_writes_pictures() -> None:
    """Nothing under agent/ encodes or saves an array, but the demo's own clip of two published portraits."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name_of(node.func)}"
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and name_of(node.func).split(".")[-1] in PICTURES
    ]
    assert [f for f in found if not f.startswith("agent/vision/demo_clip.py:")] == []
