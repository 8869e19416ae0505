"""Whether Ruby code uses a gem as it is, against a description of what the gem has: no Ruby is needed.

    api = ruby_api("RubyLLM", {"RubyLLM": ["chat(model: nil) -> Chat"], "Chat": ["ask(message) -> Message"]})
    read_ruby(source, "chat.rb", api)        what the code takes to be there and is not

A line of a description is a method as Ruby writes it, `{Type}` what it hands to its block, `-> Type` what it
gives. Chains of calls are followed from the gem's constants and from variables that such a chain was assigned
to; of anything else nothing is said. A line ends a chain unless the next one begins with a dot. A method has
its own local variables: it ends with the `end` that is indented as its `def` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, Signature
from keyword import iskeyword

from bench.api_description import CLASS, Api, Finding, Member, Type

# What every object answers, so that it is no claim about the gem.
_OF_ALL = frozenset(
    "nil? is_a? kind_of? instance_of? respond_to? class to_s inspect tap then freeze frozen? dup send hash "
    "public_send method methods instance_variable_get instance_variable_set itself try present? blank? "
    "presence extend object_id to_json as_json".split()
)
_METHOD = re.compile(
    r"(?P<name>\w+[?!=]?)(?:\((?P<parameters>.*?)\))?(?: ?\{(?P<hands>\w+)\})?(?: ?-> ?(?P<gives>\[?\w+\]?))?"
)
_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|\#[^\n]*|\\\n)
    | (?P<line>\n\s*(?=\.\w)|\n|;)
    | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`)
    | (?P<symbol>:\w+[?!]?|:"[^"]*")
    | (?P<key>[a-z_]\w*[?!]?:(?!:))
    | (?P<name>(?:@{1,2}|\$)?[A-Za-z_]\w*[?!]?)
    | (?P<number>\d[\d_.]*\b)
    | (?P<sign>::|&\.|\.\.\.?|\|\|=|&&=|=>|==|=~|!=|<=|>=|\*\*|->|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_AFTER = frozenset((*")}],|", "||", "if", "unless", "end", "do", "and"))
_STATEMENT_WORDS = frozenset("do end if unless while until and or then rescue else elsif return".split())


def ruby_api(root: str, described: Mapping[str, Sequence[str]]) -> Api:
    """`described`: for every type its methods. The root's are called on the constant itself, and every other
    type is a constant below it, whose `new` must be named where there is one. Raises ValueError."""
    types = {kind: Type(dict(map(_method, lines))) for kind, lines in described.items()}
    below = {kind: Member(CLASS + kind) for kind in described if kind != root}
    types[root] = Type({**types.get(root, Type({})).members, **below})
    return Api(root, types)


def _method(line: str) -> tuple[str, Member]:
    found = _METHOD.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"expected name(parameters) {{Type}} -> Type, found {line!r}")
    words = [word.strip() for word in (found["parameters"] or "").split(",") if word.strip()]
    signature = Signature([_parameter(word) for word in words])
    return found["name"], Member(found["hands"] or "", found["gives"] or "", signature)


def _parameter(word: str) -> Parameter:
    if word.startswith("**"):
        return Parameter(word[2:] or "others", Parameter.VAR_KEYWORD)
    if word.startswith("*"):
        return Parameter(word[1:] or "rest", Parameter.VAR_POSITIONAL)
    key, colon, default = (part.strip() for part in word.partition(":"))
    if colon:
        return Parameter(_key(key), Parameter.KEYWORD_ONLY, default=None if default else Parameter.empty)
    name, equals, _ = (part.strip() for part in word.partition("="))
    return Parameter(name, Parameter.POSITIONAL_ONLY, default=None if equals else Parameter.empty)


def _key(name: str) -> str:
    """`with:` and `class:` are names of Ruby's parameters; Python keeps those words for itself."""
    return f"{name}_" if iskeyword(name) else name


def read_ruby(source: str, path: str, api: Api) -> list[Finding]:
    reader = _Ruby(path, api, list(_tokens(source)))
    reader.all()
    return reader.findings


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int
    spaced: bool = False  # a blank stands before it
    indent: int = 0  # of its line


def _is_local(name: str) -> bool:
    return name[0] == "_" or name[0].islower()


def _tokens(source: str) -> Iterator[_Token]:
    indents = [len(line) - len(line.lstrip()) for line in source.split("\n")]
    line, spaced = 1, False
    for found in _TOKEN.finditer(source):
        kind, text = found.lastgroup or "sign", found.group()
        if kind == "line" and text[0] == "\n" and found.end() < len(source) and source[found.end()] == ".":
            kind = "blank"  # the chain goes on
        if kind != "blank":
            yield _Token(kind, text, line, spaced, indents[line - 1])
        spaced = kind == "blank"
        line += text.count("\n")
    yield _Token("line", "", line)


@dataclass(frozen=True, slots=True)
class _Outside:
    """Of a method that is being read: how far its `def` is indented, and the locals around it."""

    indent: int
    locals: Mapping[str, str]


