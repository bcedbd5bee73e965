"""Evaluations → one self-contained interactive HTML page (Plotly inside, nothing fetched)."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from agent.emotions import LABELS
from training import metrics

if TYPE_CHECKING:
    from training.evaluate import Evaluation

_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:1100px;padding:0 1em}"
    "td,th{padding:.2em .8em;text-align:left}"
)


def page(title: str, parts: Sequence[str | go.Figure]) -> str:
    """Return an HTML page of `parts` in order: strings are HTML, figures become interactive charts."""
    body, script = [], True
    for part in parts:
        if isinstance(part, str):
            body.append(part)
        else:
            body.append(part.to_html(full_html=False, include_plotlyjs=script))
            script = False  # the library is inlined once
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body><h1>{html.escape(title)}</h1>{''.join(body)}</body></html>"


def compare(found: Sequence["Evaluation"]) -> str:
    """Return a page that sets the evaluations side by side."""
    first, names = found[0], _names([one.model for one in found])
    intro = (
        f"<p>Split: {first.split}{first.looks}. Votes: {html.escape(first.edition)}. Whiskers are 95 % intervals over "
        "faces (Wilson's by class, else bootstrapped); they do not cover another training seed. "
        "Classes with few faces carry no claim of their own.</p>"
    )
    parts: list[str | go.Figure] = [intro, _table(found, names)]
    parts += [_overall(found, names), _by_class(found, names, "recall"), _by_class(found, names, "precision")]
    parts += [_reliability(found, names), _confusions(found, names)]
    return page("Model comparison", parts)


def _names(models: Sequence[str]) -> list[str]:
    """Return the shortest endings of paths that tell them apart."""
    for depth in range(1, 9):
        short = ["/".join(Path(m).parts[-depth:]) for m in models]
        if len(set(short)) == len(set(models)):
            return short
    return list(models)


def _table(found: Sequence["Evaluation"], names: Sequence[str]) -> str:
    rows = []
    for one, name in zip(found, names, strict=True):
        less = {f"{rule}, without near-copies": s for rule, s in (one.without_copies or {}).items()}
        for rule, s in {**one.scores, **less}.items():
            cells = [name, rule, str(s.n)]
            cells += [f"{v.value:.4f} [{v.low:.4f}, {v.high:.4f}]" for v in (s.accuracy, s.macro_f1, s.ece)]
            rows.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{h}</th>" for h in ("model", "protocol", "n", "accuracy", "macro-F1", "ECE"))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _bar(name: str, labels: Sequence[str], values: Sequence[metrics.Interval]) -> go.Bar:
    up, down = [v.high - v.value for v in values], [v.value - v.low for v in values]
    return go.Bar(
        name=name, x=labels, y=[v.value for v in values], error_y={"type": "data", "array": up, "arrayminus": down}
    )


def _overall(found: Sequence["Evaluation"], names: Sequence[str]) -> go.Figure:
    figure = go.Figure(layout={"title": "Overall, by protocol", "barmode": "group", "yaxis": {"range": [0, 1]}})
    for one, name in zip(found, names, strict=True):
        labels, values = [], []
        for rule, s in one.scores.items():
            labels += [f"accuracy ({rule})", f"macro-F1 ({rule})"]
            values += [s.accuracy, s.macro_f1]
        figure.add_trace(_bar(name, labels, values))
    return figure


def _by_class(found: Sequence["Evaluation"], names: Sequence[str], what: str) -> go.Figure:
    title = f"{what.capitalize()} by class, majority protocol"
    figure = go.Figure(layout={"title": title, "barmode": "group", "yaxis": {"range": [0, 1]}})
    for one, name in zip(found, names, strict=True):
        s = one.scores["majority"]
        figure.add_trace(_bar(name, [f"{c} ({n})" for c, n in zip(LABELS, s.support, strict=True)], getattr(s, what)))
    return figure


def _reliability(found: Sequence["Evaluation"], names: Sequence[str]) -> go.Figure:
    axes = {"xaxis": {"title": "confidence", "range": [0, 1]}, "yaxis": {"title": "accuracy", "range": [0, 1]}}
    figure = go.Figure(layout={"title": "Reliability, majority protocol", **axes})
    for one, name in zip(found, names, strict=True):
        r = one.scores["majority"].reliability
        faces = [f"{n} faces" for n in r.faces]
        figure.add_trace(go.Scatter(name=name, x=r.confidence, y=r.accuracy, text=faces, mode="lines+markers"))
    # Last: a model has the same colour as in the other charts.
    figure.add_trace(go.Scatter(name="calibrated", x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot"}))
    return figure


def _confusions(found: Sequence["Evaluation"], names: Sequence[str]) -> go.Figure:
    figure = make_subplots(rows=len(found), cols=1, subplot_titles=names, vertical_spacing=0.15 / len(found))
    for row, one in enumerate(found, 1):
        counts = one.scores["majority"].confusion
        share = [[v / max(1, sum(line)) for v in line] for line in counts]
        heat = go.Heatmap(
            z=share, text=counts, texttemplate="%{text}", x=LABELS, y=LABELS, colorscale="Blues", zmin=0, zmax=1,
            showscale=row == 1, hovertemplate="truth %{y}, predicted %{x}: %{text} (%{z:.1%} of row)<extra></extra>",
        )  # fmt: skip
        figure.add_trace(heat, row=row, col=1)
        figure.update_yaxes(autorange="reversed", row=row, col=1)
    figure.update_layout(title="Confusion, majority protocol: row = truth", height=520 * len(found))
    return figure
