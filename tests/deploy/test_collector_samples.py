"""What people with their own stack get: Grafana's queries run, Telegraf's and Home Assistant's paths fit the payload.

None of the three programs is here: their files are checked against the database and against real payloads.
"""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from sqlalchemy import Connection, create_engine, text

from agent.delivery import discovery, payload, wire
from agent.delivery.topics import Topics
from agent.delivery.wallclock import WallTime
from agent.emotions import LABELS
from agent.records import Engagement, Summary
from deploy.collector.bench.lessons import suppressed_window, topic_of, window_of
from deploy.collector.cli import cli
from deploy.collector.database import open_database
from deploy.collector.messages import parse_message
from deploy.collector.options import broker_address
from deploy.collector.store import Store
from tests.deploy.conftest import NOW_MS

SAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "collector" / "samples"
DASHBOARD = json.loads((SAMPLES / "grafana-rooms.json").read_text())
TELEGRAF = tomllib.loads((SAMPLES / "telegraf-fer.conf").read_text())["inputs"]["mqtt_consumer"]
MINUTE = 60_000
TOPICS = Topics("school", "room-1", "fer-1")
SPEAKER = payload.Speaker(TOPICS, "boot", 0)
MADE_BY = payload.Provenance("m", "0" * 64, "litert", None, 60.0, "standard", 5, "w")


def payload_of(**result: Any) -> dict[str, Any]:
    """A window as the agent really sends it."""
    summary = Summary(start=0.0, end=60.0, frames=60, seats=20, n_eff=19.0, coverage=0.8, **result)
    start = WallTime(NOW_MS, synced=True, source="ntp")
    return json.loads(payload.window(summary, SPEAKER, MADE_BY, start, epoch="e", seq=7).encode())


FULL = payload_of(
    suppressed=None, engagement=Engagement(60.0, (50.0, 70.0), None, "w"), valence=0.1, arousal=-0.1,
    expressivity=30.0, shares=(0.125,) * 8,
)  # fmt: skip
SUPPRESSED = payload_of(suppressed="k_min")
HEALTH = json.loads(payload.health(SPEAKER, NOW_MS, {"spool_windows": 3, "spool_bytes": 9}).encode())