@dataclass(slots=True)
class _Ruby:
    path: str
    api: Api
    tokens: list[_Token]
    at: int = 0
    names: dict[str, str] = field(default_factory=dict)
    methods: list[_Outside] = field(default_factory=list)  # those around what is read, the innermost last
    findings: list[Finding] = field(default_factory=list)

    def all(self) -> None:
        while self.at < len(self.tokens):
            self._step()

    def _step(self) -> None:
        """One token, or a whole chain that begins here."""
        token = self.tokens[self.at]
        after = self._next(1)
        if token.kind == "name" and after.text in ("=", "||="):
            self.at += 2
            self.names[token.text] = self._expression()
        elif token.kind == "name" and token.text in ("def", "end"):
            self._bound(token)
            self.at += 1
        elif token.kind == "name" and token.text not in _STATEMENT_WORDS:
            self._expression()
        else:
            self.at += 1

    def _bound(self, token: _Token) -> None:
        """A `def` or an `end`: what is indented no less than that is over."""
        locals_ = {name: kind for name, kind in self.names.items() if _is_local(name)}
        shared = {name: kind for name, kind in self.names.items() if name not in locals_}
        while self.methods and self.methods[-1].indent >= token.indent:
            locals_ = dict(self.methods.pop().locals)
        if token.text == "def":
            self.methods.append(_Outside(token.indent, locals_))
            locals_ = {}
        self.names = shared | locals_

    def _next(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def _expression(self) -> str:
        """The type of a chain, which is passed over; "" for anything else, of which nothing is passed over
        that a chain could begin in."""
        token = self._next()
        if token.kind != "name" or token.text in _STATEMENT_WORDS:
            return ""
        self.at += 1
        kind = CLASS + token.text if token.text == self.api.package else self.names.get(token.text, "")
        if not kind and token.text[0].islower():
            self._arguments()
        while self._next().text in (".", "&.", "::") and self._next(1).kind in ("name", "key"):
            kind = self._link(kind)
        return kind if self._ends() else ""

    def _ends(self) -> bool:
        """Nothing follows that would make something else of a chain's value: an index, an operator."""
        token = self._next()
        return token.kind == "line" or token.text in _AFTER

    def _link(self, kind: str) -> str:
        """One `.name(arguments) { block }` of a chain on something of `kind`."""
        self.at += 1
        name = self._next()
        self.at += 1
        word = name.text.rstrip(":") if name.kind == "key" else name.text
        if self._next().text == "=" and self._next(1).text != "=":
            word += "="
        member = self._member(kind, word, name)
        count, keys, is_whole = self._arguments()
        if member is not None and member.signature is not None and is_whole and not word.endswith("="):
            self._bind(member.signature, count, keys, kind, name)
        self._block(member.value if member is not None and member.signature is not None else "")
        if member is None:
            return ""
        return member.value if member.value.startswith(CLASS) else member.gives

    def _member(self, kind: str, word: str, name: _Token) -> Member | None:
        bare = kind.removeprefix(CLASS)
        if bare not in self.api.types or (word in _OF_ALL and not word[0].isupper()):
            return None
        if kind == CLASS + bare and bare != self.api.package and word != "new":
            return None  # what the class itself has is not described
        member = self.api.types[bare].members.get(word)
        if member is None:
            self._found(name, f"{bare} has no {word!r}")
        return member

    def _bind(self, signature: Signature, count: int, keys: set[str], kind: str, name: _Token) -> None:
        try:
            signature.bind(*[None] * count, **dict.fromkeys(map(_key, keys)))
        except TypeError as error:
            owner = kind.removeprefix(CLASS)
            self._found(name, f"{owner}#{name.text}{signature} cannot be called so: {error}")

    def _found(self, token: _Token, text: str) -> None:
        self.findings.append(Finding(self.path, token.line, text))

    def _arguments(self) -> tuple[int, set[str], bool]:
        """How many by place, which by key, and whether those are all that can be known. Passes over them."""
        opening = self._next()
        if opening.text == "(" and not opening.spaced:
            self.at += 1
            found = self._listed({")"})
            self.at += 1
            return found
        begins = opening.kind in {"text", "symbol", "key", "number"} or (
            opening.kind == "name" and opening.text not in _STATEMENT_WORDS
        )
        if opening.spaced and begins:
            return self._listed({"\n", ";", "", "do", "}", ")", "]", "if", "unless", "end"})
        return 0, set(), True

    def _listed(self, closing: set[str]) -> tuple[int, set[str], bool]:
        count, keys, is_whole, depth, begins = 0, set[str](), True, 0, True
        while self.at < len(self.tokens) - 1:
            token = self._next()
            text = token.text.strip() if token.kind == "line" and "" not in closing else token.text
            if depth == 0 and (text in closing or (token.kind == "line" and "" in closing and not begins)):
                break
            if begins and depth == 0 and token.kind != "line":
                begins = False
                if token.kind == "key":
                    keys.add(token.text[:-1])
                elif token.text in ("*", "**", "&", "..."):
                    is_whole = is_whole and token.text == "&"
                else:
                    count += 1
            depth += (token.text in "([{" and token.text != "") - (token.text in ")]}" and token.text != "")
            begins = begins or (token.text == "," and depth == 0)
            self._step()
        return count, keys, is_whole

    def _block(self, hands: str) -> None:
        """`do |x|` or `{ |x|`: x is what the method hands to its block; the body is read as what follows."""
        if self._next().text in ("do", "{") and self._next(1).text == "|" and self._next(2).kind == "name":
            self.names[self._next(2).text] = hands
            self.at += 3
