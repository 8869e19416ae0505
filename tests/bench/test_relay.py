"""A relay that ends while connections are open: what is cut off at a cap is no failure of ours."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from bench.sandbox import relay
from bench.task import named_task
from bench.workspace import Workspace


def test_it_ends_in_silence_while_connections_are_open() -> None:
    failures: list[dict[str, Any]] = []

    async def main(workspace: Workspace) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, failure: failures.append(failure))
        arrived = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            async with relay(workspace, url):
                with socket.socket(socket.AF_UNIX) as inner:
                    inner.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(inner, str(workspace.root / "proxy.sock"))
                    await arrived.wait()
            await asyncio.sleep(0)  # its callbacks
        await asyncio.sleep(0)

    with Workspace.made_for(named_task("smoke"), seed=1) as workspace:
        asyncio.run(main(workspace))
    assert failures == []
