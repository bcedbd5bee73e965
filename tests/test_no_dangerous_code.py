"""No shell, no pickle, no eval, and nothing of the device code can write a picture: read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for top in ("agent", "training", "quantize", "deploy") for p in (ROOT / top).rglob("*.py"))

CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}
CALLS |= {"subprocess.getoutput", "subprocess.getstatusoutput"}
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
PICTURES = {"imwrite", "imwritemulti", "imencode", "imencodemulti", "VideoWriter", "imsave", "savefig", "save", "savez"}
PICTURES |= {"savez_compressed", "savetxt", "memmap", "tofile", "tobytes", "tostring", "dump", "dumps"}
"""What turns arrays into files, or into the bytes of one."""
NO_PICTURES = ("agent.", "json.")
"""What has such a name in these is no such thing: the one is searched itself, the other refuses arrays."""


def imported(tree: ast.AST) -> dict[str, str]:
    """What the names that a file imports stand for: {"np": "numpy", "system": "os.system"}."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def name_of(node: ast.expr, names: dict[str, str]) -> str:
    """The dotted name of what is used; a "." before the last part where what it belongs to has none."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name, whole) of everything that is called, or handed on to be called."""
    names = imported(tree)
    parts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in parts:
            yield node.lineno, name_of(node, names)


def dangers(tree: ast.AST) -> Iterator[str]:
    yield from (f"{line}: {name}" for line, name in uses(tree) if name in CALLS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: import {a.name}" for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                given = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, given) in {("shell", True), ("allow_pickle", True), ("weights_only", False)}:
                    yield f"{node.lineno}: {keyword.arg}={given}"


def pictures(tree: ast.AST) -> Iterator[str]:
    for line, name in uses(tree):
        if "." in name and name.split(".")[-1] in PICTURES and not name.startswith(NO_PICTURES):
            yield f"{line}: {name}"


def test_no_shell_no_pickle_no_eval() -> None:
    """No file of the project calls a shell or eval, or reads a pickle."""
    found = [f"{path.relative_to(ROOT)}:{what}" for path in SOURCES for what in dangers(ast.parse(path.read_text()))]
    assert found == []
    assert len(SOURCES) > 30, "the sources were found"


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "import pickle", "from pickle import loads", "import os\nos.system('x')",
     "from os import system\nsystem('x')", "from os import popen as run\nrun('x')", "import os\nmap(os.system, 'x')",
     "import subprocess\nsubprocess.getoutput('x')", "from subprocess import getoutput\ngetoutput('x')",
     "import subprocess as s\ns.getoutput('x')", "import subprocess\nsubprocess.run('x', shell=True)",
     "import numpy as np\nnp.load('x', allow_pickle=True)"],
)  # fmt: skip
def test_the_search_finds_them(code: str) -> None:
    """Each of the dangers is found when it is there."""
    assert list(dangers(ast.parse(code)))


def test_the_agent_has_no_code_that_writes_pictures() -> None:
    """Nothing under agent/ encodes or saves an array, but the demo's own clip of two published portraits."""
    found = [
        f"{path.relative_to(ROOT)}:{what}"
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for what in pictures(ast.parse(path.read_text()))
    ]
    assert [f for f in found if not f.startswith("agent/vision/demo_clip.py:")] == []
    assert found, "the demo's clip is found"


@pytest.mark.parametrize(
    "code",
    ["import cv2\ncv2.imwrite('x.png', image)", "from cv2 import imwrite as out\nout('x.png', image)",
     "import cv2 as c\nc.imencode('.png', image)", "import cv2\ncv2.VideoWriter('x.avi', 0, 1, (1, 1))",
     "import numpy as np\nnp.save('x', image)", "from numpy import save\nsave('x', image)",
     "import numpy as np\nnp.savez('x', image)", "import numpy as np\nnp.savetxt('x', image)",
     "image.tofile('x')", "Path('x').write_bytes(image.tobytes())", "Path('x').write_bytes(np.stack(all).tobytes())",
     "from PIL import Image\nImage.fromarray(image).save('x.png')", "image.dump('x')",
     "import cv2\npool.submit(cv2.imwrite, 'x.png', image)"],
)  # fmt: skip
def test_the_search_finds_pictures(code: str) -> None:
    """Each way to write a picture is found when it is there."""
    assert list(pictures(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["from agent.calibration import record\nrecord.save(path, new)", "import json\njson.dump(body, file)",
     "import cv2\ncv2.VideoWriter.fourcc(*'MJPG')"],
)  # fmt: skip
def test_what_writes_no_picture_is_not_found(code: str) -> None:
    """What merely has such a name is not taken for one."""
    assert not list(pictures(ast.parse(code)))
