"""Target A: the LMTP class of aiosmtpd as it comes, on plain asyncio, with a handler that has no methods. It stores nothing."""

import argparse
import asyncio
from collections.abc import Sequence

from aiosmtpd.lmtp import LMTP


class Nothing:
    """A handler without hooks: aiosmtpd then takes every sender, recipient and message."""


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        lambda: LMTP(Nothing(), hostname="bench.example.net"), "127.0.0.1", port, backlog=512
    )
    async with server:
        await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args(argv).port))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
