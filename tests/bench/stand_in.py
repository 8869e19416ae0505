"""A harness for tests of what runs harnesses: a short Python program with the manners of one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from bench.harnesses.base import Claim, Recipe, Setup, Transcript

PROGRAM = '''
import json, os, pathlib, sys, time, urllib.error, urllib.request

URL, KEY, MAIN = (os.environ[name] for name in ("URL", "KEY", "MAIN"))
SUBS = json.loads(os.environ["SUBS"])
SESSION = sys.argv[1] if len(sys.argv) > 1 else "session-1"

def ask(text, model=MAIN, agent=None):
    """As Claude Code names its agents."""
    headers = {"content-type": "application/json", "authorization": "Bearer " + KEY,
               "user-agent": "claude-cli/2.1.330", "x-claude-code-session-id": SESSION}
    if agent:
        headers["x-claude-code-agent-id"] = agent
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "max_tokens": 100, "tools": tools, "messages": messages}
    request = urllib.request.Request(URL + "/v1/messages", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["content"][0]["text"]
    except urllib.error.HTTPError as error:
        return str(error.code)

def say(**said):
    print(json.dumps(said), flush=True)

'''


@dataclass(frozen=True, slots=True)
class StandIn:
    """`program`: Python after PROGRAM; it has `ask`, `say`, `PROMPT`."""

    program: str
    name: str = "opencode"
    binary: str = "opencode"
    prompt_tokens: int = 100
    foreign: tuple[str, ...] = ()
    claims_session: bool = False

    def interactive(self, setup: Setup) -> Recipe:
        return self.headless(setup, "")

    def headless(self, setup: Setup, prompt: str) -> Recipe:
        return self._recipe(setup, prompt, ())

    def resume(self, setup: Setup, prompt: str, session_id: str) -> Recipe:
        return self._recipe(setup, prompt, (session_id, "resumed"))

    def _recipe(self, setup: Setup, prompt: str, arguments: tuple[str, ...]) -> Recipe:
        path = setup.home / "stand_in.py"
        subs = {agent.name: agent.model for agent in setup.subagents}
        return Recipe(
            files={path: f"{PROGRAM}\nPROMPT = sys.stdin.read()\n{self.program}"},
            env={"URL": setup.base_url, "KEY": setup.api_key, "MAIN": setup.main, "SUBS": json.dumps(subs)},
            argv=("opencode", "-I", str(path), *arguments),
            stdin=prompt,
        )

    def parse(self, stdout: Iterable[str]) -> Transcript:
        """`say(...)` gives the fields; a run that said nothing at all failed."""
        said: dict[str, object] = {}
        for line in stdout:
            said |= json.loads(line)
        tokens = said.get("tokens")
        return Transcript(
            final_text=str(said.get("text", "")),
            session_id=str(said.get("session", "")),
            claimed=Claim(*tokens) if isinstance(tokens, list) else Claim(),
            claimed_cost_usd=Decimal("0.5") if tokens else None,
            tool_calls=1,
            delegations=int(bool(said.get("delegated"))),
            errors=(str(said["error"]),) if "error" in said else (),
            is_error=not said or "error" in said,
            brief_chars=(5,) if said.get("delegated") else (),
        )


INTERPRETER = Path(sys.executable)
