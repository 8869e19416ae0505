"""Proofs with Ruby itself, where it and the gems are: that every file is Ruby, and that the tests pass."""

import os
import re
import signal
import subprocess
from pathlib import Path

GEMS = ("rails", "ruby_llm")
LOOK_S = 20
SYNTAX_S = 30
TESTS_S = 180
SHOWN_CHARS = 2_000
_HAS = "; ".join(f"gem {name!r}" for name in GEMS)
_COMPILE = """
failed = ARGV.reject do |path|
  RubyVM::InstructionSequence.compile(File.read(path), path)
rescue SyntaxError => error
  puts error.message
end
exit failed.empty?
"""
_PASSED = re.compile(r"^(\d+) (?:runs|tests), \d+ assertions, 0 failures, 0 errors", re.MULTILINE)


def why_not(app: Path) -> str:
    """ "", or what is missing here for them."""
    ruby = _run(["ruby", "-v"], app, LOOK_S)
    if ruby is None or ruby[0] != 0:
        return "there is no Ruby here"
    found = _run(["ruby", "-e", _HAS], app, LOOK_S)
    if found is None or found[0] != 0:
        return f"the gems {' and '.join(GEMS)} are not installed here"
    return ""


def every_file_is_ruby(app: Path, paths: list[str]) -> bool:
    done = _run(["ruby", "-e", _COMPILE, *paths], app, SYNTAX_S)
    if done is not None and done[0] != 0:
        print(done[1])
    return done is not None and done[0] == 0


def has_its_gems(app: Path) -> bool:
    """Whether all that the Gemfile names is installed; if not, nobody can tell here what the tests do."""
    done = _run(["ruby", "-S", "bundle", "check"], app, LOOK_S)
    return done is not None and done[0] == 0


def the_tests_pass(app: Path) -> bool:
    done = _run(["ruby", "bin/rails", "test"], app, TESTS_S)
    if done is None:
        print(f"bin/rails test took longer than {TESTS_S} s")
        return False
    passed = _PASSED.search(done[1])
    is_so = done[0] == 0 and passed is not None and int(passed[1]) > 0
    if not is_so:
        print(done[1])
    return is_so


def _run(argv: list[str], app: Path, limit_s: float) -> tuple[int, str] | None:
    """Exit code and the end of what it said, or None: it took too long. What it started goes with it."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/tmp"),
        "LANG": "C.UTF-8",
        "RAILS_ENV": "test",
        "OPENROUTER_API_KEY": "none",
    }
    try:
        process = subprocess.Popen(
            argv,
            cwd=app,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError:
        return 127, f"there is no {argv[0]}"
    with process:
        try:
            said, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process.pid)
    return process.returncode, said.decode(errors="replace")[-SHOWN_CHARS:]


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
