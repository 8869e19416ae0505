"""The environment in which chat templates run: Jinja's immutable sandbox, with every cost bounded.

A chat template comes inside a model file and runs in the worker, in a thread, where no signal can
stop it and one C call can hold the interpreter for minutes (`'a' * 10**10`). So two invariants are
kept, and together they bound time and memory:

1. No value is larger than MAX_VALUE. Whatever makes a value (operators, literals, concatenation,
   slices, filters, methods, captured output) is intercepted: where the result could be much larger
   than what it is made from, its size is computed first. A container weighs what it contains,
   expanded, so that `[x, [x, x]]` doubled thirty times is refused although it is small in memory.
2. Every loop iteration, call, filter, operator and comparison asks the meter, which knows how much
   processor time is left and how many bytes have been made in this render.

The template's syntax tree is rewritten before it is compiled, because Jinja offers no hook for
loops, comparisons, literals, slices and `~`. The names of the inserted filters begin with `@`,
which no template can write. Attributes, callables, filters and tests are allow-lists.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateAssertionError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

from inference.template_meter import CONTAINERS, MAX_INT_BITS, MAX_VALUE, LimitExceeded, Meter

MAX_TOKENS: Final = 25_000  # of a template's source; the largest published one seen has 3,770

LONG_TEXT: Final = 64 * 1024

_COMPARED_AT_ONCE = frozenset({int, float, bool, types.NoneType})
_DICT_ATTRIBUTES = frozenset(dir(dict))
_ATTRIBUTES: dict[type, frozenset[str]] = {
    str: frozenset(
        (
            "capitalize count endswith find format index isalnum isalpha isascii isdecimal isdigit islower "
            "isnumeric isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace "
            "rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
        ).split()
    ),
    list: frozenset({"append", "clear", "copy", "count", "extend", "index", "insert", "pop"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"clear", "copy", "get", "items", "keys", "pop", "setdefault", "update", "values"}),
    LoopContext: frozenset(
        (
            "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
        ).split()
    ),
}


class _Loop:
    """What a `for` loops over: as long as it was (for `loop.length`), with a tick for each round."""

    def __init__(self, meter: Meter, values: Any) -> None:
        self._meter = meter
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        return self._meter.each(self._values)

    def __len__(self) -> int:
        return len(self._values)


# --- the syntax tree -----------------------------------------------------------------------------


class TokenLimit(Extension):
    """Parsing and compiling take time in proportion to the number of tokens."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for count, token in enumerate(stream):
            if count > MAX_TOKENS:
                raise TemplateAssertionError(f"more than {MAX_TOKENS} tokens", token.lineno)
            yield token


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks the model's own words for training. Nothing here."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's way

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
    nodes.ScopedEvalContextModifier: "autoescape",
}


