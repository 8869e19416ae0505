"""What a stage is told, and what it is not."""

from __future__ import annotations

from bench.patches import changes
from bench.spec import parse_spec
from bench.stage_prompt import MAX_FAILED_TOLD, Before, Failed, State, first_state, told

SPEC = parse_spec(
    b"# Shop\n\nCents.\n\n## Stage: parse\nRead it.\n\n### Acceptance\n- It parses. check: ``echo `x` ``\n\n"
    b"## Stage: report\nShow it.\n````md\n```\n````\n\n### Acceptance\n- It shows. check: `python3 show.py`\n"
    b"- It is plain.\n\n"
    b"## Stage: ship\nLater work.\n\n### Acceptance\n- Done.\n"
)
PARSE, REPORT, _ = SPEC.stages
STATE = State("STATE.md", "parse is done\n")
PATCH = """\
diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1,2 @@
+a
+b
diff --git a/old.bin b/old.bin
deleted file mode 100644
Binary files a/old.bin and /dev/null differ
"""


def test_the_first_stage_has_nothing_before_it() -> None:
    text = told(SPEC, PARSE, State("STATE.md", first_state(SPEC)), None)
    assert "stage 1 of 3" in text
    assert "# Shop\n\nCents." in text
    assert "- [ ] 3. ship" in text
    assert "left" not in text.split("# What is being built")[1]
    assert "earlier stages were to reach" not in text


def test_a_later_stage_is_told_its_own_part_what_came_before_and_the_state() -> None:
    failed = Failed(PARSE, PARSE.items[0], "Traceback\n```\nboom")
    text = told(SPEC, REPORT, STATE, Before(PARSE, 2, 3, [failed], changes(PATCH), "wall"))
    assert "2. report   <- yours" in text
    assert "`````\nShow it.\n````md" in text  # a fence longer than any in it
    assert "- It parses. check: ``` echo `x` ```" not in text
    assert "- It parses. check: `` echo `x` ``" in text
    assert "Of 3 checks so far 2 passed." in text
    assert "FAILED, of stage 1: It parses." in text
    assert "````\nTraceback\n```\nboom\n````" in text
    assert "did not come to its end: wall" in text
    assert "- new.py (new): +2 -0\n- old.bin (deleted, binary)" in text
    assert "# STATE.md as it is now\n\n```\nparse is done\n```" in text
    assert "Later work." not in text
    assert "Read it." not in text


def test_what_is_long_is_counted_instead() -> None:
    failed = [Failed(PARSE, PARSE.items[0], "")] * (MAX_FAILED_TOLD + 2)
    text = told(SPEC, REPORT, State("STATE.md", "begin", cut=True), Before(PARSE, 0, 22, failed, [], ""))
    assert text.count("FAILED") == MAX_FAILED_TOLD
    assert "And 2 more failed." in text
    assert "It changed no file." in text
    assert "Only its beginning is shown" in text
