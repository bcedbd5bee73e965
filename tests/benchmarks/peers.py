"""The whole pipeline against `fer` and a deepface-style one, on the same frames, in the same run: ms a face.

    pip install --no-deps fer deepface     # beside the train extra, in a throw-away environment
    python -m tests.benchmarks.peers [--model BUNDLE] [--faces 20]

The agent runs twice: searching for faces from 40 px on, about what the peers' smallest is, and from 24 px on.
deepface downloads its weights when it is first used; here its emotion network keeps random ones, which costs the
same time. Both peers find faces with OpenCV's Haar cascade, which is their default.
"""

import time

import click
import cv2
import numpy as np

from agent import config
from agent.records import Frame
from agent.vision.classify import Classifier
from agent.vision.detect import Detector
from agent.vision.model_card import Bundle, find
from tests.benchmarks.common import scenes


def agent_pipeline(model, smallest):
    """Return a function frame → number of faces read."""
    detector = Detector(config.Detect(smallest_face_px=smallest), threads=2).__enter__()
    classifier = Classifier(Bundle.load(find(model)), threads=2, faces_per_frame=1000).__enter__()

    def look(image, at):
        frame = Frame(image, at)
        return sum(r.probabilities is not None for r in classifier(frame, detector(frame)))

    return look


def fer_pipeline():
    """`fer` as it is installed: Haar, mini-Xception at 64 px."""
    from fer.fer import FER

    made = FER(mtcnn=False)
    return lambda image, _: len(made.detect_emotions(image))


def deepface_pipeline():
    """deepface's way: Haar faces cut out, 48 px grey, its emotion CNN one face at a time."""
    from keras.layers import AveragePooling2D, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
    from keras.models import Sequential

    # The layers of deepface.models.demography.Emotion; importing it would ask for its download.
    network = Sequential([
        Conv2D(64, (5, 5), activation="relu", input_shape=(48, 48, 1)), MaxPooling2D((5, 5), strides=(2, 2)),
        Conv2D(64, (3, 3), activation="relu"), Conv2D(64, (3, 3), activation="relu"),
        AveragePooling2D((3, 3), strides=(2, 2)),
        Conv2D(128, (3, 3), activation="relu"), Conv2D(128, (3, 3), activation="relu"),
        AveragePooling2D((3, 3), strides=(2, 2)),
        Flatten(), Dense(1024, activation="relu"), Dropout(0.2), Dense(1024, activation="relu"), Dropout(0.2),
        Dense(7, activation="softmax"),
    ])  # fmt: skip
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def look(image, _):
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(grey, 1.1, 10)
        for x, y, w, h in found:
            crop = cv2.resize(grey[y : y + h, x : x + w], (48, 48))
            network(crop[np.newaxis, :, :, np.newaxis] / np.float32(255), training=False)
        return len(found)

    return look


@click.command()
@click.option("--model", default="released", show_default=True)
@click.option("--faces", default=20, show_default=True)
@click.option("--width", default=64, show_default=True, help="Face width, pixels.")
@click.option("--runs", default=9, show_default=True)
def main(model: str, faces: int, width: int, runs: int) -> None:
    """Print wall and processor milliseconds; the pipelines take turns, so that load hits them alike."""
    # `fer` looks for Haar boxes from 50 px on, which are faces of about 40 px here.
    pipelines = {"fer-agent, from 40 px": agent_pipeline(model, 40), "fer-agent, from 24 px": agent_pipeline(model, 24)}
    for name, make in (("fer", fer_pipeline), ("deepface-style", deepface_pipeline)):
        try:
            pipelines[name] = make()
        except (ImportError, AttributeError) as missing:
            click.echo(f"{name}: skipped, {missing}")
    heads = [scenes.cut(scenes.portraits()[i % 4], 1.8) for i in range(faces)]
    scene = scenes.compose(heads, width, np.random.default_rng(0))
    took = {name: [] for name in pipelines}
    found = {name: pipelines[name](scene.image, 0.0) for name in pipelines}  # warm up
    for run in range(runs):
        for name, look in pipelines.items():
            start = time.perf_counter(), time.process_time()
            look(scene.image, 1.0 + 10 * run)
            took[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    click.echo("| pipeline | faces read | ms a frame | ms a face | x the first | processor ms a face | x the first |")
    click.echo("|---|---|---|---|---|---|---|")
    each = {name: 1000 * np.median(times, axis=0) / max(found[name], 1) for name, times in took.items()}
    ours = next(iter(each.values()))
    for name, (wall, processor) in each.items():
        click.echo(
            f"| {name} | {found[name]} of {faces} | {wall * found[name]:.0f} | {wall:.1f} | {wall / ours[0]:.2f} "
            f"| {processor:.1f} | {processor / ours[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
