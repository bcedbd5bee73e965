"""`python -m training.find_lr CONFIG`: the learning-rate range test (Smith 2017, arXiv 1506.01186), as a plot.

The rate rises exponentially, a step at a time; the loss falls, is lowest, and explodes. The peak rate of a schedule
belongs a little before the lowest point: a third of that rate is suggested.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import plotly.graph_objects as go

from agent.cli._options import Number
from agent.errors import UsageError
from training import data, distill
from training.cli import expect_writable, reported, with_data, with_teachers
from training.config import Config, load
from training.report import page


@dataclass(frozen=True)
class RangeTest:
    """Learning rates tried, and the loss of each step."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    def smoothed(self, momentum: float = 0.9) -> list[float]:
        """Return the exponential average of the losses, corrected for its start at 0."""
        average, out = 0.0, []
        for step, loss in enumerate(self.losses, 1):
            average = momentum * average + (1 - momentum) * loss
            out.append(average / (1 - momentum**step))
        return out

    def suggestion(self) -> float | None:
        """Return a third of the rate of the lowest smoothed loss, or None where the loss never fell.

        Not where it falls fastest: that is the first steps' fall from a bad start, at any rate.
        """
        loss = self.smoothed()
        lowest = int(np.argmin(loss)) if loss else 0
        return self.rates[lowest] / 3 if lowest else None


def range_test(
    config: Config,
    split: data.Split,
    *,
    lowest: float,
    highest: float,
    steps: int,
    teacher: distill.Teacher | distill.OnView | None = None,
) -> RangeTest:
    """Train `config` for at most `steps` steps, raising the rate from `lowest` to `highest`; errors as `targets`."""
    from training import progress, ramp, recipe  # not at the top: they bring Keras, which --help does without
    from training.loop import prepare

    prepare(config)
    faces, target = recipe.targets(config, split, teacher)
    wanted = steps * config.batch
    repeats = -(-wanted // len(faces))  # small data is seen more than once
    faces, target = np.tile(faces, (repeats, 1, 1))[:wanted], np.tile(target, (repeats, 1))[:wanted]
    model = recipe.compiled(config, steps)
    model.compile(  # the recipe's optimizer follows a schedule; here each step sets the rate
        optimizer=recipe.optimizer(config, steps, rate=lowest), loss=model.loss, jit_compile=model.jit_compile
    )
    batches = recipe.batches(config, faces, target, teacher)(side=config.phases[0].side)
    rates = [lowest * (highest / lowest) ** (i / max(1, steps - 1)) for i in range(steps)]
    watch = ramp.Ramp(rates)
    shown = progress.Bar(f"{config.name}, rates from {lowest:g} to {highest:g}")
    model.fit(batches, epochs=1, callbacks=[watch, shown], shuffle=False, verbose=0)
    finite = [loss for loss in watch.losses if math.isfinite(loss)]
    return RangeTest(tuple(rates[: len(finite)]), tuple(finite))


def plot(config: Config, found: RangeTest) -> str:
    """Return an HTML page of the test."""
    axes = {"xaxis": {"title": "learning rate", "type": "log"}, "yaxis": {"title": "loss"}}
    figure = go.Figure(layout={"title": f"{config.name}: {config.optimizer}, batch {config.batch}", **axes})
    figure.add_trace(go.Scatter(x=found.rates, y=found.losses, name="loss", mode="markers", opacity=0.4))
    figure.add_trace(go.Scatter(x=found.rates, y=found.smoothed(), name="smoothed"))
    if (best := found.suggestion()) is not None:
        figure.add_vline(x=best, annotation_text=f"suggested: {best:.2g}")
    figure.add_vline(x=config.learning_rate, line_dash="dot", annotation_text=f"config: {config.learning_rate:g}")
    return page("Learning-rate range test", [figure])


@click.command(epilog="Example: python -m training.find_lr cnn --data ~/ferplus --out lr.html")
@click.argument("config")
@with_data
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
@click.option(
    "--from", "lowest", type=Number(0, 100, min_open=True), default=1e-6, show_default=True, help="First rate."
)
@click.option("--to", "highest", type=Number(0, 100, min_open=True), default=1.0, show_default=True, help="Last rate.")
@click.option("--steps", type=click.IntRange(min=3), default=150, show_default=True, help="Steps from first to last.")
@with_teachers
@reported
def main(
    config: str, directory: Path, out: Path, lowest: float, highest: float, steps: int, teachers: tuple[Path, ...]
) -> None:
    """Find a learning rate for CONFIG: a short run on the training split with an ever higher rate."""
    if lowest >= highest:
        raise UsageError(f"expected --from below --to, got {lowest:g} and {highest:g}")
    expect_writable(out, ".html")
    settings = load(config)
    split, teacher = data.load(directory).train, distill.teacher_of(teachers)
    found = range_test(settings, split, lowest=lowest, highest=highest, steps=steps, teacher=teacher)
    out.write_text(plot(settings, found), encoding="utf-8")
    best = found.suggestion()
    click.echo(f"{out}: {len(found.rates)} steps; suggested peak rate: {'none' if best is None else f'{best:.2g}'}")


if __name__ == "__main__":
    main()
