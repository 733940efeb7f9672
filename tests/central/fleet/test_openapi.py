"""The description is of the real server: schemathesis calls all of it, and holds it to its word.

``pytest -m campaign tests/central/fleet/test_openapi.py`` asks fifty times as much.
"""

import io
import re
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS as REGISTRY
from schemathesis.checks import load_all_checks

from edge_daemon.central.alarms import Alarms
from edge_daemon.central.app import CERTIFICATE, Centre, make_app
from edge_daemon.central.authority import Authority
from edge_daemon.central.limits import Limiter
from edge_daemon.central.page.api import ROUTES
from edge_daemon.central.page.openapi import description
from edge_daemon.central.page.serving import FleetPage
from edge_daemon.central.raw_store import Arrivals, FolderStore
from edge_daemon.central.rollouts import Rollouts
from edge_daemon.central.store import CentralStore
from edge_daemon.log import EventLog
from tests.central.fleet.world import REVIEW, World, condition

UNLIMITED = 1e9
load_all_checks()
CHECKS = REGISTRY.get_all()
ACCEPTS, REFUSES = "positive_data_acceptance", "negative_data_rejection"
SELDOM = re.compile(r"/v1/|/api/v1/boxes$")
"""Where no schema can say what is taken: a claim code, a certificate request, a batch with its
digest, the id where a page ended."""


@schemathesis.serializer("application/x-ndjson")
def as_written(_context, value):
    """Send a body as it was made: what is no batch is the point here."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """The whole application, and what a program and a box show it."""
    folder = tmp_path_factory.mktemp("centre")
    url = f"sqlite:///{folder / 'central.sqlite3'}"
    with closing(CentralStore(url)) as store:
        store.create()
        world = World(store)
        clinic = world.clinic("First")
        box = world.box(clinic)
        box.tell({"state": "degraded", "conditions": [condition("disk_filling")]})
        for number in range(12):
            capture = box.run(f"S{number}", flags=[REVIEW] if number % 2 else [])
            box.report(f"S{number}")
        box.say("correction", capture, number=2, reason="x", changes={"species": ["cat", "dog"]})
        box.say("mark", box.run("C"), kind="control", lot="1", level="low")
        box.send()
        world.index()
        world.roster.add("robot", "operator")
        token = world.roster.add_token("robot", "schemathesis")
        calls = Limiter(UNLIMITED, UNLIMITED)
        log = EventLog("error", io.StringIO())
        page = FleetPage(url, store.engine, "secret", log, calls=calls)
        app = make_app(
            Centre(
                store,
                Authority.create(folder, "test"),
                Arrivals(folder / "arriving", FolderStore(folder / "raw"), 1 << 20),
                calls=calls,
                claims=calls,
                alarms=Alarms(store.engine, log),
                updates=folder / "updates",
                rollouts=Rollouts(store.engine),
                page=page,
            )
        )

        async def certified(scope, receive, send):
            """Stand in for TLS, which has verified the box's certificate."""
            if scope["type"] == "http":
                scope["state"] = {CERTIFICATE: f"{1:064x}"}
                await app(scope, receive, send)

        yield certified, token
        page.site.reader.close()


@pytest.fixture(scope="module")
def described(centre):
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", centre[0])


# What is random here is the same in every run.
FEW = settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = settings(FEW, max_examples=300, derandomize=False)
CALLS = [
    (path, method)
    for path, item in description()["paths"].items()
    for method in item
    if method != "parameters"
]


def hold(centre, described, path, method, how, modes):
    token = {"Authorization": f"Bearer {centre[1]}"}
    checks = [c for c in CHECKS if c.__name__ != ACCEPTS or not SELDOM.match(path)]
    operation = described[path][method]

    @how
    @given(case=strategies.one_of(*(operation.as_strategy(generation_mode=m) for m in modes)))
    def call(case):
        answer = case.call(headers=token)
        # An empty list or object leaves no trace in an address: what was wrong was never sent.
        sent = parse_qs(urlsplit(answer.request.url).query, keep_blank_values=True)
        lost = set(case.query or ()) - set(sent)
        used = [c for c in checks if not (lost and c.__name__ == REFUSES)]
        case.validate_response(
            answer, checks=used, headers=token, transport_kwargs={"headers": token}
        )

    call()


@pytest.mark.parametrize(("path", "method"), CALLS)
def test_the_server_keeps_to_its_description(centre, described, path, method):
    hold(centre, described, path, method, FEW, GenerationMode)


@pytest.mark.campaign
@pytest.mark.parametrize(("path", "method"), CALLS)
def test_the_server_keeps_to_its_description_at_length(centre, described, path, method):
    hold(centre, described, path, method, MANY, GenerationMode)


def test_a_line_break_in_an_address_is_answered_as_anything_else(centre, described):
    for path, name, code in (
        ("/api/v1/boxes/{box}", "box", "http"),
        ("/api/v1/boxes/{box}/history", "box", "http"),
        ("/v1/updates/{path}", "path", "path"),
    ):
        case = described[path]["GET"].Case(path_parameters={name: "a%0Ab"})
        answer = case.call(headers={"Authorization": f"Bearer {centre[1]}"})
        assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_everything_there_is_is_described(centre):
    paths = set(description()["paths"])
    api = {route.path for route in ROUTES} - {"/api/v1/openapi.json"}
    written = {path for path in api if "{form}" not in path}
    assert written <= paths
    assert {p for p in paths if "/exports/" in p} == {
        "/api/v1/exports/results.csv",
        "/api/v1/exports/results.jsonl",
    }
    assert {p for p in paths if p.startswith("/v1/")} == {
        "/v1/enrol", "/v1/renew", "/v1/ingest", "/v1/raw/{sha256}", "/v1/health",
        "/v1/updates/plan", "/v1/updates/{path}",
    }  # fmt: skip
