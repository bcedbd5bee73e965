"""`python -m training.explore --data DIR --out report.html`: FER2013 + FERPlus as an interactive report.

Law: face images go into the report that the user makes, and nowhere else; it says so at its top.
"""

import base64
from pathlib import Path
from typing import Final

import click
import cv2
import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from agent.emotions import FER2013_LABELS, FERPLUS_COLUMNS, LABELS
from training import data, protocol
from training.augment import augment
from training.cli import expect_writable, reported, with_data
from training.config import Augment, load
from training.report import page

SEED: Final = 0
"""Of the choice of samples."""


def report(dataset: data.Dataset, how: Augment, *, samples: int, faces: bool) -> str:
    """Return the HTML page; `how` is the augmentation shown, `samples` the faces a class, `faces` whether any are."""
    note = "It embeds face images of the data set: do not publish or commit it." if faces else "It holds no face image."
    parts: list[str | go.Figure] = [f"<p>Votes: {dataset.edition}. {note}</p>", counts(dataset), balance(dataset)]
    parts += [agreement(dataset.train), disagreement(dataset.train), top_vote(dataset.train)]
    if dataset.train.fer2013 is None:
        parts.append(
            "<p>The folder layout has no FER2013 labels; give the CSV layout to compare them with FERPlus.</p>"
        )
    else:
        parts.append(against_fer2013(dataset.train, dataset.train.fer2013))
    if faces:
        parts += [sample_faces(dataset.train, samples), augmented_faces(dataset.train, how)]
    return page("FER2013 + FERPlus", parts)


def counts(dataset: data.Dataset) -> str:
    """Return a table of faces a split under each protocol."""
    rows = []
    for name in data.SPLITS:
        split = getattr(dataset, name)
        kept = [int(rule(split.votes)[0].sum()) for rule in protocol.PROTOCOLS.values()]
        rows.append(f"<tr><td>{name}</td><td>{len(split.faces)}</td><td>{kept[0]}</td><td>{kept[1]}</td></tr>")
    head = "<tr><th>split</th><th>faces</th><th>majority protocol</th><th>argmax protocol</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def balance(dataset: data.Dataset) -> go.Figure:
    """Return class shares of each split, majority protocol."""
    figure = go.Figure(layout={"title": "Class balance (majority protocol)", "barmode": "group"})
    figure.update_yaxes(title="share of the split", tickformat=".0%")
    for name in data.SPLITS:
        kept, label = protocol.majority(getattr(dataset, name).votes)
        n = np.bincount(label[kept], minlength=len(LABELS))
        figure.add_trace(go.Bar(name=name, x=LABELS, y=n / max(1, n.sum()), text=n))
    return figure


def agreement(split: data.Split) -> go.Figure:
    """Return how much of the votes the top answer got."""
    share = split.votes.max(axis=1) / np.maximum(1, split.votes.sum(axis=1))
    # Ten annotators make tenths: each stands in the middle of its bar, and none beyond 1.
    figure = go.Figure(go.Histogram(x=share, xbins={"start": -0.05, "end": 1.05, "size": 0.1}))
    figure.update_layout(title="Agreement: share of votes for the top answer, train", bargap=0.05)
    figure.update_xaxes(title="share of the votes", dtick=0.1)
    figure.update_yaxes(title="faces")
    return figure


def disagreement(split: data.Split) -> go.Figure:
    """Return, for faces whose top vote is the row, where all votes went."""
    top = split.votes.argmax(axis=1)
    sums = np.array([split.votes[top == i].sum(axis=0) for i in range(len(FERPLUS_COLUMNS))])
    share = sums / np.maximum(1, sums.sum(axis=1, keepdims=True))
    return _heatmap(
        "Disagreement: votes of faces by their top answer, train",
        share,
        sums,
        FERPLUS_COLUMNS,
        FERPLUS_COLUMNS,
        "top answer",
        "votes",
    )


