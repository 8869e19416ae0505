"""`hotseat launch`: from what a server offers and a user wants to a harness that runs.

The first half decides and is pure: `compose` chooses models for roles, `script` shows what would be
done as a shell script. The second half does it: files, environment, exec.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from bench.harnesses.base import KEY_VARIABLE, Harness, ModelCard, Recipe, Setup, SubAgent, UnsuitedSetup
from bench.harnesses.installed import find, write_files
from bench.server import Offer, OfferedModel

NO_KEY = "none"
"""Shown to a server without keys: harnesses insist on having one."""

MAX_OUTPUT_TOKENS = 32_000  # opencode asks for no more, whatever a model's limit is
OUTPUT_SHARE = 4  # of a window, the part that one answer may take
UNKNOWN_REMOTE_CONTEXT = 128_000
LEAST_ROOM = 2048  # tokens for work, beside a harness's own prompt
SMALL = "small"
HELPER = "helper"
_HELPER_DESCRIPTION = (
    "A cheaper model ({model}) for small, clearly described chores: searching, reading and summarising files,"
    " running commands, simple edits."
)
_HELPER_PROMPT = (
    "You do one small chore for another agent. Do exactly what it asks, with the tools you have, and nothing"
    " else. Then report what you did and what you found, briefly and with the facts: paths, line numbers,"
    " outputs."
)


class LaunchError(Exception):
    """Why a harness cannot be started and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user said; what they left open, the server's roles decide. `subagents`: name -> model."""

    main: str | None = None
    small: str | None = None
    subagents: Mapping[str, str] | None = None
    effort: str | None = None


@dataclass(frozen=True, slots=True)
class Composed:
    setup: Setup
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Launch:
    """A harness about to start. `arguments`: the user's own, after the recipe's."""

    harness: Harness
    setup: Setup
    recipe: Recipe
    program: Path
    arguments: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        return [str(self.program), *self.recipe.argv[1:], *self.arguments]

    def is_foreign(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.harness.foreign)


# --- which model in which role -------------------------------------------------------------------


def compose(
    offer: Offer, wishes: Wishes, harness: Harness, *, key: str, home: Path, workdir: Path
) -> Composed:
    """The setup for a harness, and what the user should know about it. Raises LaunchError."""
    usable = [model for model in offer.models if _defect(model) is None]
    if not usable:
        raise LaunchError("the server has no model that can answer: see `hotseat models`, then scripts/serve")
    main = _main(offer, wishes, usable)
    cards = [_card(model) for model in usable]
    small = main.name
    if wishes.small is not None:
        small = _named(offer, wishes.small).name
    elif (target := _role(offer, SMALL)) is not None:
        # By the role's name, not the model's: then a title is answered by whoever is loaded, without a swap.
        small = SMALL
        cards.append(_card(target, SMALL))
    try:
        setup = Setup(
            base_url=offer.url,
            api_key=key,
            main=main.name,
            small=small,
            models=tuple(cards),
            home=home,
            workdir=workdir,
            subagents=_subagents(offer, wishes, main),
            effort=wishes.effort,
        )
    except UnsuitedSetup as error:
        raise LaunchError(str(error)) from error
    unknown = {model.name for model in usable if model.context_length is None}
    return Composed(setup, tuple(_notes(setup, harness, unknown)))


def _main(offer: Offer, wishes: Wishes, usable: Sequence[OfferedModel]) -> OfferedModel:
    if wishes.main is not None:
        return _named(offer, wishes.main)
    if "main" in offer.roles:
        return _named(offer, offer.roles["main"])
    if len(usable) == 1:
        return usable[0]
    names = ", ".join(model.name for model in usable)
    raise LaunchError(f"models.toml has no role 'main': add --main with one of {names}")


def _role(offer: Offer, role: str) -> OfferedModel | None:
    """The model of a role that nobody asked for by name: none if there is none, or if it cannot answer."""
    model = offer.named(offer.roles[role]) if role in offer.roles else None
    return model if model is not None and _defect(model) is None else None


def _subagents(offer: Offer, wishes: Wishes, main: OfferedModel) -> tuple[SubAgent, ...]:
    chosen = wishes.subagents
    if chosen is None:
        target = _role(offer, "subagent")
        chosen = {} if target is None or target.name == main.name else {HELPER: target.name}
    return tuple(
        SubAgent(
            name=name,
            model=_named(offer, model).name,
            description=_HELPER_DESCRIPTION.format(model=model),
            prompt=_HELPER_PROMPT,
        )
        for name, model in chosen.items()
    )


def _named(offer: Offer, name: str) -> OfferedModel:
    """A model by name, alias or role, if it can answer. Raises LaunchError."""
    model = offer.named(name)
    if model is None:
        known = [*offer.roles, *(known for m in offer.models for known in (m.name, *m.aliases))]
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.4) or sorted(set(known))[:12]
        raise LaunchError(f"the server has no model '{name}': it has {', '.join(dict.fromkeys(near))}")
    if (defect := _defect(model)) is not None:
        raise LaunchError(defect)
    return model


