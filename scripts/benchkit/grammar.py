"""Grammars on the demo model: decode speed under them, compile time, and 400 answers that must be valid.

Speed: one stream of SmolLM2 at temperature 0.7, top_k 40, once free and once under a grammar of 30 tools as
coding harnesses offer them; rounds alternate who goes first, prefill is left out, and the figure is the
median of the rounds' ratios. On a busy machine CPU time says more: all of it
(with --threads 1), and that of drawing alone.
Compile: the same 30 tools with a kilobyte of description each, never from the cache. Validity: 20 tool
schemas, ten seeds each, as required calls and as JSON documents; answers cut at
max_tokens are counted apart.

Examples:
    scripts/bench-grammar
    scripts/bench-grammar --rounds 3 --tries 40 --threads 1
    scripts/bench-grammar --rounds 0 --max-tokens 1000 --temperature 0.7 --top-k 40 --min-p 0.05 \
        --repeat-penalty 1.15 --dry 0.8 --dry-allowed-length 1
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import jsonschema
import msgspec

from benchkit.constrained import Answer, Ask, Bench
from benchkit.figures import figure, machine, median, note
from benchkit.harness_tools import harness_tools
from benchkit.peers import demo_model
from inference.chat import Sampling, Tool
from inference.engines.llama_grammar import GrammarCompiler, read_vocabulary
from inference.grammar import JsonSchema, ToolCalls
from inference.toolcall_formats import format_named

HERMES = format_named("hermes")
STREAM_TOKENS = 100
AT_ONCE = 20
PROMPT = (
    '<|im_start|>system\nYou call tools. Answer with <tool_call>{{"name": ..., "arguments": ...}}</tool_call>'
    "<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
)


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None)
@click.option("--rounds", default=8, show_default=True, help="Of the speed measurement.")
@click.option("--tries", default=200, show_default=True, help="Answers of each kind; 0 for none.")
@click.option("--max-tokens", default=200, show_default=True, help="Of those answers.")
@click.option("--temperature", default=1.0, show_default=True, help="Of those answers.")
@click.option("--top-k", default=0, show_default=True, help="Of those answers; 0: every token may be drawn.")
@click.option("--top-p", default=1.0, show_default=True, help="Of those answers.")
@click.option("--min-p", default=0.0, show_default=True, help="Of those answers.")
@click.option("--repeat-penalty", default=1.0, show_default=True, help="Of those answers; 1: none.")
@click.option("--dry", default=0.0, show_default=True, help="dry_multiplier of those answers; 0: none.")
@click.option("--dry-allowed-length", default=2, show_default=True, help="Of those answers.")
@click.option("--threads", default=2, show_default=True)
def main(
    model: Path | None,
    rounds: int,
    tries: int,
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repeat_penalty: float,
    dry: float,
    dry_allowed_length: int,
    threads: int,
) -> None:
    bench = Bench(model or demo_model("smollm2"), slots=AT_ONCE, n_ctx=512 + max_tokens, threads=threads)
    tools = harness_tools(described=True)
    compile_time(bench, tools)
    if rounds:
        speed(bench, tools, rounds)
    if tries:
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            dry_multiplier=dry,
            dry_allowed_length=dry_allowed_length,
        )
        wishes = Wishes(tries, max_tokens, sampling)
        required_calls(bench, tools[:20], wishes)
        documents(bench, tools[:20], wishes)
    bench.close()


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of the answers that must be valid."""

    tries: int
    max_tokens: int
    sampling: Sampling

    @property
    def said(self) -> dict[str, object]:
        fields = msgspec.structs.asdict(self.sampling)
        return {name: value for name, value in fields.items() if value not in (None, ())}


def required(tools: tuple[Tool, ...], *, parallel: bool) -> ToolCalls:
    return ToolCalls(format_name=HERMES.name, tools=tools, choice="required", parallel=parallel)


