"""What an API has: its types, their members and how those are called. From a package itself, or written down.

Stands alone with api_check.py, on the standard library: a task's hidden checks hold copies of both.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

CLASS = "type:"  # the class itself, and not something of it
_ITERABLE = re.compile(
    r"(?:[a-z]+\.)*(?:list|tuple|set|frozenset|Iterator|Iterable|Sequence|Generator|Collection|AsyncIterator)"
    r"\[(\w+)(?:, ?[^\]]*)?\]"
)


@dataclass(frozen=True, slots=True)
class Member:
    """`value`: the type of what it is; `gives`: of what a call of it gives. "" is unknown, "[T]" many of T.
    `signature` None: not to be called, or nobody can say how."""

    value: str = ""
    gives: str = ""
    signature: inspect.Signature | None = None


@dataclass(frozen=True, slots=True)
class Type:
    """`is_open`: it makes up members when they are asked for, so that none is missing."""

    members: Mapping[str, Member]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Api:
    """`types`: classes and modules by name; `package` is the module that users import."""

    package: str
    types: Mapping[str, Type]

    def member(self, kind: str, name: str) -> Member | None:
        """Of something of this type, or of the class itself. None: there is none."""
        found = self.types[kind.removeprefix(CLASS)].members.get(name)
        if found is not None and kind.startswith(CLASS) and not found.value.startswith(CLASS):
            return Member(found.value)  # self is not bound: who calls it so may pass anything
        return found

    def knows(self, kind: str) -> bool:
        known = self.types.get(kind.removeprefix(CLASS))
        return known is not None and not known.is_open

    def named(self, name: str) -> list[Member]:
        return [kind.members[name] for kind in self.types.values() if name in kind.members]


@dataclass(frozen=True, slots=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def unbound(signature: inspect.Signature, call: ast.Call) -> str:
    """Why the call does not bind, or "". What comes from * and ** is not known and may be anything."""
    keywords: dict[str, object] = {word.arg: None for word in call.keywords if word.arg is not None}
    spread = any(isinstance(argument, ast.Starred) for argument in call.args)
    positional = [None for argument in call.args if not isinstance(argument, ast.Starred)]
    is_whole = not spread and len(keywords) == len(call.keywords)
    try:
        (signature.bind if is_whole else signature.bind_partial)(*positional, **keywords)
    except TypeError as error:
        return str(error)
    return ""


# --- what a package has --------------------------------------------------------------------------


def described(package: ModuleType, submodules: Sequence[ModuleType] = ()) -> Api:
    types: dict[str, Type] = {}
    for module in (package, *submodules):
        members: dict[str, Member] = {}
        for name, value in vars(module).items():
            members[name] = _described_member(value, package.__name__)
            if inspect.isclass(value) and value.__module__.split(".")[0] == package.__name__:
                types[value.__name__] = _described_class(value, package.__name__)
        types[module.__name__] = Type(members, is_open="__getattr__" in members)
    return Api(package.__name__, types)


def _described_member(value: object, package: str) -> Member:
    if isinstance(value, ModuleType):
        return Member(value.__name__)
    if inspect.isclass(value):
        own = value.__module__.split(".")[0] == package
        return Member(CLASS + value.__name__ if own else "", value.__name__ if own else "", _signature(value))
    if callable(value):
        signature = _signature(value)
        return Member("", given(signature.return_annotation) if signature else "", signature)
    return Member(type(value).__name__)


def _described_class(kind: type, package: str) -> Type:
    members: dict[str, Member] = {}
    for base in reversed(kind.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            members[name] = Member(given(annotation))
        members |= {name: Member() for name in _set_on_self(base)}
        for name, static in vars(base).items():
            members[name] = _member_of_class(name, static, kind, package)
    return Type(members, is_open="__getattr__" in members or "__getattribute__" in vars(kind))


def _member_of_class(name: str, static: object, kind: type, package: str) -> Member:
    if isinstance(static, property):
        signature = _signature(static.fget)
        return Member(given(signature.return_annotation, kind) if signature else "")
    bound = getattr(kind, name, None)
    if not callable(bound) or inspect.isclass(bound):
        return _described_member(bound, package)
    found = _signature(bound)
    if found is None:
        return Member()
    gives = given(found.return_annotation, kind)
    if inspect.isfunction(static):  # self is bound where it is used
        found = found.replace(parameters=list(found.parameters.values())[1:])
    return Member("", gives, found)


def _set_on_self(kind: type) -> set[str]:
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return set()
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _signature(value: object) -> inspect.Signature | None:
    try:
        return inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def given(annotation: object, kind: type | None = None) -> str:
    """The type that an annotation names: "Client", "[Row]" for many, "" where it is not as plain."""
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = text.strip("'\"").removesuffix(" | None")
    many = _ITERABLE.fullmatch(text)
    if many:
        return f"[{many.group(1)}]"
    word = text.rsplit(".", 1)[-1]
    if word == "Self" and kind is not None:
        return kind.__name__
    return word if word.isidentifier() else ""