class _Rewriter(NodeTransformer):
    """Puts the meter where Jinja has no hook for it."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's convention
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "@loop")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        left = node.expr
        for operand in node.ops:
            right = operand.expr
            with_constant = isinstance(left, nodes.Const) or isinstance(right, nodes.Const)
            if operand.op in ("in", "notin") or not with_constant:  # else the comparison is cheap
                operand.expr = _measured(right)
            left = right
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load", lineno=node.lineno), "@concat")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        none = nodes.Const(None, lineno=node.lineno)
        bounds = [bound or none for bound in (node.arg.start, node.arg.stop, node.arg.step)]
        return nodes.Filter(node.node, "@slice", bounds, [], None, None, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if _constant(node.items) else _filtered(node, "@made")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if node.ctx != "load" or _constant(node.items) else _filtered(node, "@made")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        for pair in node.items:
            if not isinstance(pair.key, nodes.Const):
                pair.key = _filtered(pair.key, "@key")
        return _filtered(node, "@made")

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        # They are containers that the runtime makes, out of the meter's sight.
        if node.name in ("varargs", "kwargs"):
            raise TemplateAssertionError(f"{node.name!r} is not available in chat templates", node.lineno)
        return node


def _measured(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const | nodes.List | nodes.Tuple) else _filtered(node, "@look")


def _constant(items: list[nodes.Expr]) -> bool:
    return all(isinstance(item, nodes.Const) for item in items)


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


# --- the environment -----------------------------------------------------------------------------


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """One render at a time: `meter` is that render's."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(
        self,
        filters: Mapping[str, Any],
        tests: Mapping[str, Any],
        functions: Mapping[str, Callable[..., Any]],
        methods: Mapping[str, Callable[..., Any]],
    ) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # it would evaluate constant expressions at compile time, unmetered
            extensions=[LoopControlExtension, GenerationTag, TokenLimit],
            finalize=_shown,
        )
        self.meter = Meter()
        self.filters = {
            "@loop": self._loop,
            "@look": self._look,
            "@made": self._made,
            "@slice": self._slice,
            "@key": _key,
            "@concat": self._concat,
            **filters,
        }
        self.tests = {**tests}
        self.globals = dict(functions)
        self._methods = methods
        self._functions = tuple(functions.values())

    def concat(self, pieces: Iterable[str]) -> str:
        """Joins the output, and every captured part of it: macros, set blocks, filter blocks."""
        meter, parts, size = self.meter, [], 0
        for piece in pieces:
            size += len(piece)
            if size > MAX_VALUE:
                raise LimitExceeded(f"it wrote more than {MAX_VALUE} characters")
            parts.append(piece)
        meter.made_text(size)
        return "".join(parts)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in _ATTRIBUTES.get(type(obj), ())

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"{attribute!r} of a {type(obj).__name__} is not available in chat templates")

    def wrap_str_format(self, value: Any) -> None:
        """`str.format` is made safe in `call`, like every other method."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute in obj and attribute not in _DICT_ATTRIBUTES:
            return obj[attribute]  # the usual case, without an exception on the way
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self.meter.tick()  # `sort(attribute='0.0.0…')` comes here once for every part
        if type(argument) is str and type(obj) is dict and argument in obj:
            return obj[argument]
        if type(argument) is tuple:
            raise SecurityError("a tuple cannot be a key in chat templates")
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter = self.meter
        if operator == "+":
            if type(left) is str and type(right) is str:
                meter.made_text(len(left) + len(right))
                return left + right
        elif operator == "*":
            _expect_product(meter, left, right)
        elif operator == "**":
            _expect_power(left, right)
        elif operator == "%" and type(left) is str:
            return meter.made(self._methods["%"](self, left, right))
        return meter.made(_BINOPS[operator](left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        self, obj = __self, __obj
        self.meter.look()
        kwargs.pop("_loop_vars", None)  # the compiler's, for functions that see the context: there are none
        kwargs.pop("_block_vars", None)
        if isinstance(obj, types.BuiltinMethodType):
            method = self._methods.get(obj.__name__)
            result = obj(*args, **kwargs) if method is None else method(self, obj.__self__, *args, **kwargs)
            return self.meter.made(result)
        if isinstance(obj, LoopContext):
            return obj(_Loop(self.meter, args[0]))
        if isinstance(obj, types.MethodType) and isinstance(obj.__self__, LoopContext):
            return obj(*args, **kwargs)
        ours = any(obj is known for known in self._functions)
        if ours or isinstance(obj, (Macro, BlockReference, Undefined)):
            return self.meter.made(__context.call(obj, *args, **kwargs))
        raise SecurityError(f"a {type(obj).__name__} cannot be called in chat templates")

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        for kind, name in _REFUSED.items():
            if (found := source.find(kind)) is not None:
                raise TemplateAssertionError(f"{name!r} is not available in chat templates", found.lineno)
        return super()._generate(_Rewriter().visit(source), *args, **kwargs)

    # --- what the rewriter inserts -----------------------------------------------------------

    def _loop(self, values: Any) -> _Loop:
        return _Loop(self.meter, values)

    def _look(self, value: Any) -> Any:
        """Before a comparison with this, which may take long."""
        if len(value) > LONG_TEXT if type(value) is str else type(value) not in _COMPARED_AT_ONCE:
            self.meter.look()
        return value

    def _made(self, value: Any) -> Any:
        return self.meter.made(value)

    def _slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        return self.meter.made_slice(value[start:stop:step], value)

    def _concat(self, values: tuple[Any, ...]) -> str:
        texts = [self.meter.text(value) for value in values]
        self.meter.made_text(sum(map(len, texts)))
        return "".join(texts)


_BINOPS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
    "%": operator.mod,
}


def _expect_product(meter: Meter, left: Any, right: Any) -> None:
    for many, times in ((left, right), (right, left)):
        if isinstance(times, int) and type(many) in (str, list, tuple):
            meter.expect((len(many) if type(many) is str else meter.weigh(many)) * times)


def _expect_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > MAX_INT_BITS:
        raise LimitExceeded(f"it made a number of more than {MAX_INT_BITS} bits")


def _key(value: Any) -> Any:
    if type(value) in CONTAINERS:
        raise SecurityError(f"a {type(value).__name__} cannot be a key in chat templates")
    return value


@pass_context  # else Jinja would call it at compile time, on what is constant
def _shown(context: Context, value: Any) -> Any:
    meter: Meter = context.environment.meter  # type: ignore[attr-defined]
    if type(value) is str:
        meter.tick()
        return value
    if isinstance(value, Undefined):
        return value  # shows nothing, or raises, as its kind has it
    return meter.text(value)
