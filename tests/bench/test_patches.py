"""Patches: which files, and what is changed beside comments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.patches import MAX_LEXED_CHARS, changes, files_touched, without_comments


def new_file(path: str, text: str) -> str:
    lines = text.split("\n")
    head = (
        f"diff --git a/{path} b/{path}\nnew file mode 100644\nindex 000..111\n--- /dev/null\n+++ b/{path}\n"
    )
    return head + f"@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{line}\n" for line in lines)


RENAMED = """diff --git a/old.py b/new.py
similarity index 90%
rename from old.py
rename to new.py
index 1..2 100644
--- a/old.py
+++ b/new.py
@@ -1,3 +1,3 @@ def f():
 a = 1
-b = 2  # was two
+b = 3  # is three
 c = 4
\\ No newline at end of file
diff --git a/gone.txt b/gone.txt
deleted file mode 100644
index 1..0
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
---- a/fake.txt
"""


def test_files_of_a_patch() -> None:
    assert files_touched(RENAMED) == {"new.py", "gone.txt"}
    assert files_touched("") == frozenset()
    assert [change.headers for change in changes(RENAMED)] == [
        ["rename from old.py", "rename to new.py"],
        ["deleted file mode 100644"],
    ]
    assert changes(RENAMED)[1].hunks[0].lines == ["---- a/fake.txt"]


def test_names_that_git_quotes() -> None:
    patch = 'diff --git "a/a b.py" "b/a b.py"\n--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\n'
    assert files_touched(patch) == {"a b.py"}


def test_only_what_is_changed_is_left() -> None:
    assert without_comments(RENAMED).splitlines() == [
        "--- gone.txt",
        "deleted file mode 100644",
        "---- a/fake.txt",
        "--- new.py",
        "rename from old.py",
        "rename to new.py",
        "-b = 2",
        "+b = 3",
    ]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("x.py", '"""Right."""\na = "# no"  # yes\n# all\nb = 1', ['+a = "# no"', "+b = 1"]),
        ("x.py", 'def f():\n    """Said\n    over lines."""\n    return 1', ["+def f():", "+    return 1"]),
        ("x.py", "#!/usr/bin/env python3\n# said", ["+#!/usr/bin/env python3"]),
        ("x.js", 'a("// no"); // yes\n/* all\n of it */ b();', ['+a("// no");', "+ b();"]),
        ("x.c", "#include <a.h> // said\nint a;", ["+#include <a.h>", "+int a;"]),
        ("x.sh", "echo '# no' # yes", ["+echo '# no'"]),
        ("x.unheard-of", "# kept\nx", ["+# kept", "+x"]),
        ("x.py", "a = 1\r\n# said\r\nb = 2\r", ["+a = 1", "+b = 2"]),
        ("x.py", "# " + "a" * MAX_LEXED_CHARS, ["+# " + "a" * MAX_LEXED_CHARS]),
    ],
)
def test_comments_are_taken_out(path: str, text: str, expected: list[str]) -> None:
    assert without_comments(new_file(path, text)).splitlines()[2:] == expected


def test_the_side_that_goes_is_read_by_itself() -> None:
    lines = ["@@ -1,3 +1,2 @@", "-a = '''", "-# kept, it is a string", "-'''", "+a = 1", "+# said", ""]
    patch = "\n".join(["diff --git a/x.py b/x.py", *lines])
    assert without_comments(patch).splitlines() == [
        "--- x.py",
        "-a = '''",
        "-# kept, it is a string",
        "-'''",
        "+a = 1",
    ]


@given(st.sampled_from(["a.py", "a.js", "a.html", "a.rs", "a.md", "a"]), st.text(max_size=300))
def test_nothing_is_made_up(path: str, text: str) -> None:
    patch = new_file(path, text.replace("\n", " ")).replace("\r", "")
    said = without_comments(patch).split("\n")[2:]
    assert all(line[1:].rstrip() in patch for line in said)


@given(st.text(alphabet="diff -git ab/@+,01\n \\", max_size=400))
def test_any_text_is_read(text: str) -> None:
    without_comments(text)
    without_comments(f"diff --git a/x.py b/x.py\n@@ -1,9 +1,9 @@\n{text}")
