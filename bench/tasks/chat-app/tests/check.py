"""check.py TESTS APP VERIFIER: the chat against a provider that records the wire.

Six proofs, each a run of its own or two: many turns, streaming, the tool, a tool that fails, refusals, a
restart; and that nothing of the package is used that is not there. The reward is the share of what holds.
"""

import importlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from provider import Provider, call, text

from bench.api_check import read
from bench.api_description import described

APP, VERIFIER = (Path(argument) for argument in sys.argv[2:4])
REAL = Path(__file__).parent / "real"
LIMIT_S = 15
SHOWN_WITHIN_S = 2.0
A, B, C = ({"role": "user", "text": letter} for letter in "abc")
ONE, TWO, THREE = ({"role": "model", "text": word} for word in ("one two", "2", "3"))


def started(url, state):
    return subprocess.Popen(
        [sys.executable, "-B", str(APP / "chat.py"), str(state)],
        cwd=APP,
        env={"PATH": "/usr/bin:/bin", "HOME": str(state.parent), "LANG": "C.UTF-8", "PARLEY_URL": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def chat(provider, said, state):
    """What it printed, or None if it did not end."""
    with provider.running() as url, started(url, state) as process:
        try:
            return process.communicate(said.encode(), timeout=LIMIT_S)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            return None


def many_turns(state):
    provider = Provider([text("one ", "two"), text("2"), text("3")])
    shown = chat(provider, "a\n\nb\nc\n", state)
    return shown == "one two\n2\n3\n" and provider.sent == [[A], [A, ONE, B], [A, ONE, B, TWO, C]]


def streaming(state):
    """The second piece leaves only when the first has been read at the other end of the pipe."""
    provider = Provider([[{"text": "first"}, None, {"text": " second"}, {"end": True}]])
    with provider.running() as url, started(url, state) as process:
        process.stdin.write(b"a\n")
        process.stdin.flush()
        provider.has_begun.wait(LIMIT_S)
        ready, _, _ = select.select([process.stdout], [], [], SHOWN_WITHIN_S)
        shown = os.read(process.stdout.fileno(), 5) if ready else b""
        provider.gate.set()
        try:
            rest, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return False
    return shown == b"first" and shown + rest == b"first second\n"


def asked_and_given(name, given, **arguments):
    return [
        {"role": "model", "calls": [{"id": f"id-{name}", "name": name, "arguments": arguments}]},
        {"role": "tool", "id": f"id-{name}", "text": given},
    ]


def a_tool(state):
    provider = Provider([call("multiply", a=6, b=7), call("multiply", a=-3, b=5), text("2"), text("3")])
    shown = chat(provider, "a\nb\n", state)
    first, second = asked_and_given("multiply", "42", a=6, b=7), asked_and_given("multiply", "-15", a=-3, b=5)
    whole = [A, *first, *second, TWO, B]
    return (
        shown == "2\n3\n"
        and provider.sent == [whole[:1], whole[:3], whole[:5], whole]
        and provider.offered == [["multiply"]] * 4
    )


def a_tool_that_fails(state):
    provider = Provider(
        [call("divide", a=1), call("multiply", a=1), call("multiply", a="x", b={}), text("2")]
    )
    shown = chat(provider, "a\n", state)
    results = [message["text"] for message in provider.sent[-1] if message["role"] == "tool"]
    return shown == "2\n" and len(results) == 3 and all(given.startswith("error:") for given in results)


def refusals(state):
    broken = [{"text": "half"}]
    provider = Provider([text("one two"), 500, broken, call("multiply", a=1, b=1), 503, text("2")])
    shown = chat(provider, "a\nno\nhalf\ntool\nb\n", state) or ""
    lines = shown.splitlines()
    return (
        provider.sent[-1] == [A, ONE, B]
        and len(provider.sent) == 6
        and (lines[0], lines[2], lines[-1]) == ("one two", "half", "2")
        and [line[:1] for line in lines] == ["o", "!", "h", "!", "!", "2"]
    )


def a_restart(state):
    before, after = Provider([text("one two"), 500]), Provider([text("2"), text("3")])
    shown = [chat(before, "a\nlost\n", state), chat(after, "b\nc\n", state)]
    return shown[1] == "2\n3\n" and after.sent == [[A, ONE, B], [A, ONE, B, TWO, C]]


def the_package_as_it_is(_state):
    sys.path.insert(0, str(REAL))
    api = described(importlib.import_module("parley"))
    reading = read((APP / "chat.py").read_text(), "chat.py", api)
    for finding in reading.findings:
        print(finding)
    return reading.uses > 0 and not reading.findings


def holds(proof):
    with tempfile.TemporaryDirectory() as folder:
        try:
            return bool(proof(Path(folder) / "state.json"))
        except (LookupError, TypeError, ValueError, OSError, SyntaxError) as error:
            print(f"{proof.__name__}: {error!r}")  # the chat did not do enough to be looked at
            return False


def main():
    proofs = (many_turns, streaming, a_tool, a_tool_that_fails, refusals, a_restart, the_package_as_it_is)
    shutil.rmtree(APP / "parley", ignore_errors=True)
    shutil.copytree(REAL / "parley", APP / "parley")  # whatever has become of it
    is_there = (APP / "chat.py").is_file()
    scores = {proof.__name__: float(is_there and holds(proof)) for proof in proofs}
    reward = round(sum(scores.values()) / len(scores), 6)
    (VERIFIER / "reward.json").write_text(json.dumps({"reward": reward, **scores}))


main()
