"""HTML by construction: an element is built of elements and text, and text is always escaped. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from bench.reports.words import printable

VOID = frozenset({"meta"})


class Html(str):
    """Text that is markup already: made here alone."""

    __slots__ = ()


Child = str | Html


def element(tag: str, /, *children: Child, **attributes: str | float | bool) -> Html:
    """`class_` loses its underscore, others become hyphens: text_anchor, aria_label. An attribute that is
    False is left out."""
    return named(
        tag, {key.strip("_").replace("_", "-"): value for key, value in attributes.items()}, *children
    )


def named(tag: str, attributes: Mapping[str, str | float | bool], *children: Child) -> Html:
    said = "".join(_attribute(key, value) for key, value in attributes.items() if value is not False)
    if tag in VOID:
        return Html(f"<{tag}{said}>")
    return Html(f"<{tag}{said}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Html:
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children))


def text(words: str) -> Html:
    return Html(html.escape(printable(words), quote=True))


def _attribute(key: str, value: str | float | bool) -> str:
    if value is True:
        return f" {key}"
    shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f' {key}="{text(shown)}"'
