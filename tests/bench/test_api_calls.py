"""What a patch calls, read from the patch alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.api_calls import MAX_READ_CHARS, calls_of


def patch(text: str, path: str = "app.py") -> str:
    """`text` has the marks of a hunk in front of its lines."""
    lines = text.splitlines()
    before = sum(line[:1] in ("-", " ") for line in lines)
    after = sum(line[:1] in ("+", " ") for line in lines)
    return "\n".join(
        (
            f"diff --git a/{path} b/{path}",
            f"--- a/{path}",
            f"+++ b/{path}",
            f"@@ -1,{before} +1,{after} @@",
            *lines,
            "",
        )
    )


def added(text: str, path: str = "app.py") -> str:
    return patch("\n".join(f"+{line}" for line in text.splitlines()), path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("open('x')", {"open"}),
        ("import requests\nrequests.get(url).json()", {"requests.get", ".json"}),
        ("import numpy as np\nnp.linalg.norm(x)", {"numpy.linalg.norm"}),
        ("import os.path\nos.path.join(a)", {"os.path.join"}),
        ("from .store import save as keep\nkeep(x)", {".store.save"}),
        ("answer.json()\nreply.json()", {".json"}),
        ("def helper(a):\n    return len(a)\nhelper(1)\nself.helper(2)", {"len"}),
        ("class Box:\n    pass\nBox()", set()),
        ("x = 'print(1)'  # sorted(x)", set()),
        ("f = [lambda: 0][0]()", set()),
        ("'''\n\\d call(me)\n'''\nlen(a)", {"len"}),
    ],
)
def test_python_is_read_by_its_grammar(text: str, names: set[str]) -> None:
    found = calls_of(added(text))
    assert (set(found.names), found.by_words) == (names, False)


def test_only_added_lines_count() -> None:
    text = (
        " import json\n def f(a):\n-    return old(a)\n+    return json.loads(a)\n+\n def g(a):\n     kept(a)"
    )
    assert calls_of(patch(text)).names == {"json.loads"}


def test_a_line_within_a_call_is_read_with_what_is_around_it() -> None:
    text = " import json\n json.dumps(\n     a,\n-    b,\n+    sorted(b),\n )"
    assert calls_of(patch(text)) == calls_of(added("sorted(b)"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("         a = 1\n+        b = len(a)\n     return b\n def g():", {"len"}),
        ("+    elif isinstance(a, int):\n+        b = abs(a)\n x", {"isinstance", "abs"}),
        ("+    else: b = max(\n+        a,\n+        min(c),\n+    )\n x", {"max", "min"}),
        ("+    except OSError:\n+        # not print(1)\n+        fail(a)\n x", {"fail"}),
        ("+    @cached(size=int(n))\n+    finally:\n+        close(a)\n x", {"cached", "int", "close"}),
        ('+    x = """ call(me)\n+    and(me) """\n+    elif len(x):', {"len"}),
    ],
)
def test_a_piece_out_of_the_middle_is_read_statement_by_statement(text: str, names: set[str]) -> None:
    found = calls_of(patch(text))
    assert (set(found.names), found.by_words) == (names, False)


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        (
            "a.ts",
            "const r = await fetch(url); // not(this)\nif (ok(r)) { console.log('say(x)') }",
            {"fetch", "ok", ".log"},
        ),
        ("a.go", "func keep(a int) { keep(1); fmt.Println(len(a)) }", {".Println", "len"}),
        ("a.rs", "let v = Vec::with_capacity(n);\nfor x in (0..n) { push(x) }", {".with_capacity", "push"}),
        ("a.rb", 'text = client.ask("why (not)") # later(1)', {".ask"}),
    ],
)
def test_other_languages_are_read_as_words(path: str, text: str, names: set[str]) -> None:
    found = calls_of(added(text, path))
    assert (set(found.names), found.by_words) == (names, True)


def test_what_is_no_python_in_a_python_file_is_read_as_words() -> None:
    found = calls_of(added("print 'x', len(a)"))
    assert (set(found.names), found.by_words) == ({"len"}, True)


def test_prose_and_data_call_nothing() -> None:
    assert calls_of(added("Call main(x) to begin.", "README.md")).names == set()
    assert calls_of("").names == set()


def test_too_much_is_not_read() -> None:
    text = added("len(a)\n")
    assert calls_of(text + "x" * MAX_READ_CHARS).names == set()


@pytest.mark.parametrize("path", ["a.py", "a.js"])
@pytest.mark.parametrize(
    "text", ["a" * 300_000, "a." * 150_000, "(" * 300_000, "'" * 300_001, "a(" * 100_000]
)
def test_one_endless_line_takes_no_time(path: str, text: str) -> None:
    begun_s = time.process_time()
    calls_of(added(text, path))
    calls_of(added("\n".join(text[at : at + 1999] for at in range(0, 100_000, 1999)), path))
    assert time.process_time() - begun_s < 5.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="+- @\nabc(.):'\"#\t\\{}=efdlsipr\x00\u00e4", max_size=40), max_size=12))
def test_any_patch_is_read(pieces: list[str]) -> None:
    calls_of(patch("\n".join(pieces)))
    calls_of("\n".join(pieces))
