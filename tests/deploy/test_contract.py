"""The contract's files: current, complete, and strict where the privacy promise needs it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from agent.config import Identity
from agent.delivery import payload, wire_commands
from agent.delivery.publish import Publisher
from agent.delivery.wallclock import WallTime
from tests.contract import CONTRACT, MAX_BYTES, Judge, validator_of
from tests.mqtt_world import FAST, MADE_BY, Mosquitto, settings, speaker, summary, wait_until
from tests.reference_subscriber import ReferenceSubscriber

ROOT = "fer/v1/test/room/fer"


def _window(number: int = 1, suppressed: str | None = None) -> dict:
    body = payload.window(
        summary(number, suppressed=suppressed), speaker(), MADE_BY, WallTime(0, True, "ntp"), epoch="e", seq=1
    )
    return json.loads(body.encode())


def test_files_are_what_the_types_say() -> None:
    """asyncapi.yaml and the schemas are those that `python -m deploy.contract` would write now."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.contract", "--check"], cwd=CONTRACT.parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_reference_in_asyncapi_leads_somewhere() -> None:
    """Each $ref of asyncapi.yaml is a node of it or a file beside it."""
    text = (CONTRACT / "asyncapi.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    found = re.findall(r"\$ref: ['\"]?([^'\"\s]+)", text)
    assert found
    for reference in found:
        if reference.startswith("./"):
            assert (CONTRACT / reference).is_file(), reference
            continue
        node = document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]


@pytest.mark.parametrize("name", ["status", "meta", "window", "last", "event", "health", "ack", "rsp/unknown"])
def test_every_topic_of_the_agent_is_described(name: str) -> None:
    """The document finds a schema for each topic."""
    assert validator_of(f"{ROOT}/{name}") is not None


@pytest.mark.parametrize("name", sorted(wire_commands.COMMANDS))
def test_every_command_and_its_reply_is_described(name: str) -> None:
    """The document finds a schema for each command and for its answer."""
    assert validator_of(f"{ROOT}/cmd/{name}") is not None
    assert validator_of(f"{ROOT}/rsp/{name}") is not None


def test_the_example_in_the_readme_keeps_the_contract() -> None:
    """The window that README.md shows is a valid one."""
    text = (CONTRACT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    validator_of(f"{ROOT}/window").validate(json.loads(example))


@pytest.mark.parametrize("suppressed", [None, "k_min"])
def test_windows_of_the_code_keep_the_contract(suppressed: str | None) -> None:
    """A window with and one without a result pass their schema."""
    validator_of(f"{ROOT}/window").validate(_window(suppressed=suppressed))


BROKEN = {
    "a field that is not in the contract": lambda w: w | {"faces": [[1, 2, 3, 4]]},
    "a field inside the result": lambda w: w | {"engagement": w["engagement"] | {"per_seat": [50, 60]}},
    "a result although it is suppressed": lambda w: w | {"suppressed": "k_min"},
    "neither result nor reason": lambda w: {key: value for key, value in w.items() if key != "engagement"},
    "an index above 100": lambda w: w | {"engagement": w["engagement"] | {"value": 101}},
    "a share above 1": lambda w: w | {"shares": w["shares"] | {"neutral": 1.5}},
    "an id that leaves its topic": lambda w: w | {"agent": "a/b"},
    "an interval of three": lambda w: w | {"engagement": w["engagement"] | {"ci95": [1, 2, 3]}},
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_schema_refuses(what: str) -> None:
    """The window schema refuses it."""
    with pytest.raises(jsonschema.ValidationError):
        validator_of(f"{ROOT}/window").validate(BROKEN[what](_window()))


def test_the_judge_of_traffic_sees_what_it_should() -> None:
    """A result under k_min, an unknown topic, a long payload and an unknown field are each reported."""
    judge = Judge()
    judge.take(f"{ROOT}/window", json.dumps(_window() | {"n_eff": 3.0}).encode())
    judge.take(f"{ROOT}/meta", payload.meta(speaker(), MADE_BY).encode())
    judge.take(f"{ROOT}/faces", b"{}")
    judge.take(f"{ROOT}/window", json.dumps(_window() | {"x": "y" * MAX_BYTES}).encode())
    text = "\n".join(judge.verdict())
    for said in ("a result of 3.0 people", "no such topic", "bytes", "'x' was unexpected"):
        assert said in text


def test_the_commands_in_the_readme_work(tmp_path: Path) -> None:
    """`mosquitto_pub` as README.md shows it: a resend is answered and brings the windows, an ack empties the spool."""
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub is not installed (Debian package mosquitto-clients)")
    text = (CONTRACT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    resend, ack = (shlex.split(line) for line in text.splitlines() if line.strip().startswith("mosquitto_pub"))
    with Mosquitto(tmp_path / "broker") as broker:
        wanted = settings(broker.port)
        ids = Identity(site="north", room="b12", id="fer-3")
        wanted = wanted.model_copy(update={"agent": ids})
        with (
            ReferenceSubscriber(broker.port, acks=False) as listener,
            Publisher(wanted, MADE_BY, pace=FAST, state_dir=tmp_path / "state") as publisher,
        ):
            for number in range(1042):
                publisher(summary(number))
            wait_until(lambda: listener.newest("window").get("seq") == 1042, 60)
            subprocess.run([*resend, "-p", str(broker.port)], check=True)
            wait_until(lambda: listener.duplicates == 12, 20, "windows 1030 to 1041")
            assert listener.newest("rsp/resend")["result"]["sent"] == 12
            # The example's epoch is another one: it must not be taken for ours.
            subprocess.run([*ack, "-p", str(broker.port)], check=True)
            wait_until(lambda: listener.payloads("ack"), 20)
            assert publisher._spool.depth()[0] == 1042
            ours = [word.replace("9f3c2a7b51d0", publisher._spool.epoch) for word in ack]
            subprocess.run([*ours, "-p", str(broker.port)], check=True)
            wait_until(lambda: publisher._spool.depth()[0] == 0, 20, "an empty spool")
