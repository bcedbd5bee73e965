"""`python -m training.copies --data DIR`: how many faces of the official splits are near-copies of a training face.

FER2013 was collected by web search, so one picture came in more than once, re-encoded, and the splits share some. A
face counts as a near-copy where the training face nearest to it, by a code of 12 x 12 grey levels, correlates with it
above 0.99 at 48 px. Pictures alone are looked at; no model is.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import click
import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training import data, protocol
from training.cli import reported, with_data

CODE_SIDE: Final = 12
"""Pixels of the code by which the nearest training face is found: small enough that re-encoding does not show."""

LEAST: Final = 0.99
"""Correlation of grey levels at 48 px above which two faces are one picture. Two pictures of one person stay below."""

_BLOCK: Final = 256
"""Faces that are compared with all training faces at once: 30 MB."""


@dataclass(frozen=True)
class Twins:
    """For each face of a split, the training face that is most like it."""

    index: npt.NDArray[np.int64]
    """(n,) its place in the training split."""
    correlation: npt.NDArray[np.float32]
    """(n,) with it, of grey levels at 48 px, -1 to 1; 0 where one of the two is a single grey."""

    @property
    def copied(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the face is a near-copy."""
        return self.correlation > LEAST


@dataclass(frozen=True)
class Count:
    """Near-copies among the faces of one split that one protocol keeps."""

    split: Literal["validation", "test"]
    protocol: str
    n: int
    """Faces kept."""
    copies: int
    """Of them near-copies of a training face."""
    labelled: int
    """Of those, the training face has a label by the same protocol."""
    same_label: int
    """Of those, it is the same label."""


def twins(faces: npt.NDArray[np.uint8], train: npt.NDArray[np.uint8], title: str) -> Twins:
    """Return the training face (of `train`, m, 48, 48) most like each of `faces` (n, 48, 48); `title` for the bar."""
    codes, index = _codes(train), np.zeros(len(faces), np.int64)
    correlation = np.zeros(len(faces), np.float32)
    with tqdm(total=len(faces), desc=title, unit="face", mininterval=1) as bar:
        for start in range(0, len(faces), _BLOCK):
            block, here = faces[start : start + _BLOCK], slice(start, start + _BLOCK)
            index[here] = (_codes(block) @ codes.T).argmax(axis=1)
            correlation[here] = (_normal(block) * _normal(train[index[here]])).sum(axis=1)
            bar.update(len(block))
    return Twins(index, correlation)


def counts(dataset: data.Dataset) -> Iterator[Count]:
    """Yield the near-copies of the training split in the others, by protocol."""
    for name in ("validation", "test"):
        split: data.Split = getattr(dataset, name)
        found = twins(split.faces, dataset.train.faces, f"{name}, nearest training face")
        for rule_name, rule in protocol.PROTOCOLS.items():
            kept, label = rule(split.votes)
            also, theirs = rule(dataset.train.votes)
            copied = kept & found.copied
            labelled = copied & also[found.index]
            same = labelled & (label == theirs[found.index])
            yield Count(name, rule_name, *(int(some.sum()) for some in (kept, copied, labelled, same)))


def as_text(found: list[Count]) -> str:
    """Return the counts as a table for a terminal."""
    same_label = "with the same label, where both have one"
    lines = [f"{'split':12}{'protocol':10}{'faces':>7}{'near-copies':>15}{same_label:>43}"]
    for one in found:
        copies = f"{one.copies} ({one.copies / max(1, one.n):.1%})"
        same = f"{one.same_label} of {one.labelled} ({one.same_label / max(1, one.labelled):.1%})"
        lines.append(f"{one.split:12}{one.protocol:10}{one.n:>7}{copies:>15}{same:>43}")
    return "\n".join(lines)


def _codes(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the code of each face, (n, 144), of which a product is a correlation."""
    size = (CODE_SIDE, CODE_SIDE)
    return _normal(np.stack([cv2.resize(face, size, interpolation=cv2.INTER_AREA) for face in faces]))


def _normal(faces: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return each face as a row of mean 0 and length 1, or of zeros where it is a single grey."""
    rows = faces.reshape(len(faces), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


@click.command(epilog="Example: python -m training.copies --data ~/ferplus")
@with_data
@click.option("--json", "json_wanted", is_flag=True, help="JSON on stdout, and nothing else there.")
@reported
def main(directory: Path, json_wanted: bool) -> None:
    """Count the faces of validation and test that are near-copies of a training face."""
    found = list(counts(data.load(directory)))
    click.echo(json.dumps([asdict(one) for one in found], indent=1) if json_wanted else as_text(found))


if __name__ == "__main__":
    main()
