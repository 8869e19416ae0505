"""The `hotseat` commands, against a real server process with scripted models."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.cli_options import table
from proxy.client import Client, Refused
from proxy.listener import listen, port_owner
from proxy.units import format_bytes
from tests.proxy.served import (
    CANARY,
    CONFIG,
    ROOT,
    START_TIMEOUT_S,
    Serving,
    environment,
    error_line,
    question,
    serving,
    text_of,
    unused_address,
    write_config,
)


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


# --- serve -------------------------------------------------------------------------------------


def test_serve_says_what_it_serves(server: Serving) -> None:
    assert server.banner.startswith("Hotseat serves http://127.0.0.1:")
    assert "budget 977 KiB" in server.banner  # 1 MB
    for line in (
        "quick: 4096 tokens × 2 slots, 1000 B",
        "absent: not downloaded",
        "hostile: invalid file",
    ):
        assert line in server.banner


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_line_works_as_printed(server: Serving) -> None:
    line = server.banner.splitlines()[-1].strip()
    done = subprocess.run(
        shlex.split(line), capture_output=True, text=True, timeout=START_TIMEOUT_S, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"] == "You said: Say hello."


def test_the_server_never_maps_the_engine(server: Serving) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "uvloop" in maps  # the right process, and the list is real
    for library in ("libllama", "libggml", "libcuda"):
        assert library not in maps


def test_client_commands_import_no_framework() -> None:
    frameworks = ("asyncio", "pydantic", "fastapi", "uvicorn", "llama_cpp", "psutil", "numpy")
    code = f"import sys, proxy.cli; print([name for name in {frameworks} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_0_and_no_child_left(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as started:
        Client(started.url, None).load("quick")
        children = started.children()
        assert children
        code, stderr = started.stop(number)
        assert (code, stderr) == (0, "")
        assert not any(child.is_running() for child in children)


def test_fault_39_sigterm_lets_a_running_answer_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    with serving(tmp_path) as started:
        client = Client(started.url, None)
        chunks = client.chat(question("quick", "count slowly"))
        first = next(chunk for chunk in chunks if text_of(chunk))
        started.process.send_signal(signal.SIGTERM)
        list(client.pool_events())  # ends when the signal has been heard
        with pytest.raises(Refused, match="shutting down"):
            list(client.chat(question("quick", "me too")))
        rest = "".join(text_of(chunk) for chunk in chunks)
        assert (text_of(first) + rest).split() == ["tick"] * 60
        assert started.stop()[0] == 0


def test_an_open_event_stream_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as started:
        follower = subprocess.Popen(
            [sys.executable, "-m", "proxy.cli", "logs", "-f", "--server", started.url],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert follower.stdout is not None
            Client(started.url, None).load("quick")
            line = next(line for line in follower.stdout if "ready" in line or "says hello" in line)
            assert "quick" in line
            code, stderr = started.stop()
            assert (code, stderr) == (0, "")
            _, stderr = follower.communicate(timeout=START_TIMEOUT_S)
            assert follower.returncode == 1
            assert stderr.startswith("hotseat: ")
        finally:
            follower.kill()
            follower.communicate()


def test_keys_are_asked_for_and_neither_keys_nor_prompts_are_logged(tmp_path: Path) -> None:
    with serving(tmp_path, "--verbose", HOTSEAT_API_KEY=f"{CANARY}-key") as started:
        assert "$HOTSEAT_API_KEY" in started.banner
        environ = {"HOTSEAT_SERVER": started.url, "HOTSEAT_API_KEY": "wrong"}
        refused = error_line(CliRunner().invoke(main, ["ps"], env=environ))
        assert "HOTSEAT_API_KEY" in refused
        environ["HOTSEAT_API_KEY"] = f"{CANARY}-key, and-another"
        answered = CliRunner().invoke(main, ["chat", "quick", f"{CANARY}-prompt"], env=environ)
        assert answered.stdout == f"You said: {CANARY}-prompt\n"
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"{started.url}/v1/models?key={CANARY}-query")
        code, stderr = started.stop()
    assert code == 0
    assert "POST '/v1/chat/completions': 200 in" in stderr
    assert CANARY not in stderr + started.banner


REFUSED_STARTS = {
    "non-loopback without a key": (["--host", "0.0.0.0"], CONFIG, ["without an API key", "127.0.0.1"]),
    "unknown address": (["--host", "192.0.2.1"], CONFIG, ["192.0.2.1"]),
    "bad budget": (["--budget", "28G"], CONFIG, ["--budget", '"28GiB"']),
    "bad port": (["--port", "99999"], CONFIG, ["--port", "65535"]),
    "unknown option": (["--prot", "1"], CONFIG, ["--prot", "--port"]),
    "unknown key": ([], "[severs]", ["severs", "did you mean 'server'"]),
    "absent file": (["--config", "/nowhere/models.toml"], CONFIG, ["/nowhere/models.toml"]),
}


@pytest.mark.parametrize(("options", "text", "expected"), REFUSED_STARTS.values(), ids=REFUSED_STARTS.keys())
def test_serve_refuses(tmp_path: Path, options: list[str], text: str, expected: list[str]) -> None:
    config = write_config(tmp_path, text)
    environ = {"HOTSEAT_HOME": str(tmp_path), "HOTSEAT_API_KEY": ""}
    result = CliRunner().invoke(main, ["serve", "--config", str(config), *options], env=environ)
    message = error_line(result)
    for part in expected:
        assert part in message
    assert result.stdout == ""


def test_a_port_in_use_is_refused_and_its_owner_named(tmp_path: Path) -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(tmp_path)
        environ = {"HOTSEAT_HOME": str(tmp_path)}
        result = CliRunner().invoke(
            main, ["serve", "--config", str(config), "--port", str(port)], env=environ
        )
        message = error_line(result)
        assert f"port {port} on 127.0.0.1 is in use by" in message
        assert f"(pid {os.getpid()})" in message
        assert "--port" in message


# --- models, ps, load, unload ------------------------------------------------------------------


def test_models_without_a_server(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    nobody = unused_address()
    environ = {"HOTSEAT_HOME": str(tmp_path / "home"), "HOTSEAT_SERVER": ""}
    arguments = ["models", "--config", str(config), "--json"]
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(main, arguments, env=environ).stdout)}
    assert rows["quick"]["state"] in ("unloaded", "ready")  # something may serve the default address
    assert rows["quick"]["estimated_bytes"] == 1000
    unknown = ("dry_run_bytes", "measured_bytes", "footprint_bytes", "footprint_origin")
    assert [rows["quick"][key] for key in unknown] == [None, None, 1000, "estimate"]
    assert rows["quick"]["aliases"] == ["q"]
    assert rows["absent"]["state"] == "not downloaded"
    assert rows["absent"]["estimated_bytes"] is None
    assert "models/hf/owner/repo/absent.gguf" in rows["absent"]["error"]
    assert rows["hostile"]["state"] == "invalid file"
    assert "hostile.gguf" in rows["hostile"]["error"]
    assert rows["far-away"]["state"] == "no key"
    named = CliRunner().invoke(main, [*arguments, "--server", nobody], env=environ)
    assert "no server at" in error_line(named)


def test_models_shows_the_states_of_a_server(hotseat: Callable[..., Result], server: Serving) -> None:
    hotseat("unload", "--all")
    hotseat("load", "second")
    listing = hotseat("models", "--config", str(server.folder / "models.toml"))
    assert listing.exit_code == 0
    lines = {line.split()[0]: line for line in listing.stdout.splitlines()}
    assert " ready " in lines["second"]
    assert " unloaded " in lines["quick"]
    assert "not downloaded" in lines["absent"]
    assert "absent: " in listing.stderr


def test_models_shows_what_earlier_runs_measured(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        Client(server.url, None).load("quick")
        server.stop()
    arguments = ["models", "--config", str(tmp_path / "models.toml")]
    environ = {"HOTSEAT_HOME": str(tmp_path / "home"), "HOTSEAT_SERVER": ""}
    rows = json.loads(CliRunner().invoke(main, [*arguments, "--json"], env=environ).stdout)
    quick = next(row for row in rows if row["name"] == "quick")
    assert quick["measured_bytes"] >= 4_000_000
    assert quick["measured_loads"] == 1
    title, *lines = CliRunner().invoke(main, arguments, env=environ).stdout.splitlines()
    columns = [title.index(name) for name in ("ESTIMATED", "DRY RUN", "MEASURED", "STATE")]
    shown = {line.split()[0]: [line[a:b].strip() for a, b in pairwise(columns)] for line in lines}
    assert shown["quick"] == ["1000 B", "-", format_bytes(quick["measured_bytes"])]
    assert shown["second"] == ["1000 B", "-", "-"]


def test_load_ps_unload(hotseat: Callable[..., Result]) -> None:
    assert hotseat("load", "q").stdout == "q is ready\n"
    shown = hotseat("ps")
    lines = {line.split()[0]: line.split() for line in shown.stdout.splitlines()}
    assert lines["quick"][1] == "ready"
    assert lines["quick"][-2:] == ["0/2", "0"]
    assert "absent" not in lines  # not a failure: nobody has put it there yet
    assert lines["hostile"][1] == "failed"
    assert "absent" in hotseat("ps", "--all").stdout
    assert "budget 977 KiB" in shown.stdout
    state = json.loads(hotseat("ps", "--json").stdout)
    assert {model["name"]: model["state"] for model in state["models"]}["quick"] == "ready"
    assert hotseat("unload", "quick").stdout == "quick is unloaded\n"
    assert hotseat("unload", "--all").stdout == "every model is unloaded\n"
    assert "quick" not in hotseat("ps").stdout


def test_load_reports_the_cause(hotseat: Callable[..., Result]) -> None:
    assert "the scripted cause" in error_line(hotseat("load", "broken"))
    assert "not downloaded" in error_line(hotseat("load", "absent"))
    assert "hostile.gguf" in error_line(hotseat("load", "hostile"))
    assert "quick" in error_line(hotseat("load", "quik"))
    assert "remote route" in error_line(hotseat("load", "far-away"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b", "é", "%2e%2e", "x?y#z", "a\nb", "q" * 300])
def test_strange_names_are_names(hotseat: Callable[..., Result], name: str) -> None:
    for command in ("load", "unload", "logs"):
        error_line(hotseat(command, "--", name))


@pytest.mark.parametrize("arguments", [[], ["quick", "--all"]])
def test_unload_wants_a_name_or_all(hotseat: Callable[..., Result], arguments: list[str]) -> None:
    result = hotseat("unload", *arguments)
    assert result.exit_code == 2
    assert "either NAME or --all" in error_line(result)


# --- logs --------------------------------------------------------------------------------------


def test_logs(hotseat: Callable[..., Result]) -> None:
    hotseat("load", "quick")
    assert "quick says hello\n" in hotseat("logs", "quick").stdout
    hotseat("load", "broken")
    everything = hotseat("logs").stdout
    assert "quick | quick says hello\n" in everything
    assert "broken | no such tensor\n" in everything  # kept after its death
    assert "quick" in error_line(hotseat("logs", "quik"))


# --- the rest ----------------------------------------------------------------------------------


def test_every_command_has_help_with_an_example() -> None:
    for name, command in main.commands.items():
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0
        assert f"hotseat {name}" in result.stdout
        assert command.get_short_help_str()


def test_usage_errors_are_one_line() -> None:
    assert "did you mean 'ps'" in error_line(CliRunner().invoke(main, ["pss"])).lower()
    assert CliRunner().invoke(main, ["pss"]).exit_code == 2


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).stdout.startswith("hotseat")


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    """`hotseat models | head`: the reader may leave first."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "proxy.cli", "models", "--config", str(write_config(tmp_path))]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_table_aligns() -> None:
    assert table(("A", "LONG"), [("bbb", "c")]) == "A    LONG\nbbb  c"


def test_listen_reports_an_unknown_host() -> None:
    with pytest.raises(Exception, match=r"server\.host"):
        listen("no.such.host.invalid", 0)


def test_port_owner_knows_us() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as taken:
        assert str(os.getpid()) in (port_owner(taken.getsockname()[1]) or "")
