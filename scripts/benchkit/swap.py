"""What sharing one seat costs, each figure against a baseline of the same run.

(a) Two clients hammer A in a closed loop, and one asks B every 20 s, with room for one of them. B's longest
    wait against its bound (max_wait, the longest running answer, A's unload and B's load), and the share of
    its throughput alone that A loses.
(b) Interleaved requests for two models, all at once: time to the last answer, against strict first come
    first served, played by sending them one by one. Scripted models, and the two demo models if they
    are here.
(c) A cold swap beyond the engine's own load: what is counted is said in swap_cold.py.
(d) 500 streams at once on one scripted model: refused ones, the last one's first text, the proxy's memory.

Examples:
    scripts/bench-swap
    scripts/bench-swap --only cold --rounds 9
"""

from __future__ import annotations

import asyncio

import click

from benchkit.swap_cold import cold_swaps
from benchkit.swap_crowd import crowd
from benchkit.swap_traffic import bursts, starvation

PARTS = ("starvation", "bursts", "cold", "crowd")


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="(a), (b), (c), (d); all if not given.")
@click.option("--periods", default=2, show_default=True, help="(a) How often B is asked.")
@click.option("--requests", default=40, show_default=True, help="(b) Of both models together.")
@click.option("--real-requests", default=16, show_default=True, help="(b) The same for the demo models.")
@click.option("--rounds", default=5, show_default=True, help="(c) Swaps of each engine.")
@click.option("--streams", default=500, show_default=True, help="(d) At once.")
def main(
    only: tuple[str, ...], periods: int, requests: int, real_requests: int, rounds: int, streams: int
) -> None:
    asyncio.run(measure(only or PARTS, periods, requests, real_requests, rounds, streams))


async def measure(
    parts: tuple[str, ...], periods: int, requests: int, real_requests: int, rounds: int, streams: int
) -> None:
    if "starvation" in parts:
        await starvation(periods)
    if "bursts" in parts:
        await bursts(requests, real_requests)
    if "cold" in parts:
        await cold_swaps(rounds)
    if "crowd" in parts:
        await crowd(streams)


if __name__ == "__main__":
    main()