def queries() -> Iterator[tuple[str, str]]:
    """Every statement of the dashboard, with the name of what shows it."""
    for variable in DASHBOARD["templating"]["list"]:
        yield variable["name"], variable["query"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["target"]["rawSql"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["rawSql"]


@pytest.fixture
def grafana(postgres_url: str) -> Iterator[Connection]:
    """A connection that may only read, to an hour of one room: a gap, two suppressed stretches, an event."""
    engine = open_database(postgres_url)
    bodies = [window_of(1, n, NOW_MS + n * MINUTE) for n in range(1, 61) if not (10 < n <= 25 or 40 < n <= 50)]
    for n in range(41, 51):
        reason, seats = ("k_min", 3) if n <= 46 else ("camera.black", 0)
        body = json.loads(suppressed_window(1, n, NOW_MS + n * MINUTE, reason, coverage=0.0))
        bodies.append(json.dumps(body | {"seats": seats, "n_eff": 0.0}).encode())
    messages = [parse_message(topic_of(1), body) for body in bodies]
    gap = {"kind": "gap", "epoch": "1", "from": 11, "to": 25, "reason": "cap", "at_ms": NOW_MS + 26 * MINUTE}
    messages.append(parse_message(topic_of(1, "event"), json.dumps(gap).encode()))
    messages.append(parse_message(topic_of(1, "status"), b'{"state": "ready", "session": 1}'))
    Store(engine).write(messages, NOW_MS + 60 * MINUTE)
    engine.dispose()
    reader = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with reader.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
        connection.commit()
        yield connection
    reader.dispose()


def ask(connection: Connection, sql: str) -> list[dict[str, Any]]:
    """Run a statement as Grafana would, its variables filled in."""
    values = {"$__from": NOW_MS, "$__to": NOW_MS + 61 * MINUTE, "$__interval_ms": 30_000, "$agent": 1}
    for name, value in values.items():
        sql = sql.replace(name, str(value))
    assert "$" not in sql
    return [dict(row._mapping) for row in connection.exec_driver_sql(sql.replace("%", "%%"))]


@pytest.mark.parametrize(("name", "sql"), list(queries()))
def test_every_query_of_grafana_runs(grafana: Connection, name: str, sql: str) -> None:
    """Each statement of the dashboard finds rows in a database of the collector."""
    assert ask(grafana, sql)


def test_grafana_shows_gaps_and_suppression(grafana: Connection) -> None:
    """The state panel tells a result from a suppressed window from no data, and the index is null in the latter two."""
    by_name = dict(queries())
    states = [row["state"] for row in ask(grafana, by_name["Result, no result (suppressed), or no data"])]
    assert set(states) == {"result", "no result: k_min", "no result: camera.black", "no data"}
    index = [row["engagement"] for row in ask(grafana, by_name["Engagement index, 0-100, with its 95 % interval"])]
    assert [value is None for value in index] == [state != "result" for state in states]


def test_grafana_takes_withheld_numbers_for_no_zeros(grafana: Connection) -> None:
    """Coverage is null where it was withheld, and people where nobody was counted; where some were, that is said."""
    by_name = dict(queries())
    states = [row["state"] for row in ask(grafana, by_name["Result, no result (suppressed), or no data"])]
    means = ask(grafana, by_name["People, and coverage"])
    said = {(state, row["people"] is None, row["coverage"] is None) for state, row in zip(states, means, strict=True)}
    nothing = {("no data", True, True), ("no result: camera.black", True, True)}
    assert said == {("result", False, False), ("no result: k_min", False, True), *nothing}
    assert min(row["coverage"] for row in means if row["coverage"] is not None) > 0.5


def test_grafana_shows_the_caveat() -> None:
    """The dashboard says what the number is not."""
    assert "not validated as a measure of learning or attention" in DASHBOARD["panels"][0]["options"]["content"]


def test_grafana_names_only_its_own_columns(grafana: Connection) -> None:
    """Every override of a panel names a column that its query has."""
    for panel in DASHBOARD["panels"]:
        named = {o["matcher"]["options"] for o in panel.get("fieldConfig", {}).get("overrides", [])}
        if named:
            assert named <= set(ask(grafana, panel["targets"][0]["rawSql"])[0]), panel["title"]


@pytest.mark.parametrize(("consumer", "name"), [(TELEGRAF[0], "window"), (TELEGRAF[1], "health")])
def test_telegraf_hears_the_topic(consumer: dict[str, Any], name: str) -> None:
    """Its subscription matches the agent's topic, its tags are at their levels, and the viewer may read it."""
    assert mqtt.topic_matches_sub(consumer["topics"][0], TOPICS(name))
    levels = consumer["topic_parsing"][0]["tags"].split("/")
    found = dict(zip(levels, TOPICS(name).split("/"), strict=True))
    assert {key: found[key] for key in ("site", "room", "agent")} == SPEAKER.who
    acl = (SAMPLES.parents[1] / "mosquitto" / "fer.acl").read_text()
    viewer = acl.split("user viewer")[1].split("user ")[0]
    assert f"topic read {consumer['topics'][0]}" in viewer


def paths(consumer: dict[str, Any], *kinds: str) -> Iterator[tuple[str, bool]]:
    """(path, whether it may be absent) of what it takes from a payload."""
    for parser in consumer["json_v2"]:
        yield parser["timestamp_path"], False
        for kind in kinds:
            for entry in parser.get(kind, []):
                yield entry["path"], entry.get("optional", False)


def has(body: Any, path: str) -> bool:
    for key in path.split("."):
        if isinstance(body, list) and key.isdigit() and int(key) < len(body):
            body = body[int(key)]
        elif isinstance(body, dict) and key in body:
            body = body[key]
        else:
            return False
    return True


def test_telegraf_finds_every_path() -> None:
    """A full window has every path; a suppressed one lacks only those that are marked optional."""
    for path, optional in paths(TELEGRAF[0], "tag", "field", "object"):
        assert has(FULL, path), path
        assert optional or has(SUPPRESSED, path), path
    for path, optional in paths(TELEGRAF[1], "field"):
        assert has(HEALTH, path) or optional, path
        assert path in wire.Health.model_fields, path
    assert set(TELEGRAF[0]["json_v2"][0]["object"][0]["renames"]) == set(LABELS)


def test_unit_is_sound(tmp_path: Path) -> None:
    """systemd finds nothing wrong with the unit, and every variable in it is an option of the command."""
    unit = (SAMPLES / "fer-collector.service").read_text()
    names = {f"FER_COLLECTOR_RUN_{name.upper()}" for name in (p.name for p in cli.commands["run"].params) if name}
    assert set(re.findall(r"FER_COLLECTOR_\w+", unit)) <= names
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    (tmp_path / "fer-collector.service").write_text(
        unit.replace("/opt/fer-collector/bin/fer-collector run", "/bin/true")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "fer-collector.service"], capture_output=True, text=True
    )
    assert [line for line in done.stderr.splitlines() if "fer-collector" in line] == []


def test_the_lines_of_the_unit_reach_the_deployed_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment, as written there, is what `run` takes, and has port and TLS of the shipped broker."""
    unit = (SAMPLES / "fer-collector.service").read_text()
    (tmp_path / "ca.crt").write_text("a certificate")
    for line in re.findall(r"^# (FER_COLLECTOR_RUN_\w+=.*)$", unit, re.MULTILINE):
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, str(tmp_path / "ca.crt") if name.endswith("CA_FILE") else value)
    context = cli.commands["run"].make_context("run", [], auto_envvar_prefix="FER_COLLECTOR_RUN")
    address = broker_address(context.params)
    conf = (SAMPLES.parents[1] / "mosquitto" / "fer.conf").read_text().splitlines()
    assert f"listener {address.port}" in conf
    assert (address.tls, address.ca_file) == (True, tmp_path / "ca.crt")


def sensors() -> dict[str, dict[str, Any]]:
    return dict(json.loads(discovery.payload(TOPICS, 60.0))["cmps"])


def shown(sensor: dict[str, Any], body: dict[str, Any]) -> str:
    """What Home Assistant's template makes of a payload; it uses Jinja."""
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed")
    return str(jinja2.Environment().from_string(sensor["val_tpl"]).render(value_json=body)).strip()


def test_home_assistant_reads_a_full_window() -> None:
    """Each sensor of the discovery finds its number in a real window."""
    values = {name: shown(s, FULL) for name, s in sensors().items() if name != "state"}
    assert values["engagement"] == "60.0"
    assert values["coverage"] == "80.0"
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", value) for value in values.values()), values


def test_home_assistant_reads_a_suppressed_window() -> None:
    """A window suppressed for k_min makes the results and the coverage unknown, and still tells people."""
    values = {name: shown(s, SUPPRESSED) for name, s in sensors().items() if name != "state"}
    assert values.pop("seats") == "20"
    assert len(values) == 5 + len(LABELS)
    assert set(values.values()) == {"None"}


def test_home_assistant_ignores_late_windows() -> None:
    """A replayed window moves no gauge."""
    assert {shown(s, FULL | {"replay": True}) for name, s in sensors().items() if name != "state"} == {""}
