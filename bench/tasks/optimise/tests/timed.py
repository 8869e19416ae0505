"""What single calls of functions that are not ours cost in CPU seconds, and what they return, in short.

    timed([Call("/app", "ways", (12, [1, 2, 5]))], Path("/app"), limit_s=10.0)  ->  [Cost(0.02, "5ce8…")]

Nothing that is judged measures itself. A process imports the module and says so; only then is it told what
to call, and its CPU clock is read from outside, before and after. What it started counts too, also what was
to outlive it. One process is started, and forks for every call.
"""

import ctypes
import hashlib
import json
import marshal
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import astuple, dataclass

PR_SET_CHILD_SUBREAPER = 36
READY = b"ready\n"
LEAST_OTHERS_S = 0.0002


@dataclass(frozen=True)
class Call:
    """`folder`: where slow.py lies. `arguments`: plain values."""

    folder: str
    name: str
    arguments: tuple


@dataclass(frozen=True)
class Cost:
    """`digest` "": it raised, or did not end."""

    seconds: float
    digest: str


def timed(calls, cwd, limit_s):
    """`limit_s`: for one call."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", __file__],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "LANG": "C.UTF-8"},
        input=marshal.dumps(([astuple(call) for call in calls], limit_s)),
        stdout=subprocess.PIPE,
        check=True,
        timeout=limit_s * len(calls) + 30,
    )
    return [Cost(*found) for found in json.loads(done.stdout)]


# --- the process that forks ----------------------------------------------------------------------


def serve():
    calls, limit_s = marshal.loads(sys.stdin.buffer.read())
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whom a child leaves behind is ours to end
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    told = os.dup(1)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    found = [_cost(*call, time.monotonic() + limit_s) for call in calls]
    with os.fdopen(told, "w") as stream:
        json.dump(found, stream)


def _cost(folder, name, arguments, deadline_s):
    asked, asks = os.pipe()
    answered, answers = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(asks)
            os.close(answered)
            _answer(folder, name, asked, answers)
        finally:
            os._exit(0)
    os.close(asked)
    os.close(answers)
    clock = (~child << 3) | 2  # CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
    digest, took_s = b"", 0.0
    if _read(answered, len(READY), deadline_s) == READY:
        begun_s = _clock_s(child, clock)
        if _written(asks, marshal.dumps(arguments)):
            digest = _read(answered, 65, deadline_s)
        took_s = _clock_s(child, clock) - begun_s
    os.close(asks)
    os.close(answered)
    others_s = _others_s(child, clock)
    is_whole = len(digest) == 65 and digest.endswith(b"\n")
    return took_s + others_s, digest.decode(errors="replace").strip() if is_whole else ""


def _answer(folder, name, asked, answers):
    sha256, loads, write = hashlib.sha256, marshal.loads, os.write
    sys.path.insert(0, folder)
    function = getattr(__import__("slow"), name)
    write(answers, READY)
    size = int.from_bytes(_read(asked, 4, float("inf")), "big")
    arguments = loads(_read(asked, size, float("inf")))
    write(answers, sha256(repr(function(*arguments)).encode()).hexdigest().encode() + b"\n")
    os.read(asked, 1)  # until it is over


def _clock_s(child, clock, most_s=1.0):
    """Once it waits: the clock of a process that runs is behind by up to a tick, which is milliseconds."""
    until_s = time.monotonic() + most_s
    while time.monotonic() < until_s:
        with open(f"/proc/{child}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] != "R":
                break
        time.sleep(0.0001)
    return time.clock_gettime(clock)


def _written(asks, data):
    data = len(data).to_bytes(4, "big") + data
    try:
        while data:
            data = data[os.write(asks, data) :]
    except BrokenPipeError:
        return False
    return True


def _read(reads, size, deadline_s):
    data = b""
    while len(data) < size:
        left_s = None if deadline_s == float("inf") else max(0.0, deadline_s - time.monotonic())
        ready, _, _ = select.select([reads], [], [], left_s)
        more = os.read(reads, size - len(data)) if ready else b""
        if not more:
            break
        data += more
    return data


def _others_s(child, clock):
    """Ends it and all that it has left behind. -> CPU seconds of what it started."""
    _kill(child)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    seconds = -time.clock_gettime(clock)  # its own, to its very end, which costs more than a fast function
    left = [child]
    while left:
        for process in left:
            _kill(process)
            _, _, usage = os.wait4(process, 0)
            seconds += usage.ru_utime + usage.ru_stime
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            left = [int(word) for word in file.read().split()]
    return seconds if seconds > LEAST_OTHERS_S else 0.0  # the clocks differ in their last digits


def _kill(process):
    for end in (os.killpg, os.kill):
        try:
            end(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


if __name__ == "__main__":
    serve()
