"""Hostile chat templates: whatever they try ends in a typed error, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.chat import ChatRequest, Message
from inference.errors import InvalidModelFile, InvalidRequest
from inference.template_meter import RENDER_CPU_S
from inference.templates import ChatTemplate

CPU_S = 0.25
"""For what must be stopped; what must not has the whole time: the machine may be busy."""
SLACK_S = 3.0  # compiling, and the one step that was under way, on a busy machine


def render(source: str, content: str = "x", cpu_s: float = RENDER_CPU_S) -> str:
    request = ChatRequest(model="m", messages=(Message(role="user", content=content),))
    return ChatTemplate(source, bos_token="", eos_token="", render_cpu_s=cpu_s).render(request)


# --- what works as in Jinja ----------------------------------------------------------------------

EXPRESSIONS = [
    "{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }} {{ -(3) }} {{ 1.5 * 2 }}",
    "{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ [1, 'x'] }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ ([1] * 3) | length }}",
    "{{ [1, 2] + [3] }} {{ (1, 2) + (3,) }} {{ {'a': [1, {'b': none}]} }} {{ {1: 2}[1] }} {{ {m.role: 1} }}",
    "{{ m.content[1:] }} {{ m.content[::-1] }} {{ [1, 2, 3][:-1] }} {{ 'abc'[:2] }} {{ [1, 2, 3][5:] }}",
    (
        "{{ 'x' in 'xyz' }} {{ 1 in [1, 2] }} {{ 'a' in {'a': 1} }} "
        "{{ 3 not in (1, 2) }} {{ 1 < 2 < 3 }} {{ 2 < 1 }}"
    ),
    "{{ [1, 2] == [1, 2] }} {{ m == m }} {{ m.role == 'user' }} {{ m.nothing is defined }} {{ 'a' < 'b' }}",
    "{% for c in 'abc' %}{{ loop.index }}/{{ loop.length }}{{ c }}{{ '' if loop.last else ',' }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% else %}no{% endfor %}",
    (
        "{% for x in [] %}yes{% else %}no{% endfor %}"
        "{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}{{ x }}{% endfor %}"
    ),
    "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{% endfor %}",
    "{% for x in [1, 2] | map('string') %}{{ loop.length }}{{ loop.last }}{{ loop.nextitem }}{% endfor %}",
    (
        "{% macro f(a, b='z') %}[{{ a }}{{ b }}{{ caller() if caller }}]{% endmacro %}"
        "{{ f(1) }}{{ f(1, b=2) }}{% call f(3) %}body{% endcall %}"
    ),
    (
        "{% set ns = namespace(n=0, s='') %}{% for i in range(5) %}{% set ns.n = ns.n + i %}"
        "{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }}{{ ns.s }}"
    ),
    "{% set x %}in{{ 1 }}side{% endset %}{{ x }}{% filter upper %}a{{ x }}{% endfilter %}{{ x | length }}",
    (
        "{{ ' a b ' | trim }}|{{ 'x' | upper | lower | capitalize }}"
        "|{{ 'a b' | title }}|{{ 'a' | replace('a', 'bc') }}"
    ),
    (
        "{{ [3, 1, 2] | sort | join('-') }}{{ [1, 1] | unique | list }}"
        "{{ [1, 2] | reverse | list }}{{ [1] | first }}"
    ),
    "{{ ms | map(attribute='role') | join }}{{ ms | selectattr('role', 'equalto', 'user') | list | length }}",
    (
        "{{ [1, 2, 3] | select('odd') | list }}"
        "{{ [1, 2] | reject('eq', 1) | list }}{{ [2, 3] | max }}{{ 'b' | e }}"
    ),
    (
        "{{ {'b': 1, 'a': 2} | dictsort }}{{ {'a': 1} | items | list }}"
        "{{ '3' | int + 1 }}{{ none | default('d', true) }}"
    ),
    "{{ 'a\nb' | indent(2) }}{{ 'a\n\nb' | indent('>>', true, true) }}{{ ['a', none, 1] | join(', ') }}",
    "{{ 'a,b'.split(',') }}{{ ' a  b '.split() }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a\nb'.splitlines() }}",
    "{{ 'abc'.replace('b', 'xx') }}{{ '-'.join(['a', 'b']) }}{{ ' a '.strip() }}{{ 'aab'.lstrip('a') }}",
    "{{ 'abc'.startswith(('a', 'x')) }}{{ 'abc'.find('c') }}{{ 'abcb'.rfind('b') }}{{ 'abc'.count('') }}",
    (
        "{{ 'x'.format() }}{{ '{} {a:>3} {0!r}'.format('q', a=1) if false else '' }}"
        "{{ '{}-{:>4}|{:.2f}'.format(1, 'b', 2) }}"
    ),
    "{{ '%s and %5d, %-4s| %.1f%% %(x)s' | length }}{{ '%s/%03d' % ('a', 7) }}{{ '%(k)s' % {'k': 1} }}",
    (
        "{{ dict(a=1, b=[2]) }}{{ {'a': 1}.get('b', 'none') }}"
        "{{ {'a': 1}.keys() | list }}{{ {'a': 1}.values() | list }}"
    ),
    (
        "{{ nothing }}{{ nothing | default('d') }}{{ nothing is undefined }}"
        "{{ [nothing] | length }}{{ true }}{{ 1.0 }}"
    ),
    "{% with a = 1 %}{{ a }}{% endwith %}{% if 1 is odd and 2 is even and 6 is divisibleby(3) %}y{% endif %}",
    (
        "{% block b %}in{% endblock %}{{ self.b() }}{% raw %}{{ x }}"
        "{% endraw %}{# comment #}  {%- if true -%} y {%- endif %}"
    ),
]


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_what_is_allowed_means_what_it_means_in_jinja(source: str) -> None:
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    message = {"role": "user", "content": "hello"}
    expected = plain.from_string("{% set m = messages[0] %}{% set ms = messages %}" + source).render(
        messages=[message]
    )
    assert render("{% set m = messages[0] %}{% set ms = messages %}" + source, "hello") == expected


OWN_VALUES = [
    (
        "{% set l = [] %}{% set _ = l.append(1) %}{% set _ = l.extend([2, 3]) %}{{ l }}{{ l.pop(0) }}{{ l }}",
        "[1, 2, 3]1[2, 3]",
    ),
    (
        (
            "{% set ns = namespace(x=[]) %}{% for m in messages %}{% set _ = ns.x.append(m) %}{% endfor %}"
            "{{ ns.x | length }}"
        ),
        "1",
    ),
    (
        "{% set l = [1] %}{% set _ = l.insert(0, {'a': 1}) %}{{ l }}{% set _ = l.clear() %}{{ l }}",
        "[{'a': 1}, 1][]",
    ),
    (
        "{% set d = {'a': 1} %}{% set _ = d.update({'b': 2}, c=3) %}{{ d.pop('a') }}{{ d }}",
        "1{'b': 2, 'c': 3}",
    ),
    (
        "{% set d = {} %}{{ d.setdefault('a', 1) }}{{ d.setdefault('a', 2) }}{{ d.pop('b', 'none') }}",
        "11none",
    ),
    (
        (
            "{% set mine = messages.copy() %}{% set _ = mine.append(1) %}"
            "{{ mine | length }}{{ messages | length }}"
        ),
        "21",
    ),
    (
        (
            "{% set mine = dict(messages[0]) %}{% set _ = mine.update(role='x') %}"
            "{{ mine.role }}{{ messages[0].role }}"
        ),
        "xuser",
    ),
    ("{% set mine = messages[:] %}{{ mine.pop().role }}{{ messages | length }}", "user1"),
]


@pytest.mark.parametrize(("source", "rendered"), OWN_VALUES)
def test_what_a_template_made_it_may_change(source: str, rendered: str) -> None:
    assert render(source) == rendered


CHANGES_OF_OTHERS = [
    "{% set mine = [messages[0]] %}{% set _ = mine[0].update({'role': 'x'}) %}",
    "{% for m in messages[:] %}{% set _ = m.pop('role') %}{% endfor %}",
    "{% set _ = messages.extend([1]) %}",
    "{% set _ = messages[0].setdefault('a', 1) %}",
    "{% set _ = messages.insert(0, 1) %}",
    "{% set l = [] %}{% set both = [l, l] %}{% set _ = l.append('x') %}",
    "{% set l = [] %}{% set _ = l.append(l) %}",
    "{% set a = [] %}{% set b = [a] %}{% set _ = a.append(b) %}",
    "{% set a = [] %}{% set b = [] %}{% set _ = b.append(a) %}{% set _ = a.append(1) %}",
    "{% set a = [] %}{% set b = [] %}{% set _ = b.extend([a]) %}{% set _ = a.append(b) %}",
    "{% set d = {} %}{% set _ = d.update({'d': d}) %}{% set _ = d.d.update(a=1) %}",
]


@pytest.mark.parametrize("source", CHANGES_OF_OTHERS)
def test_what_a_template_was_given_or_put_into_another_value_it_cannot_change(source: str) -> None:
    with pytest.raises((InvalidRequest, InvalidModelFile), match=r"cannot be (changed|put into itself)"):
        render(source + "{{ messages[0].content }}")


EACH = "{% for i in range(99999) %}"
GROWTH = {
    "appending": (
        "{% set l = [] %}"
        + EACH
        + "{% for j in range(99) %}{% set _ = l.append('x') %}{% endfor %}{% endfor %}"
    ),
    "appending a long text": (
        "{% set l = [] %}" + EACH + "{% set _ = l.append('x' * 1000000) %}{% endfor %}"
    ),
    "doubling": "{% set l = [1] %}" + EACH + "{% set _ = l.extend(l) %}{% endfor %}",
    "while it is gone through": "{% set l = [1] %}{% for i in l %}{% set _ = l.append(i) %}{% endfor %}",
    "a mapping": "{% set d = {} %}" + EACH + "{% set _ = d.update({i ~ '': 'x' * 9999}) %}{% endfor %}",
    "nesting": (
        "{% set ns = namespace(x=[]) %}{% for i in range(40) %}{% set l = [] %}{% set _ = l.append(ns.x) %}"
        "{% set _ = l.append(ns.x) %}{% set ns.x = l %}{% endfor %}"
    ),
}


@pytest.mark.parametrize("name", GROWTH)
def test_what_grows_is_bounded_like_what_is_made(name: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidModelFile, match=r"exceeds its limits"):
        render(GROWTH[name], cpu_s=CPU_S)
    assert time.thread_time() - began < CPU_S + SLACK_S


def test_tojson_is_that_of_transformers_and_not_of_jinja() -> None:
    source = "{{ {'b': '<é>', 'a': [1]} | tojson }}|{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}"
    assert render(source) == '{"b": "<é>", "a": [1]}|{\n "a": 2,\n "b": 1\n}'
    assert render("{{ 'é' | tojson(ensure_ascii=true, separators=(',', ':')) }}") == '"\\u00e9"'


# --- out of the sandbox --------------------------------------------------------------------------

ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ [''] | sort(attribute='__class__') }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace.__init__.__globals__ }}",
    "{% set n = namespace(a=1) %}{{ n._Namespace__attrs }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ (messages | map('string')).gi_frame.f_globals }}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% for x in [1] %}{{ loop.__init__ }}{% endfor %}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ '{0[0].__class__}'.format(['']) }}",
    "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys([1]) }}",
    "{{ ''.join.__self__ }}",
    "{{ nothing.__init__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ messages.clear() }}",
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}",
    "{% from 'os' import system %}",
    "{% extends 'x' %}",
    "{% autoescape true %}{% endautoescape %}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}",
    "{{ ''.encode() }}",
    "{{ (1).to_bytes(1, 'big') }}",
    "{{ namespace() }}",
    "{{ [namespace()] }}",
    "{{ messages[0][(1, 2)] }}",
    "{{ {(1, 2): 3} }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    with pytest.raises((InvalidRequest, InvalidModelFile)) as caught:
        render(source)
    for leak in ("<class", "<function", "0x", "root:"):
        assert leak not in caught.value.message


# --- time ----------------------------------------------------------------------------------------

BIG = "{% set a = [1] * 400000 %}{% set b = [1] * 400000 %}"
TEXT = "{% set a = 'a' * 16000000 %}"
PAIRS = "{% set ns = namespace(x=1) %}{% for i in range(15) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"

ENDLESS = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "loops without a call": (
        "{% set r = range(100000) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}"
    ),
    "loops over text": "{% for c in 'a' * 9000000 %}{% for d in 'a' * 9000000 %}{% endfor %}{% endfor %}",
    "a loop that filters": (
        "{% for i in range(100000) %}{% for j in range(100000) if j > i %}{% endfor %}{% endfor %}"
    ),
    "loops over generators": (
        "{% for i in range(100000) %}{{ range(100000) | map('string') | list | length }}{% endfor %}"
    ),
    "macros that branch": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "recursive loops": (
        "{% for x in [[1] * 50] * 50 recursive %}"
        "{% if loop.depth < 90 %}{{ loop([x, x]) }}{% endif %}{% endfor %}"
    ),
    "comparing": BIG + "{% if a == b %}{% endif %}" * 2000,
    "comparing by test": BIG + "{% if a is eq b %}{% endif %}" * 2000,
    "seeking in a list": BIG + "{% if 2 in a %}{% endif %}" * 2000,
    "seeking in a list by test": BIG + "{% if 2 is in a %}{% endif %}" * 2000,
    "seeking in a range": "{% set r = range(100000) %}" + "{% if 'a' in r %}{% endif %}" * 2000,
    "seeking in text": TEXT + "{% if 'ab' in a %}{% endif %}" * 2000,
    "counting in text": TEXT + "{% if a.count('ab') %}{% endif %}" * 2000,
    "counting in a list": BIG + "{% if a.count(2) %}{% endif %}" * 2000,
    "sorting": BIG + "{% if a | sort | length %}{% endif %}" * 2000,
    "loop.changed": BIG + "{% for x in range(100000) %}{% if loop.changed(a) %}{% endif %}{% endfor %}",
    "hashing": PAIRS + "{% for i in range(100000) %}{% if {1: 1}.get(ns.x) %}{% endif %}{% endfor %}",
    "long attribute paths": "{{ (['a'] * 100000) | sort(attribute='0.' * 100000) }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_would_not_end_is_stopped(name: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidModelFile, match=f"ran longer than {CPU_S} s"):
        render(ENDLESS[name], cpu_s=CPU_S)
    assert time.thread_time() - began < CPU_S + SLACK_S


def test_what_only_some_conversations_set_off_is_the_requests_error() -> None:
    source = "{% if messages[0].content == 'go' %}" + ENDLESS["nested loops"] + "{% endif %}ok"
    assert render(source, "wait", cpu_s=CPU_S) == "ok"
    with pytest.raises(InvalidRequest, match=f"ran longer than {CPU_S} s"):
        render(source, "go", cpu_s=CPU_S)


@pytest.mark.parametrize("pair", ["[x, x]", "(x, x)", "{'a': x, 'b': x}", "dict(a=x, b=x)", "[x] + [x]"])
def test_values_that_are_large_only_when_gone_through_are_never_made(pair: str) -> None:
    """Two of them, equal but not the same, would take for ever to compare."""
    twice = pair.replace("x", "ns.x"), pair.replace("x", "ns.y")
    source = (
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(40) %}"
        f"{{% set ns.x = {twice[0]} %}}{{% set ns.y = {twice[1]} %}}"
        "{% endfor %}{{ ns.x == ns.y }}"
    )
    with pytest.raises(InvalidModelFile, match="made a value larger than"):
        render(source)


def test_values_are_not_nested_deeper_than_python_could_follow() -> None:
    deepen = "{% for i in range(DEPTH) %}{% set ns.x = [ns.x] %}{% endfor %}"
    source = "{% set ns = namespace(x=1) %}" + deepen + "{{ ns.x | tojson | length }}"
    assert render(source.replace("DEPTH", "100")) == "201"
    with pytest.raises(InvalidModelFile, match="nested values more than 100 deep"):
        render(source.replace("DEPTH", "101"))
    joined = "{% set ns.y = ns.x %}{% for i in range(60) %}{% set ns.y = [ns.y] %}{% endfor %}"
    with pytest.raises(InvalidModelFile, match="nested values more than 100 deep"):
        render(source.replace("DEPTH", "60").replace("{{", joined + "{{"))


def test_searches_that_python_does_naively_are_refused() -> None:
    far = "'a' * 400000 ~ 'b' ~ 'a' * 400000"
    for call in (
        f"a.rfind({far})",
        f"a.rsplit({far})",
        f"a.rpartition({far})",
        "a.strip('b' * 900000 ~ 'a')",
    ):
        with pytest.raises(InvalidModelFile, match="searched a long text for a long one"):
            render(TEXT + "{{ " + call + " }}")


# --- memory --------------------------------------------------------------------------------------

DOUBLING = "{%% set ns = namespace(x='a') %%}{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}"

HUGE = {
    "range": "{% for i in range(10**9) %}x{% endfor %}",
    "text times": "{{ 'a' * 10**10 }}",
    "times text": "{{ 10**10 * 'a' }}",
    "list times": "{{ ([1] * 10**9) | length }}",
    "power": "{{ 7 ** (10 ** 9) }}",
    "squares": (
        "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}"
    ),
    "center": "{{ 'a' | center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "format width": "{{ '{:>1000000000}'.format(1) }}",
    "format nested width": "{{ '{:>{w}}'.format(1, w=10**9) }}",
    "format fields": "{% set b = 'a' * 1000000 %}{{ ('{0}' * 10000).format(b) }}",
    "percent width": "{{ '%1000000000d' % 1 }}",
    "percent precision": "{{ '%.1000000000f' % 1 }}",
    "percent star": "{{ '%*d' % (10**9, 1) }}",
    "percent nested name": "{{ '%((a))1000000000d' % {'(a)': 1} }}",
    "percent fields": "{% set b = 'a' * 1000000 %}{{ ('%(a)s' * 10000) % {'a': b} }}",
    "percent filter": "{{ '%1000000000d' | format(1) }}",
    "percent backtracking": "{{ ('%' ~ '0' * 1000000) % 1 }}",
    "odd": "{{ '%1000000000d' is odd }}",
    "divisibleby": "{{ '%1000000000d' is divisibleby(2) }}",
    "doubled text": DOUBLING % "ns.x + ns.x",
    "doubled by concatenation": DOUBLING % "ns.x ~ ns.x",
    "doubled lists": DOUBLING % "[ns.x, ns.x]" + "{{ ns.x }}",
    "doubled tuples": DOUBLING % "(ns.x, ns.x)" + "{{ ns.x == 1 }}",
    "doubled dicts": DOUBLING % "{'a': ns.x, 'b': ns.x}" + "{{ ns.x | tojson }}",
    "doubled by dict": DOUBLING % "dict(a=ns.x, b=ns.x)" + "{{ ns.x | string }}",
    "doubled by slices": DOUBLING % "[[ns.x][:], [ns.x][:]]",
    "doubled by filters": DOUBLING % "[[ns.x] | list, {'a': ns.x} | items]",
    "doubled by captures": DOUBLING
    % "'a'"
    + "{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% set ns.x = y %}{% endfor %}",
    "doubled namespaces": DOUBLING % "namespace(a=ns.x, b=ns.x)" + "{{ ns.x }}",
    "doubled namespaces, told": DOUBLING % "namespace(a=ns.x, b=ns.x)" + "{{ raise_exception(ns.x) }}",
    "deep lists": (
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}"
        "{{ ns.x | tojson }}"
    ),
    "replace filter": "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
    "replace": "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "join filter": "{{ (['a'] * 100000) | join('b' * 1000000) }}",
    "join": "{{ ('b' * 1000000).join(['a'] * 100000) }}",
    "indent": "{{ ('\n' * 1000000) | indent(1000000) }}",
    "indent width": "{{ 'a' | indent(10**10, true) }}",
    "tojson indent": "{{ [[1]] | tojson(indent=10**9) }}",
    "tojson deep": (
        "{% set ns = namespace(x=[1] * 400000) %}{% for i in range(90) %}{% set ns.x = [ns.x] %}{% endfor %}"
        "{{ ns.x | tojson(indent=16) }}"
    ),
    "split": "{{ ('a ' * 8000000).split() | length }}",
    "splitlines": "{{ ('aa\n' * 5000000).splitlines() | length }}",
    "list of text": "{{ ('a' * 16000000) | list | length }}",
    "output in a loop": "{% for i in range(100000) %}" + "A" * 10_000 + "{% endfor %}",
    "output in a capture": "{% set y %}{% for i in range(100000) %}"
    + "A" * 10_000
    + "{% endfor %}{% endset %}",
    "output in a macro": "{% macro m() %}{% for i in range(100000) %}"
    + "A" * 10_000
    + "{% endfor %}{% endmacro %}{{ m() }}",
    "many texts": "{% set b = 'a' * 8000000 %}" + "".join(f"{{% set v{n} = b ~ {n} %}}" for n in range(2000)),
    "many lists": "{% set b = [1] * 400000 %}" + "".join(f"{{% set v{n} = b + [] %}}" for n in range(2000)),
    "a large number": "{{ ('f' * 10000000) | int(base=16) }}",
    "a long date": "{{ strftime_now('%Y' * 1000000) }}",
}

LIMITED = """
import json, resource, sys
from inference.chat import ChatRequest, Message
from inference.errors import HotseatError
from inference.templates import ChatTemplate
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
request = ChatRequest(model="m", messages=(Message(role="user", content="x"),))
ended = {}
for name, source in json.load(sys.stdin).items():
    try:
        ChatTemplate(source, bos_token="", eos_token="").render(request)
    except HotseatError as error:
        ended[name] = error.message
