"""Fault 33: a provider that echoes our key, in an error's text, in its details, in the middle of a stream, in
a web page, in a header. A distinctive key goes through a real server process and every kind of success and
failure; then everything that the server wrote or said is searched for it."""

from __future__ import annotations

import base64
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import load_config
from tests import fake_openrouter
from tests.fake_answers import Answer
from tests.fake_openrouter import openrouter, openrouter_url
from tests.fake_provider import Asked, FakeProvider
from tests.fake_wire import Failure, Reply, Response, Stunt, Wire
from tests.fake_zai import zai
from tests.proxy.remote_rig import HELLO, config_text, write_files
from tests.proxy.served import Serving, serving_config

OPENROUTER_KEY = "canary-OPENROUTER-8f3a61c0d2e94b57"
ZAI_KEY = "canary-ZAI-b7d2905e4c8a4f13.6a1e"
FILE_KEY = "canary-FILE-51c7f02b9de843aa"
OWN_KEY = "canary-OWN-e04f7a3b6c1d4928"
KEYS = {
    "OPENROUTER_API_KEY": OPENROUTER_KEY,
    "ZAI_API_KEY": ZAI_KEY,
    "HOTSEAT_API_KEY": OWN_KEY,
}
SECRETS = [OPENROUTER_KEY, ZAI_KEY, FILE_KEY, OWN_KEY]
SHORTEST_TRACE = 16
"""So many letters of a key in a row are found too: a text that was cut in the middle of it."""


def traces(text: str) -> set[str]:
    """Parts of keys that `text` shows, and keys in other clothes."""
    found = set()
    for key in SECRETS:
        clothes = {base64.b64encode(key.encode()).decode(), urllib.parse.quote(key, safe=""), key[::-1]}
        found |= {form for form in clothes if form in text}
        parts = (key[i : i + SHORTEST_TRACE].lower() for i in range(len(key) - SHORTEST_TRACE + 1))
        lower = text.lower()
        found |= {part for part in parts if part in lower}
    return found


def test_the_search_finds_a_key_and_most_of_one() -> None:
    assert not traces("nothing here, and no canary-OPEN")
    for text in (f"x{ZAI_KEY}x", f"…{OPENROUTER_KEY[:20]}", base64.b64encode(OWN_KEY.encode()).decode()):
        assert traces(text)


def echoes(asked: Asked) -> Iterator[Response]:
    """Everything that a provider might say of a key."""
    key = (asked.header("authorization") or asked.header("x-api-key") or "").removeprefix("Bearer ")
    said = f"Incorrect API key provided: {key}. Your headers: {dict(asked.headers)}"
    json_type, sse = {"content-type": "application/json"}, {"content-type": "text/event-stream"}
    for status in (400, 401, 402, 403, 404, 413, 429, 500, 502, 503):
        yield Failure(status, said, f"code-{key}")
    for length in (450, 470, 490):  # where a text is cut to a length, half of a key may be left
        yield Failure(502, "Provider returned error", metadata={"raw": "x" * length + key, "k": key})
    for length in (1960, 1980, 1990):
        yield Failure(502, "x" * length + key)
    yield Failure(400, "bad", "x", headers={"x-key": key, "www-authenticate": f'Bearer realm="{key}"'})
    yield Failure(200, said, 401)
    yield Failure(200, said, 503, as_event=True)
    yield Stunt(500, {"content-type": "text/html"}, body=f"<html>{said}</html>".encode())
    yield Stunt(200, {"content-type": "text/html"}, body=f"<html>{said}</html>".encode())
    yield Stunt(200, {"content-type": f"text/{key}"}, body=key.encode())
    yield Stunt(307, {"location": f"http://127.0.0.1:9/?key={key}"})
    yield Stunt(400, json_type, body=json.dumps({"error": key}).encode())
    odd = {"message": "bad", "param": key, "type": key, "code": key, "n_ctx": 5}
    yield Stunt(400, json_type, body=json.dumps({"error": odd}).encode())
    yield Stunt(400, json_type, body=json.dumps({"detail": [{"msg": key}]}).encode())
    yield Stunt(200, json_type, body=json.dumps({"choices": key, "model": key}).encode())
    yield Stunt(200, sse, body=f'data: {{"choices": "{key}"}}\n\n'.encode())
    yield Stunt(200, sse, body=f"data: {key}\n\n".encode())
    yield Stunt(200, sse, body=f"event: error\ndata: {json.dumps({'error': {'message': said}})}\n\n".encode())
    words = b'data: {"choices":[{"index":0,"delta":{"content":"one"},"finish_reason":null}]}\n\n'
    late = json.dumps({"error": {"message": said, "code": 401}, "choices": []}).encode()
    yield Stunt(200, sse, head=words, body=b"data: " + late + b"\n\n")
    yield Stunt(200, sse, head=words, body=f"data: {{broken {key}\n\n".encode())
    yield Stunt(200, sse, head=words, body=f"event: error\ndata: {said}\n\n".encode())
    yield Stunt(200, {**sse, "content-encoding": key}, head=words)
    end = json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": key}]}).encode()
    yield Stunt(200, sse, head=words, body=b"data: " + end + b"\n\n")
    whole = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": key}
    yield Stunt(200, json_type, body=json.dumps({"choices": [whole]}).encode())
    yield Stunt(drops=True)
    yield Reply(Answer("fine"), headers={"set-cookie": f"k={key}", "x-request-id": key})
    yield Reply(Answer("one two"), Wire(ends_at=500))
    yield Reply(Answer("one two"), Wire(error_after=1))
    yield Reply(Answer("fine"))