def compile_time(bench: Bench, tools: tuple[Tool, ...]) -> None:
    started_s = time.perf_counter()
    vocabulary = read_vocabulary(bench.model)
    compiler = GrammarCompiler(lambda: vocabulary)
    compiler.compile(JsonSchema(schema={}))
    first_s = time.perf_counter() - started_s
    seconds: list[float] = []
    computed: list[float] = []
    for number in [*range(20), 19]:  # another name each time, so that only the last comes from the cache
        renamed = Tool(name=f"Agent{number}", parameters=tools[0].parameters)
        started_s, begun_s = time.perf_counter(), time.thread_time()
        compiler.compile(required((renamed, *tools[1:]), parallel=True), HERMES)
        seconds.append(time.perf_counter() - started_s)
        computed.append(time.thread_time() - begun_s)
    cached_s = seconds.pop()
    figure(
        "grammar_compile_ms",
        1000 * median(seconds),
        "ms",
        tools=len(tools),
        compiles=len(seconds),
        cpu_ms=round(1000 * median(computed), 1),
        highest=round(1000 * max(seconds), 1),
        from_cache_ms=round(1000 * cached_s, 2),
        first_with_vocabulary_ms=round(1000 * first_s),
        **machine(),
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """Milliseconds for one token: by the clock; computed on all threads; of those to draw it."""

    token_ms: float
    cpu_ms: float
    draw_ms: float


def speed(bench: Bench, tools: tuple[Tool, ...], rounds: int) -> None:
    grammar = bench.compiler.compile(required(tools, parallel=True), HERMES)
    prompt = PROMPT.format(question="Write a story about a river into the file story.txt, then read it.")
    free: list[Pace] = []
    bound: list[Pace] = []
    for number in range(rounds + 1):
        sides = [(free, Ask(prompt, None, number)), (bound, Ask(prompt, grammar, number))]
        for paces, ask in sides[:: 1 if number % 2 else -1]:
            paces.append(pace(bench, ask))
        note(f"round {number}: free {free[-1].token_ms:.2f} ms, grammar {bound[-1].token_ms:.2f} ms")
    del free[0], bound[0]  # the first round warms up
    ratios = [b.token_ms / a.token_ms for a, b in zip(free, bound, strict=True)]
    free_ms = median([one.token_ms for one in free])
    evidence = {"rounds": rounds, "free_ms": round(free_ms, 2), **machine()}
    figure(
        "grammar_decode_time_ratio",
        median(ratios),
        "ratio",
        grammar_ms=round(median([one.token_ms for one in bound]), 2),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        **evidence,
    )
    if bench.threads == 1:  # more threads wait for each other by spinning, which counts as computing
        ratios = [b.cpu_ms / a.cpu_ms for a, b in zip(free, bound, strict=True)]
        figure(
            "grammar_decode_cpu_time_ratio",
            median(ratios),
            "ratio",
            lowest=round(min(ratios), 3),
            highest=round(max(ratios), 3),
            **evidence,
        )
    draws = [median([one.draw_ms for one in paces]) for paces in (free, bound)]
    figure(
        "grammar_draw_share_of_token_time",
        (draws[1] - draws[0]) / free_ms,
        "share",
        free_draw_ms=round(draws[0], 3),
        grammar_draw_ms=round(draws[1], 3),
        **evidence,
    )


def pace(bench: Bench, ask: Ask) -> Pace:
    n_tokens, decode_s, cpu_s, draw_s = 0, 0.0, 0.0, 0.0
    while n_tokens < STREAM_TOKENS:  # calls may end; then again
        (answer,) = bench.answers([ask], Sampling(temperature=0.7, top_k=40), STREAM_TOKENS)
        n_tokens += len(answer.tokens) - 1
        decode_s += answer.decode_s
        cpu_s += answer.cpu_s
        draw_s += answer.draw_s
    return Pace(1000 * decode_s / n_tokens, 1000 * cpu_s / n_tokens, 1000 * draw_s / n_tokens)


def required_calls(bench: Bench, tools: tuple[Tool, ...], wishes: Wishes) -> None:
    """Each try offers one tool alone, or, every other time, three others with it."""
    asks: list[Ask] = []
    offers: list[dict[str, Tool]] = []
    for number in range(wishes.tries):
        tool = tools[number % len(tools)]
        others = random.Random(number).sample(tools, 3) if number // len(tools) % 2 else ()
        offered = {one.name: one for one in (tool, *others)}
        grammar = bench.compiler.compile(required(tuple(offered.values()), parallel=False), HERMES)
        asks.append(Ask(PROMPT.format(question=f"Call {tool.name} with short arguments."), grammar, number))
        offers.append(offered)

    def check(text: str, number: int) -> None:
        call = json.loads(text.strip().removeprefix("<tool_call>").removesuffix("</tool_call>"))
        jsonschema.validate(call["arguments"], offers[number][call["name"]].parameters)

    report("required_calls_valid", answered(bench, asks, wishes), check, wishes)


def documents(bench: Bench, tools: tuple[Tool, ...], wishes: Wishes) -> None:
    schemas = [tools[number % len(tools)].parameters for number in range(wishes.tries)]
    asks = [
        Ask(
            PROMPT.format(question="Write short arguments of the tool as JSON, nothing else."),
            bench.compiler.compile(JsonSchema(schema=schema)),
            number,
        )
        for number, schema in enumerate(schemas)
    ]

    def check(text: str, number: int) -> None:
        jsonschema.validate(json.loads(text), schemas[number])

    report("json_schema_documents_valid", answered(bench, asks, wishes), check, wishes)


def answered(bench: Bench, asks: list[Ask], wishes: Wishes) -> list[Answer]:
    answers: list[Answer] = []
    for start in range(0, len(asks), AT_ONCE):
        answers += bench.answers(asks[start : start + AT_ONCE], wishes.sampling, wishes.max_tokens)
        note(f"{len(answers)} of {len(asks)}")
    return answers


def report(name: str, answers: list[Answer], check: Callable[[str, int], None], wishes: Wishes) -> None:
    """The share of ended answers that `check` finds nothing wrong with."""
    faults: list[str] = []
    for number, answer in enumerate(answers):
        try:
            if answer.ended:
                check(answer.text, number)
        except (ValueError, KeyError, jsonschema.ValidationError) as error:
            faults.append(f"{number}: {error}"[:200])
    ended = sum(answer.ended for answer in answers)
    figure(
        name,
        1 - len(faults) / max(1, ended),
        "share",
        tries=len(answers),
        ended=ended,
        cut_at_max_tokens=len(answers) - ended,
        max_tokens=wishes.max_tokens,
        sampling=wishes.said,
        cut=[f"{number}: …{one.text[-60:]}" for number, one in enumerate(answers) if not one.ended][:20],
        faults=faults[:5],
        **machine(),
    )


if __name__ == "__main__":
    main()
