"""What Exim, Sendmail and OpenSMTPD have in common: each is a context that starts one instance in a jail and ends it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.jail import Jail
from tests.support.mta import Route, wait_for_banner
from tests.support.site import free_port

SOCKETS = "/run/lists"  # where a socket's folder is seen inside: Sendmail takes none below a world-writable folder such as /tmp


class JailedMta:
    """One instance; what it left stays in `folder`."""

    package = ""
    jail: Jail

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port or free_port()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def make_jail(
        self, *, files: Mapping[str, str], spool: Mapping[str, str], routes: Iterable[Route]
    ) -> None:
        """Prepare the jail; `routes` whose sockets must be seen from inside lie in one folder."""
        sockets = {route.parent for route in routes if isinstance(route, Path)}
        binds = dict.fromkeys((SOCKETS,), sockets.pop()) if sockets else {}
        assert not sockets, f"more than one folder of sockets: {sockets}"
        self.jail = Jail(self.package, self._folder, files=files, spool=spool, binds=binds)

    @staticmethod
    def inside(socket: Path) -> str:
        """Return the path of a route's socket as the MTA sees it."""
        return f"{SOCKETS}/{socket.name}"

    def command(self) -> tuple[str, ...]:
        """Return what is to be started, in the foreground."""
        raise NotImplementedError

    def queued(self) -> list[str]:
        """Return the names of the mail that it has not got rid of."""
        raise NotImplementedError

    def log(self) -> str:
        """Return its log."""
        return self.jail.output()

    def lines(self, pattern: str) -> list[str]:
        """Return the lines of its log that match."""
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def __enter__(self) -> Self:
        self.jail.start(*self.command())
        if not wait_for_banner(self.port, self.jail.is_alive):
            self.jail.stop()
            raise RuntimeError(f"{self.package} did not start: {self.jail.output()}{self.log()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.jail.stop()
