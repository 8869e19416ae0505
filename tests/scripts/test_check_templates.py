"""scripts/check-templates: what it says of templates that render, adapt, lose something or refuse."""

from __future__ import annotations

from benchkit.templates import check

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def test_a_template_without_tools_renders_with_tools_as_text() -> None:
    outcome = check("plain", PLAIN)
    assert outcome.line() == "plain: rendered, calls as generic"
    assert outcome.row() == "| plain | generic | – | – | tools, calls and results as text | – |"


def test_what_is_not_shown_is_named() -> None:
    loses = PLAIN.replace("{{ m.content }}", "{{ m.content if m.content != 'And?' }}")
    assert check("loses", loses).missing == "“And?”"


def test_a_refusal_is_told_in_the_templates_own_words() -> None:
    outcome = check(
        "strict", "{% if messages | length > 5 %}{{ raise_exception('too long') }}{% endif %}" + PLAIN
    )
    assert "unsupported: the model's chat template refuses this conversation: too long" in outcome.line()
    assert "**unsupported**" in outcome.row()


def test_a_template_that_cannot_be_compiled_is_unsupported() -> None:
    assert "cannot be compiled" in check("broken", "{% for %}").refusal
