"""What programs that are not ours answer: each group of expressions in a process of its own.

    answers([Group(("/app",), "import katas", ("katas.roman('IV')",))], Path("/app"))  ->  [["4"]]

An answer is the repr of a value, `raise NAME` with the nearest exception of Python's own, or NO_ANSWER. The
right answers stay with the asker: the programs are never in a process that knows them, and nothing that they
start outlives their group, to write over what the checks write. One process is started, and forks for every
group, which costs milliseconds where a new Python costs a tenth of a second.

The same file lies beside the checks of several tasks: a task must stand alone.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

NO_ANSWER = "no answer"
MAX_ANSWER_CHARS = 100_000
MAX_GROUP_BYTES = 4 * 2**20
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Group:
    """`path`: where modules are looked for first. `setup`: statements, before the `asks`, which are
    expressions. A `setup` that raises is the answer to every ask."""

    path: tuple
    setup: str
    asks: tuple


def answers(groups, cwd, limit_s=5.0, preload=()):
    """`limit_s`: for one group. `preload`: modules that every group imports."""
    request = {"groups": [asdict(group) for group in groups], "limit_s": limit_s, "preload": preload}
    done = subprocess.run(
        [sys.executable, "-I", "-B", __file__],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "LANG": "C.UTF-8"},
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=limit_s * len(groups) + 30,
    )
    found = json.loads(done.stdout)
    return [
        (lines + [NO_ANSWER] * len(group.asks))[: len(group.asks)]
        for group, lines in zip(groups, found, strict=True)
    ]


def failures(asks, found, right):
    """A line for every ask that was not answered as it should be: `right` holds values, or `raise NAME`."""
    wanted = [value if str(value).startswith("raise ") else repr(value) for value in right]
    return [
        f"{ask:.200}: expected {want:.200}, found {got:.200}"
        for ask, want, got in zip(asks, wanted, found, strict=True)
        if want != got
    ]


# --- the process that forks ----------------------------------------------------------------------


def serve():
    request = json.load(sys.stdin)
    for name in request["preload"]:
        __import__(name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whom a child leaves behind is ours to end
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    told = os.dup(1)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    found = [_of_a_child(group, request["limit_s"], told) for group in request["groups"]]
    with os.fdopen(told, "w") as stream:
        json.dump(found, stream)


def _of_a_child(group, limit_s, told):
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(told)
            os.close(reads)
            _answer(group, writes)
        finally:
            os._exit(0)
    os.close(writes)
    data = _read(reads, time.monotonic() + limit_s)
    os.close(reads)
    _end(child)
    while left := _left_behind():
        for process in left:
            _end(process)
    return [json.loads(line) for line in data.split(b"\n")[:-1] if line.startswith(b'"')]


def _end(process):
    for end in (os.killpg, os.kill):  # the group exists as soon as the child has called setsid
        try:
            end(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(process, 0)


def _left_behind():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


def _read(reads, deadline_s):
    data = b""
    while len(data) < MAX_GROUP_BYTES:
        ready, _, _ = select.select([reads], [], [], max(0.0, deadline_s - time.monotonic()))
        more = os.read(reads, 65536) if ready else b""
        if not more:
            break
        data += more
    return data


def _answer(group, writes):
    sys.path[:0] = group["path"]
    names = {"__name__": "probe"}
    broken = _said(lambda: exec(group["setup"], names))
    for ask in group["asks"]:
        answer = broken if broken != "None" else _said(lambda ask=ask: eval(ask, names))
        os.write(writes, json.dumps(answer[:MAX_ANSWER_CHARS]).encode() + b"\n")


def _said(action):
    try:
        return repr(action())
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it is somebody else's program
        return "raise " + next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


if __name__ == "__main__":
    serve()
