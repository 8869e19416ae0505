"""`hotseat chat`: once, as a conversation, and on a terminal."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from proxy.chat_session import ChatOptions, ChatSession
from proxy.cli import main
from proxy.client import Client
from proxy.progress import PoolProgress, event_text
from tests.proxy.served import Serving, error_line, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serve"), "--budget", "1MB") as started:
        yield started


@pytest.fixture
def hotseat(server: Serving) -> Callable[..., Result]:
    """Run a client command against the server."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        environ = {"HOTSEAT_SERVER": server.url, "HOTSEAT_HOME": str(server.folder / "home")}
        return CliRunner().invoke(main, arguments, input=stdin, env=environ)

    return run


def test_chat_once(hotseat: Callable[..., Result]) -> None:
    result = hotseat("chat", "quick", "which colour?", "--temperature", "0", "--max-tokens", "50")
    assert result.exit_code == 0
    assert result.stdout == "A fine\x1b[31m red\n"  # a pipe gets what the model said, all of it
    assert "hm" in result.stderr
    assert "tokens" in result.stderr
    assert "tok/s" in result.stderr
    assert "; stop]" in result.stderr


def test_chat_reads_a_pipe(hotseat: Callable[..., Result]) -> None:
    assert hotseat("chat", "q", stdin="from a pipe").stdout == "You said: from a pipe\n"
    assert "the prompt is empty" in error_line(hotseat("chat", "q", stdin=" \n"))


def test_chat_reports_errors(hotseat: Callable[..., Result]) -> None:
    assert "quick" in error_line(hotseat("chat", "quik", "hello"))
    assert "the scripted cause" in error_line(hotseat("chat", "broken", "hello"))


def test_chat_reports_a_worker_that_dies_mid_answer(hotseat: Callable[..., Result]) -> None:
    result = hotseat("chat", "quick", "crash")
    assert result.stdout.startswith("one")
    assert "quick" in error_line(result)
    assert hotseat("chat", "quick", "again").stdout == "You said: again\n"


def test_a_conversation_remembers_forgets_and_survives_errors(server: Serving) -> None:
    lines = iter(["which colour?", "", "crash", "and then?", "/clear", "fresh"])
    prompts: list[str] = []

    def read_line(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    out, notes = io.StringIO(), io.StringIO()
    ChatSession(Client(server.url, None), ChatOptions("quick", system="be brief"), out, notes).talk(read_line)
    assert len(prompts) == 7
    assert "You said: and then?" in out.getvalue()
    assert out.getvalue().endswith("You said: fresh\n")
    assert "hotseat: " in notes.getvalue()
    counts = [int(part.split(" ")[0]) for part in notes.getvalue().split("prompt ")[1:]]
    assert counts[1] > counts[0]  # the second answer saw the first question
    assert counts[2] < counts[1]  # the third saw neither


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_not_steered_by_a_model(server: Serving) -> None:
    out, notes = Terminal(), Terminal()
    ChatSession(Client(server.url, None), ChatOptions("quick"), out, notes).ask("which colour?")
    assert out.getvalue() == "A fine[31m red\n"


def test_a_terminal_shows_the_load(server: Serving) -> None:
    client = Client(server.url, None)
    client.unload(None)
    seen = threading.Event()

    class Watched(Terminal):
        def write(self, text: str) -> int:
            if "loading second" in text or "ready second" in text:
                seen.set()
            return super().write(text)

    notes = Watched()
    with PoolProgress(client, notes) as progress:
        progress.begin()
        while not seen.is_set():  # the first load may come before the subscription
            client.load("second")
            client.unload("second")
    shown = notes.getvalue()
    assert shown.endswith("\r\x1b[K")  # and leaves nothing behind


def test_event_text() -> None:
    assert event_text({"kind": "progress", "model": "a", "detail": "0.412"}) == "loading a 41%"
    assert event_text({"kind": "ready", "model": "a", "detail": "0.8 s"}) == "ready a 0.8 s"
    assert event_text({"kind": "unloaded", "model": "a", "detail": ""}) == "unloaded a"
    assert event_text({}) == ""