def _defect(model: OfferedModel) -> str | None:
    """Why a harness cannot work with it."""
    if model.embeddings:
        return f"'{model.name}' makes embeddings and cannot chat: choose another model"
    if model.problem is not None:
        return model.problem if f"'{model.name}'" in model.problem else f"'{model.name}': {model.problem}"
    return None


def _card(model: OfferedModel, name: str | None = None) -> ModelCard:
    context = model.context_length or UNKNOWN_REMOTE_CONTEXT
    output = model.max_output_tokens or context // OUTPUT_SHARE
    return ModelCard(name or model.name, context, max(1, min(output, MAX_OUTPUT_TOKENS)), model.is_local)


def _notes(setup: Setup, harness: Harness, unknown: Set[str]) -> Iterable[str]:
    """About the models that work; the others may be chosen later, inside the harness."""
    for name in dict.fromkeys((setup.main, *(agent.model for agent in setup.subagents))):
        window = setup.card(name).context_length
        if name in unknown:
            yield (
                f"{name}: its limits are not known, {window} tokens are assumed: set context_length in its"
                " route"
            )
        if window < harness.prompt_tokens + LEAST_ROOM:
            yield (
                f"{name} has {window} tokens of context, and {harness.name}'s own prompt takes about"
                f" {harness.prompt_tokens}: raise n_ctx in models.toml, or choose another model"
            )


# --- what would be done, as a shell script -------------------------------------------------------


def environment(launch: Launch, environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, less what would send the harness elsewhere, with the recipe's."""
    kept = {name: value for name, value in environ.items() if not launch.is_foreign(name)}
    return {**kept, **launch.recipe.env, **_proxy_exceptions(launch, environ)}


def _proxy_exceptions(launch: Launch, environ: Mapping[str, str]) -> dict[str, str]:
    """A proxy is not to be asked for the server, which it could not reach."""
    if not any(environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return {}
    host = urlsplit(launch.setup.base_url).hostname or ""
    hosts = (environ.get("NO_PROXY") or environ.get("no_proxy") or "", host)
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(part for part in hosts if part))


def script(launch: Launch, environ: Mapping[str, str]) -> str:
    """A shell script that writes the files and starts the harness. The user's key is not in it."""
    recipe = launch.recipe
    lines = ["# From `hotseat launch`: the harness's files, then the command that starts it.", "(umask 077"]
    directories = dict.fromkeys(str(path.parent) for path in (*recipe.seeds, *recipe.files))
    lines += [f"mkdir -p {shlex.join(directories)}"]
    for path, content in recipe.seeds.items():
        lines += [f"[ -e {shlex.quote(str(path))} ] || {_here_document(path, content)}"]
    lines += [*(_here_document(path, content) for path, content in recipe.files.items()), ")"]
    unset = [name for name in sorted(environ) if launch.is_foreign(name)]
    env = {**recipe.env, **_proxy_exceptions(launch, environ)}
    # No `env NAME=value`: arguments are for everybody to read, and one of the values may be a key.
    exports = [f"export {name}={_value(value, environ)}" for name, value in env.items()]
    started = ["(", *([f"unset {shlex.join(unset)}"] if unset else []), *exports]
    return "\n".join([*lines, *started, f"exec {shlex.join(launch.argv)}", ")", ""])


def _here_document(path: Path, content: str) -> str:
    mark = "HOTSEAT_END"
    while mark in content:
        mark += "_"
    ended = content if content.endswith("\n") or not content else f"{content}\n"
    return f"cat > {shlex.quote(str(path))} <<'{mark}'\n{ended}{mark}"


def _value(value: str, environ: Mapping[str, str]) -> str:
    """The key is one of several in the user's variable: the first."""
    if value != NO_KEY and value == first_key(environ):
        return f'"${{{KEY_VARIABLE}%%[, ]*}}"'
    return shlex.quote(value)


def first_key(environ: Mapping[str, str]) -> str | None:
    """Of HOTSEAT_API_KEY, which the server reads too and which may hold several."""
    keys = environ.get(KEY_VARIABLE, "").replace(",", " ").split()
    return keys[0] if keys else None


# --- doing it ------------------------------------------------------------------------------------


def data_home(harness: str, environ: Mapping[str, str]) -> Path:
    """~/.local/share/hotseat/launch/HARNESS, or where XDG_DATA_HOME says."""
    data = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".local" / "share")
    return Path(data).absolute() / "hotseat" / "launch" / harness


def require_program(harness: Harness, environ: Mapping[str, str]) -> Path:
    program = find(harness.binary, environ)
    if program is None:
        raise LaunchError(
            f"{harness.binary} is not installed: run scripts/install-harnesses, or put it in PATH"
        )
    return program


def become(launch: Launch, environ: Mapping[str, str]) -> NoReturn:
    """Write the files and turn this process into the harness. Raises LaunchError."""
    home = launch.setup.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        write_files(launch.recipe)
        os.execve(launch.program, launch.argv, environment(launch, environ))
    except OSError as error:
        place = error.filename or launch.program
        raise LaunchError(
            f"{place}: {(error.strerror or str(error)).lower()}: check its permissions"
        ) from error
