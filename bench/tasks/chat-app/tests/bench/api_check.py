"""Whether Python code uses a package as it is: every name exists, and every call binds to its signature.

    api = described(package)                                 (api_description.py)
    read(source, "report.py", api).findings                  what the code takes to be there and is not

Nothing is run. Types are followed where they are plain: imports, calls with a declared result, `with`, `for`,
`except`, annotations, attributes of self. Where a type is not known nothing is said: a finding is no guess.
What tests put in a package's place is checked too: targets of patch(), the names and calls of mocks. A mock
without a spec is taken to stand for something of the package or of the code that is tested.
A fake class written by hand claims nothing that could be read here; the real package must be run for that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.api_description import CLASS, Api, Finding, Member, unbound

MOCK = "mock:"  # a mock that takes every name
_MAKERS = frozenset(
    {"Mock", "MagicMock", "AsyncMock", "NonCallableMock", "NonCallableMagicMock", "create_autospec"}
)
_OF_MAKERS = frozenset(
    {"spec", "spec_set", "instance", "name", "return_value", "side_effect", "wraps", "unsafe"}
)
_OF_MOCKS = frozenset(
    "return_value side_effect called call_count call_args call_args_list mock_calls method_calls await_count "
    "await_args await_args_list mock_add_spec attach_mock configure_mock reset_mock assert_called "
    "assert_called_once assert_called_with assert_called_once_with assert_any_call assert_has_calls "
    "assert_not_called assert_awaited assert_awaited_once assert_awaited_with assert_awaited_once_with "
    "assert_any_await assert_has_awaits assert_not_awaited".split()
)
_ASSERTED_CALLS = frozenset(name for name in _OF_MOCKS if name.endswith(("_with", "any_call", "any_await")))


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression is, as far as it is known. `name`: of a mock's attribute."""

    kind: str = ""
    member: Member | None = None
    name: str = ""
    is_mock: bool = False


UNKNOWN = Value()


@dataclass(frozen=True, slots=True)
class Reading:
    """`names`: what the module has at its top level. `uses`: how many names and calls of the package were
    checked: code that does not use the package has no findings either."""

    findings: tuple[Finding, ...]
    names: Mapping[str, Value]
    defines: frozenset[str]
    uses: int


# --- what code takes to be there -----------------------------------------------------------------


def read(source: str, path: str, api: Api, modules: Mapping[str, Reading] | None = None) -> Reading:
    """`modules`: the code's own modules that were read before, by name: mocks may stand for what is theirs.
    Raises SyntaxError."""
    reader = _Reader(path, api, modules or {})
    tree = ast.parse(source)
    reader.visit(tree)
    return Reading(tuple(reader.findings), reader.names, frozenset(_defined(tree)), reader.uses)