def top_vote(split: data.Split) -> go.Figure:
    """Return the "emotion with most votes" feature: its count by number of votes that it got."""
    top, most = split.votes.argmax(axis=1), split.votes.max(axis=1)
    figure = go.Figure(layout={"title": "Emotion with most votes, by how many it got, train", "barmode": "stack"})
    figure.update_xaxes(title="votes for the top answer")
    figure.update_yaxes(title="faces")
    for i, name in enumerate(FERPLUS_COLUMNS):
        n = np.bincount(most[top == i], minlength=11)
        figure.add_trace(go.Bar(name=name, x=list(range(len(n))), y=n))
    return figure


def against_fer2013(split: data.Split, label: npt.NDArray[np.int64]) -> go.Figure:
    """Return FER2013's label against FERPlus' top answer."""
    n = np.zeros((len(FER2013_LABELS), len(FERPLUS_COLUMNS)), dtype=np.int64)
    np.add.at(n, (label, split.votes.argmax(axis=1)), 1)
    share = n / np.maximum(1, n.sum(axis=1, keepdims=True))
    return _heatmap(
        "FER2013 label against FERPlus' top answer, train",
        share,
        n,
        FER2013_LABELS,
        FERPLUS_COLUMNS,
        "FER2013",
        "FERPlus",
    )


def _heatmap(
    title: str, share: npt.NDArray, n: npt.NDArray, rows: tuple[str, ...], columns: tuple[str, ...], y: str, x: str
) -> go.Figure:
    heat = go.Heatmap(z=share, text=n, texttemplate="%{text}", x=columns, y=rows, colorscale="Blues", zmin=0, zmax=1)
    figure = go.Figure(heat, layout={"title": title, "xaxis": {"title": x}, "yaxis": {"title": y}})
    figure.update_yaxes(autorange="reversed")
    return figure


def sample_faces(split: data.Split, n: int) -> str:
    """Return up to `n` random faces of each class (majority protocol), as HTML."""
    kept, label = protocol.majority(split.votes)
    rng, rows = np.random.default_rng(SEED), []
    for i, name in enumerate(LABELS):
        of_class = np.flatnonzero(kept & (label == i))
        chosen = rng.permutation(of_class)[:n]
        images = "".join(_image(split.faces[j], _votes_text(split.votes[j])) for j in chosen)
        rows.append(f"<tr><th>{name}</th><td>{images}</td></tr>")
    return f"<h2>Samples</h2><table>{''.join(rows)}</table>"


def augmented_faces(split: data.Split, how: Augment) -> str:
    """Return one face of each class, as it is and ten times augmented, as HTML."""
    kept, label = protocol.majority(split.votes)
    rows = []
    for i, name in enumerate(LABELS):
        if not (of_class := np.flatnonzero(kept & (label == i))).size:
            continue
        face = split.faces[of_class[0]]
        rng = np.random.default_rng([SEED, i])
        images = [_image(face, "as it is"), *(_image(augment(face, how, rng), "augmented") for _ in range(10))]
        rows.append(f"<tr><th>{name}</th><td>{'&nbsp;'.join(images)}</td></tr>")
    return f"<h2>Augmentation</h2><p>First column: the face as it is. {how}</p><table>{''.join(rows)}</table>"


def _votes_text(votes: npt.NDArray[np.int64]) -> str:
    return ", ".join(f"{name} {v}" for name, v in zip(FERPLUS_COLUMNS, votes, strict=True) if v)


def _image(face: npt.NDArray[np.uint8], title: str) -> str:
    _, png = cv2.imencode(".png", face)
    code = base64.b64encode(png.tobytes()).decode()
    return f'<img width="72" title="{title}" src="data:image/png;base64,{code}">'


@click.command(epilog="Example: python -m training.explore --data ~/ferplus --out report.html")
@with_data
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option(
    "--config", default="cnn_bn_dropout_augment", show_default=True, help="Config whose augmentation is shown."
)
@click.option(
    "--samples", type=click.IntRange(min=1, max=100), default=12, show_default=True, help="Faces shown a class."
)
@click.option("--no-faces", is_flag=True, help="Leave face images out, for a report that can be passed on.")
@reported
def main(directory: Path, out: Path, config: str, samples: int, no_faces: bool) -> None:
    """Write an interactive HTML report about the data."""
    expect_writable(out, ".html")
    how = load(config).augment
    out.write_text(report(data.load(directory), how, samples=samples, faces=not no_faces), encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    main()
