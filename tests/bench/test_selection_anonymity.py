"""Nothing that a judge sees tells who made it."""

from __future__ import annotations

from bench.selection.anonymity import Scrubber, scrubber_for, shown_field
from bench.selection.prompts import Criterion, Note
from tests.bench.judged_fields import candidate
from tests.bench.report_results import node

MANIFEST = candidate("x").result.manifest


def test_names_become_the_same_words_in_every_candidate() -> None:
    a = candidate("fast-one", "by = 'Claude'", nodes=(node(model="big/qwen3.6"),))
    b = candidate("slow-one", "by = 'QWEN3.6, fast-one and big'")
    scrub = scrubber_for("the task", [a, b])
    words = {name: scrub(name) for name in ("claude", "fast-one", "slow-one", "qwen3.6", "big", "codex")}
    assert len(set(words.values())) == len(words)
    first, second = shown_field([a, b], scrub)
    assert words["claude"] in first.patch
    assert f"'{words['qwen3.6']}, {words['fast-one']} and {words['big']}'" in second.patch
    assert "claude" not in first.patch.lower()


def test_a_name_within_a_word_is_another_word() -> None:
    scrub = scrubber_for("", [candidate("tag")])
    assert scrub("stage tagged vintage") == "stage tagged vintage"
    assert "tag" not in scrub("a tag, my_tag.tag")


def test_what_the_task_or_the_repository_says_is_a_word_of_the_trade() -> None:
    made = candidate(
        "right", "align = 'right'", manifest=MANIFEST.model_copy(update={"models": {"glm-4": ""}})
    )
    assert "right" in scrubber_for("Keep to the right side.", [made])("right")
    assert scrubber_for("Keep left.", [made])("right") != "right"
    patch = (
        "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n llama = 1\n-old = 'gpt'\n+new = 'codex'\n"
    )
    kept = scrubber_for("", [type(made)(made.result, made.folder, patch, None)])
    assert kept("llama gpt") == "llama gpt"
    assert "codex" not in kept("codex")


def test_letters_that_only_look_alike_in_another_case_do_no_harm() -> None:
    scrub = scrubber_for("", [candidate("kiss-one")])
    for text in ("\u212aI\u017f\u017f-one", "\u017fonnet", "\u0130"):
        assert isinstance(scrub(text), str)
    assert "one" not in scrub("\u212aI\u017f\u017f-one")


def test_short_names_are_left_alone() -> None:
    assert scrubber_for("", [candidate("a"), candidate("b1")])("a b1 c") == "a b1 c"
    assert Scrubber(())("claude") == "claude"


def test_comments_are_left_out_and_context_is_kept() -> None:
    patch = (
        "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n def f(x):\n"
        "-    return x\n+    # I am the best\n+    return x + 1\n"
    )
    one = candidate("x")
    made = type(one)(one.result, one.folder, patch, None)
    (shown,) = shown_field([made], Scrubber(()))
    assert shown.patch == "--- a.py\n@@\n def f(x):\n-    return x\n+    return x + 1\n"


def test_only_probes_that_tell_candidates_apart_are_shown() -> None:
    a = candidate("a", "x = 1", outputs={"same": "1", "other": "1", "mine": "1"})
    b = candidate("b", "x = 2", outputs={"same": "1", "other": "2"})
    shown = shown_field([a, b], Scrubber(()))
    assert [[name for name, _, _ in one.probes] for one in shown] == [["other", "mine"], ["other"]]


def test_notes_are_scrubbed_too() -> None:
    scrub = scrubber_for("", [candidate("x")])
    note = Note(
        score=1,
        strengths=("like Claude",),
        problems=("as GPT would",),
        criteria=(Criterion(criterion="codex", met="no"),),
    )
    text = scrub.note(note).model_dump_json().lower()
    assert not any(name in text for name in ("claude", "gpt", "codex"))