def _defined(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@dataclass(slots=True)
class _Reader(ast.NodeVisitor):
    """Visits every expression once, in order; visit() of an expression gives its Value."""

    path: str
    api: Api
    modules: Mapping[str, Reading]
    names: dict[str, Value] = field(default_factory=dict)
    on_self: dict[str, Value] = field(default_factory=dict)
    returned: list[Value] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    uses: int = 0

    def visit(self, node: ast.AST) -> Value:
        value: Value = ast.NodeVisitor.visit(self, node)
        return value

    def generic_visit(self, node: ast.AST) -> Value:
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        return UNKNOWN

    def _found(self, node: ast.AST, text: str) -> None:
        self.findings.append(Finding(self.path, getattr(node, "lineno", 0), text))

    # Names

    def visit_Import(self, node: ast.Import) -> Value:
        for name in node.names:
            shown = name.asname or name.name.split(".")[0]
            whole = name.name if name.asname else shown
            self.names[shown] = Value(whole) if whole in self.api.types else UNKNOWN
            if name.name.split(".")[0] == self.api.package and name.name not in self.api.types:
                self._found(node, f"there is no module {name.name}")
        return UNKNOWN

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Value:
        module = node.module or ""
        for name in node.names:
            self.names[name.asname or name.name] = UNKNOWN
            if module in self.modules and not node.level:
                known = self.modules[module].names
                self.names[name.asname or name.name] = known.get(name.name, UNKNOWN)
            elif module in self.api.types and name.name != "*":
                self.names[name.asname or name.name] = self._attribute(Value(module), name.name, node)
            elif module.split(".")[0] == self.api.package and module not in self.api.types:
                self._found(node, f"there is no module {module}")
        if module in self.api.types and any(name.name == "*" for name in node.names):
            for shown, member in self.api.types[module].members.items():
                self.names[shown] = Value(member.value, member)
        return UNKNOWN

    def visit_Name(self, node: ast.Name) -> Value:
        return self.names.get(node.id, UNKNOWN)

    def visit_Attribute(self, node: ast.Attribute) -> Value:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self.on_self.get(node.attr, UNKNOWN)
        return self._attribute(self.visit(node.value), node.attr, node)

    def _attribute(self, base: Value, name: str, node: ast.AST) -> Value:
        if base.is_mock and name in _OF_MOCKS:
            if name == "return_value":
                gives = base.member.gives if base.member else ""
                return Value(gives or MOCK, is_mock=True)
            return Value(base.kind, base.member, base.name, is_mock=True)
        if base.kind == MOCK:
            self.uses += 1
            if not self._is_somebodys(name):
                self._found(node, f"a mock answers {name!r}, which nothing in {self.api.package} has")
            return Value(MOCK, name=name, is_mock=True)
        if not self.api.knows(base.kind):
            return UNKNOWN
        self.uses += 1
        member = self.api.member(base.kind, name)
        if member is None:
            self._found(node, f"{base.kind.removeprefix(CLASS)} has no {name!r}")
            return UNKNOWN
        return Value(member.value, member, is_mock=base.is_mock)

    def _is_somebodys(self, name: str) -> bool:
        own = any(name in module.defines for module in self.modules.values())
        return own or name.startswith("__") or bool(self.api.named(name))

    # Calls

    def visit_Call(self, node: ast.Call) -> Value:
        callee = self.visit(node.func)
        for argument in (*node.args, *node.keywords):
            self.visit(argument)
        name = _last(node.func)
        if name in _MAKERS:
            return self._mock(node, name)
        if _last(node.func, 2) in {"patch", "patch.object", "monkeypatch.setattr"} or name == "patch":
            return self._patched(node)
        if name in _ASSERTED_CALLS and callee.is_mock:
            self._asserted(callee, node)
            return UNKNOWN
        member = callee.member
        if member is None or callee.is_mock:
            gives = (member.gives if member else "") or (MOCK if callee.kind == MOCK else "")
            return Value(gives, is_mock=callee.is_mock)
        if member.signature is not None:
            self.uses += 1
            why = unbound(member.signature, node)
            if why:
                self._found(node, f"{ast.unparse(node.func)}{member.signature} cannot be called so: {why}")
        return Value(member.gives)

    def _mock(self, node: ast.Call, maker: str) -> Value:
        spec = node.args[0] if node.args else _keyword(node, "spec") or _keyword(node, "spec_set")
        kind = _quietly(self, spec).kind if spec is not None else ""
        if not kind.startswith(CLASS) and kind not in self.api.types:
            for word in node.keywords:
                if word.arg and word.arg.split(".")[0] not in _OF_MAKERS | _OF_MOCKS:
                    self._attribute(Value(MOCK, is_mock=True), word.arg, node)
            return Value(MOCK, is_mock=True) if spec is None else UNKNOWN
        whole = maker == "create_autospec" and _keyword(node, "instance") is None
        return Value(kind if whole else kind.removeprefix(CLASS), is_mock=True)

    def _patched(self, node: ast.Call) -> Value:
        """patch("package.name"), patch.object(package, "name") and monkeypatch.setattr() of both kinds."""
        words = [
            part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        if not words:
            return UNKNOWN
        if isinstance(node.args[0], ast.Constant):
            base, name = self._target(words[0], node)
        else:
            base, name = _quietly(self, node.args[0]), words[0]
        if name:
            self._attribute(base, name, node)
        return Value(MOCK, name=name, is_mock=True)

    def _target(self, target: str, node: ast.AST) -> tuple[Value, str]:
        first, *rest = target.split(".")
        if first in self.modules and rest:
            own = self.modules[first]
            if rest[0] not in own.names and rest[0] not in own.defines:
                self._found(node, f"{first} has no {rest[0]!r}")
            base, rest = own.names.get(rest[0], UNKNOWN), rest[1:]
        else:
            base = Value(first) if first in self.api.types else UNKNOWN
        for name in rest[:-1]:
            base = self._attribute(base, name, node)
        return base, rest[-1] if rest else ""

    def _asserted(self, callee: Value, node: ast.Call) -> None:
        known = [callee.member] if callee.member else self.api.named(callee.name)
        signatures = [member.signature for member in known if member.signature is not None]
        if signatures and all(unbound(signature, node) for signature in signatures):
            self._found(node, f"{ast.unparse(node)}: {callee.name or 'it'} cannot be called so")

    # What gets a value

    def visit_Assign(self, node: ast.Assign) -> Value:
        value = self.visit(node.value)
        for target in node.targets:
            self._assign(target, value)
        return UNKNOWN

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Value:
        value = self.visit(node.value) if node.value is not None else UNKNOWN
        self._assign(node.target, self._annotated(node.annotation) if value is UNKNOWN else value)
        return UNKNOWN

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Value:
        value = self.visit(node.value)
        self._assign(node.target, value)
        return value

    def _assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Attribute) and _last(target, 2) == f"self.{target.attr}":
            self.on_self[target.attr] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._assign(part, UNKNOWN)
        else:
            self.visit(target)

    def _annotated(self, annotation: ast.expr | None) -> Value:
        if annotation is None:
            return UNKNOWN
        kind = self.visit(annotation).kind
        return Value(kind.removeprefix(CLASS)) if kind.startswith(CLASS) else UNKNOWN

    def visit_With(self, node: ast.With | ast.AsyncWith) -> Value:
        for item in node.items:
            value = self.visit(item.context_expr)
            enters = self._dunder(value, "__enter__") or self._dunder(value, "__aenter__")
            if item.optional_vars is not None:
                self._assign(item.optional_vars, Value(enters.gives or value.kind) if enters else value)
        return self._block(node.body)

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_For(self, node: ast.For | ast.AsyncFor) -> Value:
        self._assign(node.target, self._one_of(self.visit(node.iter)))
        return self._block([*node.body, *node.orelse])

    visit_AsyncFor = visit_For  # noqa: N815

    def _block(self, statements: Iterable[ast.stmt]) -> Value:
        for statement in statements:
            self.visit(statement)
        return UNKNOWN

    def _one_of(self, value: Value) -> Value:
        if value.kind.startswith("["):
            return Value(value.kind.strip("[]"))
        iterates = self._dunder(value, "__iter__") or self._dunder(value, "__aiter__")
        return Value(iterates.gives.strip("[]")) if iterates and iterates.gives.startswith("[") else UNKNOWN

    def _dunder(self, value: Value, name: str) -> Member | None:
        return self.api.member(value.kind, name) if self.api.knows(value.kind) else None

    def visit_Subscript(self, node: ast.Subscript) -> Value:
        value = self.visit(node.value)
        self.visit(node.slice)
        is_one = value.kind.startswith("[") and not isinstance(node.slice, ast.Slice)
        return self._one_of(value) if is_one else UNKNOWN

    def visit_Await(self, node: ast.Await) -> Value:
        return self.visit(node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> Value:
        kind = self.visit(node.type).kind if node.type is not None else ""
        if node.name:
            self.names[node.name] = Value(kind.removeprefix(CLASS)) if kind.startswith(CLASS) else UNKNOWN
        return self._block(node.body)

    # Scopes

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        outer, self.names = self.names, dict(self.names)
        for part in node.generators:
            self._assign(part.target, self._one_of(self.visit(part.iter)))
            for condition in part.ifs:
                self.visit(condition)
        kinds = [self.visit(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        self.names = outer
        one = kinds[0].kind
        return Value(f"[{one}]") if len(kinds) == 1 and self.api.knows(one) else UNKNOWN

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Value:
        for decorator in node.decorator_list:
            self.visit(decorator)
        result = self._annotated(node.returns)
        outer, self.names = self.names, dict(self.names)
        before, self.returned = self.returned, []
        self._parameters(node.args)
        self._block(node.body)
        kinds = {value.kind for value in self.returned} if self.returned else {""}
        gives = result.kind or (kinds.pop() if len(kinds) == 1 else "")
        self.names, self.returned = outer, before
        self.names[node.name] = Value("", Member("", gives)) if self.api.knows(gives) else UNKNOWN
        return UNKNOWN

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Return(self, node: ast.Return) -> Value:
        self.returned.append(self.visit(node.value) if node.value is not None else UNKNOWN)
        return UNKNOWN

    def visit_Lambda(self, node: ast.Lambda) -> Value:
        outer, self.names = self.names, dict(self.names)
        self._parameters(node.args)
        self.visit(node.body)
        self.names = outer
        return UNKNOWN

    def _parameters(self, given_: ast.arguments) -> None:
        for default in (*given_.defaults, *given_.kw_defaults):
            if default is not None:
                self.visit(default)
        for parameter in (*given_.posonlyargs, *given_.args, *given_.kwonlyargs, given_.vararg, given_.kwarg):
            if parameter is not None:
                self.names[parameter.arg] = self._annotated(parameter.annotation)

    def visit_ClassDef(self, node: ast.ClassDef) -> Value:
        for part in (*node.bases, *node.keywords, *node.decorator_list):
            self.visit(part)
        names, on_self = dict(self.names), self.on_self
        self.on_self = {}
        self._block(node.body)
        self.names, self.on_self = names | {node.name: UNKNOWN}, on_self
        return UNKNOWN


def _last(node: ast.expr, parts: int = 1) -> str:
    """The last words of a dotted name: "patch.object" of mock.patch.object; "" for what is none."""
    return (
        ".".join(ast.unparse(node).split(".")[-parts:]) if isinstance(node, ast.Name | ast.Attribute) else ""
    )


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in node.keywords if word.arg == name), None)


def _quietly(reader: _Reader, node: ast.expr) -> Value:
    """What was visited already, once more without saying it twice."""
    findings, uses = list(reader.findings), reader.uses
    value = reader.visit(node)
    reader.findings, reader.uses = findings, uses
    return value