# Not ru_maxrss: that one survives exec from a large parent.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([ended, int(peak.split()[1])]))
"""


def test_what_would_fill_memory_is_refused_within_a_bound() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], input=json.dumps(HUGE), capture_output=True, text=True, check=True
    )
    ended, peak_kib = json.loads(done.stdout)
    assert set(ended) == set(HUGE)
    assert [name for name, message in ended.items() if "memory" in message] == []
    assert peak_kib < 256 * 1024


# --- compiling -----------------------------------------------------------------------------------

UNCOMPILABLE = {
    "parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "a long sum": "{{ " + "+".join(["1"] * 10_000) + " }}",
    "nots": "{{ " + "not " * 20_000 + "1 }}",
    "blocks": "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "loops": "{% for x in y %}" * 50 + "{% endfor %}" * 50,
    "dicts": "{{ " + "{'a':" * 500 + "1" + "}" * 500 + " }}",
    "filters": "{{ a" + "|upper" * 10_000 + " }}",
    "outputs": "{{a}}" * 60_000,
    "digits": "{{ " + "1" * 400_000 + " }}",
    "braces": "{" * 400_000,
    "an open string": "{{ '" + "\\'" * 200_000,
    "open comments": (" " * 1000 + "{#") * 400,
    "raw": "{% raw %}" + "{%" * 200_000,
}


@pytest.mark.parametrize("name", UNCOMPILABLE)
def test_what_cannot_be_compiled_is_refused_soon(name: str) -> None:
    began = time.thread_time()
    with pytest.raises(InvalidModelFile, match="cannot be compiled"):
        render(UNCOMPILABLE[name])
    assert time.thread_time() - began < SLACK_S


def test_recursion_without_end_is_refused() -> None:
    for source in (
        "{% macro f(n) %}{{ f(n - 1) }}{% endmacro %}{{ f(100) }}",
        "{% block a %}{{ self.a() }}{% endblock %}",
    ):
        with pytest.raises(InvalidRequest, match="it recurses too deeply"):
            render(source)