N_ECHOES = len(list(echoes(Asked(0, "", "", {}, [], b"", None, 0.0))))
ASKS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": HELLO}),
    ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 9}),
    ("/v1/messages", {"messages": HELLO, "max_tokens": 9, "stream": True}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/responses", {"input": "hello", "stream": True}),
]


def test_fault_33_no_key_is_anywhere(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(FILE_KEY)
    (tmp_path / "key").chmod(0o600)
    far, further = openrouter(key=OPENROUTER_KEY), zai(key=ZAI_KEY)
    said: list[str] = []
    with far.in_thread(), further.in_thread():
        path = write_files(tmp_path, _config(far, further))
        log = tmp_path / "stderr"
        with serving_config(tmp_path, path, "--verbose", log=log, **KEYS) as served:
            chat, chat_stream, messages, messages_stream, responses, responses_stream = ASKS
            said += asked_everything(served, "sonnet", far, [chat, chat_stream, messages_stream, responses])
            said += asked_everything(served, "glm", further, [messages, responses_stream])
            said += asked_everything(served, "glm-messages", further, [messages, messages_stream])
            said += [post(served, "/v1/chat/completions", {"model": "filed", "messages": HELLO})]
            said += looked_at(served)
            said += told_by_commands(served, path)
            said.append(served.banner)
            code, _ = served.stop()
        assert len(log.read_text().splitlines()) > N_ECHOES, "it did log"
        assert far.posted[0].header("authorization") == f"Bearer {OPENROUTER_KEY}", "it was used"
        assert f"Bearer {FILE_KEY}" in {asked.header("authorization") for asked in far.posted}
        assert len(far.posted) > N_ECHOES * 4, "all of them, and none was held back"
    assert code == 0
    said.append(repr(load_config(path, {**KEYS, "HOTSEAT_HOME": str(tmp_path)})))
    for text in said:
        assert not traces(text), text[:2000]
    for file in written(tmp_path):
        assert not traces(file.read_bytes().decode("latin-1")), file


def _config(far: FakeProvider, further: FakeProvider) -> str:
    more = f"""
[providers.filed]
base_url = "{openrouter_url(far)}"
api_key_file = "./key"
[routes.filed]
provider = "filed"
model = "{fake_openrouter.SONNET}"
"""
    return config_text(openrouter_url(far), further, each="retries = 0", more=more)


def asked_everything(
    served: Serving, model: str, fake: FakeProvider, asks: Sequence[tuple[str, dict[str, Any]]]
) -> list[str]:
    """Every echo, in several dialects. A provider that fails too often in a row is left alone for a while:
    good answers in between keep it in play."""
    said = []
    for (path, fields), number in itertools.product(asks, range(N_ECHOES)):
        fake.respond(lambda asked, number=number: list(echoes(asked))[number])  # type: ignore[misc]
        said.append(post(served, path, {"model": model, **fields}))
        if number % 3 == 0:
            fake.respond(lambda _: Reply())
            post(served, path, {"model": model, **fields})
    return said


def post(served: Serving, path: str, body: dict[str, Any]) -> str:
    headers = {"content-type": "application/json", "authorization": f"Bearer {OWN_KEY}"}
    request = urllib.request.Request(served.url + path, json.dumps(body).encode(), headers)
    return _read(request)


def _read(request: urllib.request.Request) -> str:
    """Head and body, whatever the status."""
    try:
        with urllib.request.urlopen(request) as response:
            return f"{response.headers}\n{response.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}\n{error.read().decode()}"


def looked_at(served: Serving) -> list[str]:
    paths = "/api/state /api/requests?limit=1000 /metrics /v1/models /health /api/openapi.json /ui/".split()
    headers = {"authorization": f"Bearer {OWN_KEY}"}
    return [_read(urllib.request.Request(served.url + path, headers=headers)) for path in paths]


def told_by_commands(served: Serving, path: Path) -> list[str]:
    environ = {**KEYS, "HOTSEAT_SERVER": served.url, "HOTSEAT_HOME": str(served.folder / "home")}
    commands = [
        ["ps"],
        ["models", "--json"],
        ["doctor", "--config", str(path)],
        ["spend"],
        ["spend", "--json"],
        ["logs", "echo"],
    ]
    results = [CliRunner().invoke(main, command, env=environ) for command in commands]
    return [result.output + str(result.exception) for result in results]


def written(folder: Path) -> Iterator[Path]:
    """What the server left behind; not what the test wrote."""
    for file in folder.rglob("*"):
        if file.is_file() and file != folder / "key":
            yield file


@pytest.mark.parametrize("name", ["OPENROUTER_API_KEY", "ZAI_API_KEY"])
def test_fault_33_a_key_that_breaks_a_header_is_not_shown_either(tmp_path: Path, name: str) -> None:
    """It is refused at the start: an HTTP library's complaint would quote it."""
    path = write_files(tmp_path, config_text("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v4"))
    bad = f"{KEYS[name]}\r\nx: y"
    result = CliRunner().invoke(
        main, ["serve", "--config", str(path)], env={name: bad, "HOTSEAT_HOME": str(tmp_path)}
    )
    assert result.exit_code != 0
    assert not traces(result.output + str(result.exception))
