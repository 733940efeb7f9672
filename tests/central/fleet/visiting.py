"""A served page, and a browser or program that asks it."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode, urlsplit

import uvicorn

from edge_daemon.central.page.serving import FleetPage
from edge_daemon.central.users import Users
from edge_daemon.log import EventLog

PASSWORD = "four random words here"


@contextmanager
def served(store, url, **more):
    """Serve the page of a database on a real socket, without TLS; give its address."""
    more = {"secure": False} | more
    page = FleetPage(url, store.engine, "a secret", EventLog("error"), **more)
    config = uvicorn.Config(
        page.app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="fleet page")
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        page.stop()


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def shown(self):
        """Text without markup, white space folded."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())


class Caller:
    """Keeps cookies and follows nothing by itself."""

    def __init__(self, url, *, token=None, context=None):
        parts = urlsplit(url)
        self.host, self.port, self.origin = parts.hostname, parts.port, url
        self.context, self.token = context, token
        self.cookies = {}

    def ask(self, method, path, body=None, **headers):
        kind = http.client.HTTPSConnection if self.context else http.client.HTTPConnection
        more = {"context": self.context} if self.context else {}
        connection = kind(self.host, self.port, timeout=60, **more)
        sent = {"Accept": "text/html"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            for header in response.headers.get_all("Set-Cookie") or ():
                name, _, value = header.split(";")[0].partition("=")
                self.cookies[name] = value
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path="/", **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, fields, *, form, **headers):
        """Send a form with the token of the page it stands on."""
        token = re.search(r'name="token" value="([^"]+)"', self.get(form).text)[1]
        more = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Origin": self.origin,
            **headers,
        }
        return self.ask("POST", path, urlencode({"token": token, **fields}), **more)

    def sign_in(self, name, password=PASSWORD, **fields):
        fields = {"name": name, "password": password, "next": "/", **fields}
        return self.post("/sign-in", fields, form="/sign-in")


def signed_in(store, url, name):
    """Open a browser in which somebody has signed in already."""
    users = Users(store.engine)
    caller = Caller(url)
    person = users.sign_in(name, PASSWORD)
    caller.cookies["edge_fleet"] = users.open_session(person)
    return caller
