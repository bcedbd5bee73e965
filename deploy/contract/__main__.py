"""`python -m deploy.contract`: write the contract's files again; with --check, say which are out of date (exit 1)."""

import sys
from pathlib import Path

from deploy.contract.generate import files

HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m deploy.contract [--check]\n")
        return 2
    stale = []
    for name, text in files().items():
        path = HERE / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not arguments:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if arguments and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: python -m deploy.contract\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
