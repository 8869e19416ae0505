"""Every culprit by name, from whole prompts; what no rule knows is unknown.

Tokens here are characters, and ChatML's markup one token each, so windows are short: a rule that
sees enough in these sees enough in real ones.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from inference.batching import Placement, SlotView, TokenArray, place
from inference.messages import PrefixReport
from inference.prefix_culprits import RULES, UNKNOWN
from inference.prefix_report import (
    COULD_NOT_GO_BACK,
    MAX_WINDOW_CHARS,
    NOT_WORTH_A_COPY,
    NOTHING_CACHED,
    SNAPSHOT_UNUSABLE,
    compare,
    explain,
    log_line,
)
from inference.prefix_stability import BILLING_HEADER, TOKENS_LEFT

MARKUP = (
    *("<|im_start|>", "<|im_end|>", "<|start|>", "<|message|>", "<|end|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|system|>", "<|user|>", "<|assistant|>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
)
FIRST_MARKUP = 0x110000


def tokens_of(text: str) -> TokenArray:
    pieces = [p for p in re.split(f"({'|'.join(map(re.escape, MARKUP))})", text) if p]
    ids = [[FIRST_MARKUP + MARKUP.index(p)] if p in MARKUP else [ord(c) for c in p] for p in pieces]
    return np.array([token for part in ids for token in part], dtype=np.int32)


def decode(tokens: TokenArray) -> str:
    return "".join(MARKUP[t - FIRST_MARKUP] if t >= FIRST_MARKUP else chr(t) for t in tokens.tolist())


def is_control(tokens: TokenArray) -> npt.NDArray[np.bool_]:
    return np.greater_equal(tokens, FIRST_MARKUP)


def chat(*messages: tuple[str, str]) -> str:
    turns = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)
    return turns + "<|im_start|>assistant\n"


def slot(index: int, text: str, **values: object) -> SlotView:
    return replace(SlotView(index, tokens_of(text), False, 0), **values)  # type: ignore[arg-type]


def report_of(prompt: str, *views: SlotView, reused: int | None = None) -> PrefixReport:
    tokens = tokens_of(prompt)
    placement = place(tokens, views)
    assert placement is not None
    match = compare(tokens, placement, views, decode, is_control)
    return explain(match, placement.reuse if reused is None else reused)


RULES_TEXT = "You are an agent for software. " + " ".join(f"Rule {i}: be careful." for i in range(20))
TASK = "Fix the failing test in the parser, then run all of them and say what you changed."
SESSION = (("user", TASK), ("assistant", "I looked at the parser and fixed the test."), ("user", "Go on."))
HEADER = "x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch={};\n"


def tool(name: str) -> str:
    return (
        f'{{"type": "function", "function": {{"name": "{name}", "description": "What {name} does.", '
        f'"parameters": {{"type": "object", "properties": {{"path_of_{name}": {{"type": "string"}}}}}}}}}}'
    )


def with_system(text: str) -> str:
    return chat(("system", text), *SESSION)


def dated(text: str) -> str:
    return with_system(f"You are an agent. {text}\n{RULES_TEXT}")


def counted(text: str) -> str:
    return chat(("system", RULES_TEXT), *SESSION, ("system", text), ("user", "Go on."))


def answered(answer: str) -> str:
    return chat(("system", RULES_TEXT), ("user", TASK)) + answer


REASONED = "<think>\nThe user wants the parser fixed.\n</think>\n\nI fixed it."
REMINDER = "<system-reminder>\nToken usage: {}\n</system-reminder>"

CULPRITS: dict[str, tuple[str, str, str]] = {
    "billing hash": (BILLING_HEADER, dated(HEADER.format("eb6c6")), dated(HEADER.format("0aaa9"))),
    "billing hash, first digit the same": (
        BILLING_HEADER,
        dated(HEADER.format("eb6c6")),
        dated(HEADER.format("e0aa9")),
    ),
    "billing version hash": (
        BILLING_HEADER,
        with_system("x-anthropic-billing-header: cc_version=2.1.330.d01; cc_entrypoint=sdk-cli;\nYou"),
        with_system("x-anthropic-billing-header: cc_version=2.1.330.1f4; cc_entrypoint=sdk-cli;\nYou"),
    ),
    "total tokens": (
        TOKENS_LEFT,
        counted("<total_tokens>14992750 tokens left</total_tokens>"),
        counted("<total_tokens>14981003 tokens left</total_tokens>"),
    ),
    "token usage": (
        TOKENS_LEFT,
        counted(REMINDER.format("140882/200000; 59118 remaining")),
        counted(REMINDER.format("150000/200000; 50000 remaining")),
    ),
    "token usage in another place": (
        TOKENS_LEFT,
        counted("<total_tokens>14992750 tokens left</total_tokens>"),
        chat(("system", RULES_TEXT), *SESSION, ("user", "Go on.")),
    ),
    "ISO date": ("timestamp or date", dated("Date: 2026-11-21"), dated("Date: 2026-11-22")),
    "ISO date, another year": ("timestamp or date", dated("Date: 2026-11-21"), dated("Date: 2027-01-01")),
    "ISO time": (
        "timestamp or date",
        dated("Now: 2026-11-21T10:15:42Z"),
        dated("Now: 2026-11-21T10:15:43Z"),
    ),
    "clock": ("timestamp or date", dated("It is 10:15:42."), dated("It is 9:59:01.")),
    "clock of twelve hours": ("timestamp or date", dated("It is 10:15 AM."), dated("It is 10:16 AM.")),
    "date in words": ("timestamp or date", dated("Now: November 21, 2026"), dated("Now: May 1, 2027")),
    "day of the week": ("timestamp or date", dated("Today is Saturday."), dated("Today is Monday.")),
    "date with strokes": ("timestamp or date", dated("Today: 11/21/2026"), dated("Today: 11/22/2026")),
    "seconds since 1970": ("timestamp or date", dated("time: 1794000000"), dated("time: 1794000017")),
    "reordered tools": (
        "reordered tools",
        dated(f"{tool('read_file')}\n{tool('write_file')}\n{tool('run')}"),
        dated(f"{tool('run')}\n{tool('read_file')}\n{tool('write_file')}"),
    ),
    "tools of similar names": (
        "reordered tools",
        dated(f"{tool('read_file')}\n{tool('read_folder')}"),
        dated(f"{tool('read_folder')}\n{tool('read_file')}"),
    ),
    "dropped reasoning": (
        "dropped reasoning",
        answered(REASONED),
        answered("I fixed it.<|im_end|>\n<|im_start|>user\nMore.<|im_end|>\n"),
    ),
    "emptied reasoning": (
        "dropped reasoning",
        answered(REASONED),
        answered("<think>\n\n</think>\n\nI fixed it.<|im_end|>\n<|im_start|>user\nMore.<|im_end|>\n"),
    ),
    "changed system prompt": (
        "changed system prompt",
        dated("Workspace colour: red."),
        dated("Workspace colour: blue."),
    ),
    "another tool, the rest as before": (
        "changed system prompt",
        dated(f"{tool('read_file')}\n{tool('run')}"),
        dated(f"{tool('write_file')}\n{tool('run')}"),
    ),
    "other session, same system prompt": (
        "other session",
        chat(("system", RULES_TEXT), ("user", TASK)),
        chat(("system", RULES_TEXT), ("user", "What is the weather like on the moon these days?")),
    ),
    "other session, other system prompt": (
        "other session",
        with_system(RULES_TEXT),
        chat(("system", "Write poems. " + "Rhyme well, never twice the same way. " * 9), ("user", "Sea!")),
    ),
    "other session without a template": (
        "other session",
        "The sea is wide and its waves go far.",
        "The hills were quiet and nobody came by.",
    ),
    "unknown: an answer rewritten": (
        UNKNOWN.name,
        answered("I fixed it, as you said."),
        answered("I did what was asked.<|im_end|>\n<|im_start|>user\nMore.<|im_end|>\n"),
    ),
    "unknown: numbers that are no date": (
        UNKNOWN.name,
        chat(("system", RULES_TEXT), *SESSION, ("user", "Line 1794000000 is wrong.")),
        chat(("system", RULES_TEXT), *SESSION, ("user", "Line 1794000017 is wrong.")),
    ),
    "unknown: first message changed, the rest goes on": (
        UNKNOWN.name,
        chat(("user", f"Key 7741. {TASK}"), *SESSION[1:]),
        chat(("user", f"Key 9920. {TASK}"), *SESSION[1:]),
    ),
    "unknown: two lines swapped that are no tools": (
        UNKNOWN.name,
        chat(*SESSION, ("user", "a line with some length\none more that is longer\n")),
        chat(*SESSION, ("user", "one more that is longer\na line with some length\n")),
    ),
    "unknown: a time on one side only": (
        UNKNOWN.name,
        chat(("system", RULES_TEXT), *SESSION, ("user", "It was 10:15:42 then.")),
        chat(("system", RULES_TEXT), *SESSION, ("user", "It was late then.")),
    ),
    "unknown: a date behind what differs": (
        UNKNOWN.name,
        chat(("system", RULES_TEXT), *SESSION, ("user", "It was red on 2026-11-21.")),
        chat(("system", RULES_TEXT), *SESSION, ("user", "It was blue on 2026-11-21.")),
    ),
    "unknown: a closing tag in a person's words": (
        UNKNOWN.name,
        chat(("system", RULES_TEXT), *SESSION, ("user", "What does it mean?")),
        chat(("system", RULES_TEXT), *SESSION, ("user", "What does </think> mean?")),
    ),
    "unknown: think in a person's words": (
        UNKNOWN.name,
        chat(("system", RULES_TEXT), *SESSION, ("user", "What does <thinker> mean?")),
        chat(("system", RULES_TEXT), *SESSION, ("user", "What does it mean?")),
    ),
}


@pytest.mark.parametrize(("name", "cached", "prompt"), CULPRITS.values(), ids=CULPRITS)
def test_culprits(name: str, cached: str, prompt: str) -> None:
    report = report_of(prompt, slot(0, cached))
    index = report.first_difference
    assert index is not None
    theirs, ours = [cause for cause in report.causes if cause.side == "client"], tokens_of(prompt)
    assert [cause.name for cause in theirs] == [name]
    assert decode(ours[:index]).endswith(report.before)
    assert decode(ours[index:]).startswith(report.in_prompt)
    assert decode(tokens_of(cached)[index:]).startswith(report.in_cache)
    assert report.in_prompt[:1] != report.in_cache[:1]


@pytest.mark.parametrize(("name", "cached", "prompt"), CULPRITS.values(), ids=CULPRITS)
def test_log_lines_hold_no_text_of_the_prompt(name: str, cached: str, prompt: str) -> None:
    line = log_line(12, report_of(prompt, slot(0, cached)))
    known = {rule.name for rule in (*RULES, UNKNOWN)}
    words = re.sub("|".join(map(re.escape, sorted(known, key=len, reverse=True))), "", line)
    assert re.fullmatch(
        r"request 12: \d+ of \d+ prompt tokens reused( \(slot 0\))?; first difference at token \d+: "
        r"(; \d+ lost: too short to copy)?",
        words,
    )


TEMPLATES = {
    "llama 3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    ),
    "gpt-oss": (
        "<|start|>system<|message|>user or system<|end|><|start|>developer<|message|>{}<|end|>"
        "<|start|>user<|message|>{}<|end|><|start|>assistant<|message|>Yes.<|end|><|start|>user<|message|>{}<|end|>"
    ),
    "glm": "<|system|>\n{}<|user|>\n{}<|assistant|>\nYes.<|user|>\n{}",
    "mistral": "<s>[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT][INST]{}[/INST]Yes.</s>[INST]{}[/INST]",
    "chatml": (
        "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_roles_are_read_from_the_markup(template: str) -> None:
    def culprit(*texts: str) -> str:
        report = report_of(template.format(*texts), slot(0, template.format(RULES_TEXT, TASK, "Go on.")))
        return [cause.name for cause in report.causes if cause.side == "client"][0]  # noqa: RUF015

    assert culprit(f"Blue. {RULES_TEXT}", TASK, "Go on.") == "changed system prompt"
    assert culprit(RULES_TEXT, "Write a poem about the sea and its waves.", "Go on.") == "other session"
    assert culprit(RULES_TEXT, TASK, "Stop it.") == UNKNOWN.name


def test_between_messages_is_in_none() -> None:
    ended = chat(("system", RULES_TEXT)).removesuffix("<|im_start|>assistant\n")
    report = report_of(f"{ended}user things of one kind", slot(0, f"{ended}user matters of another kind"))
    assert report.culprit == UNKNOWN.name


def test_other_tokens_for_the_same_text() -> None:
    words = {1: "Hel", 2: "lo", 3: "Hello", 4: "<|im_end|>", 5: "So: "}
    head = [5] * 40
    prompt, cached = (np.array([*head, *rest], dtype=np.int32) for rest in ([3, 4], [1, 2]))
    views = [SlotView(0, cached, False, 0)]
    placement = place(prompt, views)
    assert placement is not None
    match = compare(
        prompt, placement, views, lambda t: "".join(words[i] for i in t.tolist()), lambda t: np.equal(t, 4)
    )
    assert explain(match, placement.reuse).culprit == "other tokens for the same text"


# --- what was reused, and from where ---------------------------------------------------------------

LONG = chat(("system", RULES_TEXT), ("user", TASK))


def test_the_first_request_finds_nothing_cached() -> None:
    report = report_of(LONG, slot(0, ""))
    assert (report.reused_tokens, report.source, report.first_difference) == (0, "none", None)
    assert [(c.name, c.side, c.tokens) for c in report.causes] == [
        (NOTHING_CACHED, "engine", len(tokens_of(LONG)))
    ]
    assert log_line(1, report).endswith(f" prompt tokens reused; {report.prompt_tokens} lost: nothing cached")


def test_a_continued_session_loses_nothing() -> None:
    report = report_of(LONG + "Done.<|im_end|>\n", slot(0, LONG))
    assert (report.reused_tokens, report.source) == (len(tokens_of(LONG)), "slot")
    assert (report.first_difference, report.causes, report.culprit) == (None, (), "")
    assert (
        log_line(3, report)
        == f"request 3: {len(tokens_of(LONG))} of {report.prompt_tokens} prompt tokens reused (slot 0)"
    )


def test_the_same_prompt_again_loses_nothing() -> None:
    report = report_of(LONG, slot(0, LONG + "Done."))
    assert (report.reused_tokens, report.first_difference, report.causes) == (
        report.prompt_tokens - 1,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("view", "source"),
    [
        (slot(1, LONG, busy=True), "copy"),
        (slot(-1, LONG, busy=True, tier="memory"), "memory"),
        (slot(-2, LONG, busy=True, tier="disk"), "disk"),
    ],
    ids=["another slot", "host memory", "a file"],
)
def test_where_it_lay(view: SlotView, source: str) -> None:
    report = report_of(LONG + "Done.", slot(0, ""), view)
    assert (report.source, report.slot, report.reused_tokens) == (source, 0, len(tokens_of(LONG)))
    assert report.causes == ()


def test_a_snapshot_that_cannot_be_used_is_to_blame() -> None:
    report = report_of(LONG + "Done.", slot(0, ""), slot(-1, LONG, busy=True, tier="disk"), reused=0)
    assert (report.source, report.culprit) == ("none", SNAPSHOT_UNUSABLE)


def test_a_state_that_cannot_go_back_is_to_blame_for_what_it_loses() -> None:
    rewritten = answered("I did what was asked.")
    cached = answered("I fixed it, as you said.")
    shared = len(tokens_of(answered("I ")))
    whole = slot(0, cached, trim_floor=len(tokens_of(cached)), checkpoints=(100,))
    report = report_of(rewritten, whole)
    assert (report.reused_tokens, report.first_difference) == (100, shared)
    assert [(c.name, c.tokens) for c in report.causes] == [
        (COULD_NOT_GO_BACK, shared - 100),
        (UNKNOWN.name, 19),
    ]
    assert report.culprit == COULD_NOT_GO_BACK
    near = replace(whole, checkpoints=(shared - 5,))
    assert [c.name for c in report_of(rewritten, near).causes] == [UNKNOWN.name, COULD_NOT_GO_BACK]


def test_too_short_to_copy() -> None:
    cached, prompt = "The sea is wide and its waves go far. " * 5, "The sea is flat."
    report = report_of(prompt, slot(0, cached, used_at=2), slot(1, "A" * 40, used_at=1))
    assert (report.reused_tokens, report.first_difference) == (0, 11)
    assert {c.name for c in report.causes} == {"other session", NOT_WORTH_A_COPY}


def test_what_was_removed_is_said() -> None:
    match = compare(tokens_of(LONG), Placement(0, 0), [slot(0, "")], decode, is_control)
    report = explain(match, 0, {TOKENS_LEFT: 2, BILLING_HEADER: 1})
    assert report.removed == {TOKENS_LEFT: 2, BILLING_HEADER: 1}
    assert log_line(1, report).endswith("; removed: 1 × billing header nonce, 2 × tokens-left reminder")


def test_windows_are_bounded_and_reports_travel() -> None:
    wide = SlotView(0, tokens_of("a" * 50 + "b" * 50), False, 0)
    prompt = tokens_of("a" * 50 + "c" * 50)
    placement = place(prompt, [wide])
    assert placement is not None
    match = compare(prompt, placement, [wide], lambda t: " " * 500 * len(t), is_control)
    report = explain(match, placement.reuse)
    assert {len(report.before), len(report.in_prompt), len(report.in_cache)} == {MAX_WINDOW_CHARS}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=PrefixReport) == report


def test_hostile_windows_take_no_time() -> None:
    """Patterns are searched in text that anybody may have written."""
    for filler in (
        "Token usage: 1",
        "10:10:10",
        "<think>",
        "1/1/",
        "Mon ",
        "cch=a",
        '"name":',
        "user",
        "1,",
        " \n",
    ):
        text = filler * 200
        started_s = time.process_time()
        for tail in ("x", "yy" * 40):
            report_of("A" * 40 + text + tail, slot(0, "A" * 40 + text[:-1] + "z" + tail))
        assert time.process_time() - started_s < 0.5
