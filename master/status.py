"""What `bin/master status` says: the object that scripts read, and the table for people. Its keys are never taken away."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from config.settings import Settings
from master.plan import queues
from master.policy import State
from master.supervisor import Child, Supervisor

DOWN: dict[str, Any] = {"state": "down", "processes": [], "queues": []}
EXIT_CODES = {"healthy": 0, "degraded": 1, "down": 2}

QUEUE_KEYS = ("ready", "leased", "deferred", "shunted", "oldest_age_s", "done")
_SHOWN = {
    State.STUCK: "draining",
    State.KILLED: "draining",
    State.REPLACING: "draining",
    State.STOPPED: "draining",
}
_PAGE = os.sysconf("SC_PAGESIZE")


def describe(
    supervisor: Supervisor, bus: Mapping[str, Any] | None, state: str, since: float
) -> dict[str, Any]:
    """Make the status object; `bus` is the bus's own status, None when it does not answer, `state` master's, `since` its start.

    Healthy: every process that should be there is ready, and the bus takes mail for every queue.
    """
    flow = bus.get("flow", {}) if bus else {}
    takes_all = bool(bus) and flow.get("state", "ok") == "ok" and not flow.get("full")
    healthy = state == "ready" and supervisor.is_ready() and takes_all
    children = sorted(supervisor.children.values(), key=_order)
    return {
        "state": "healthy" if healthy else "degraded",
        "processes": [_describe_master(state, since), *map(_describe_child, children)],
        "forker": _describe_forker(supervisor.nursery.pid),
        "queues": _describe_queues(supervisor, bus),
        "flow": flow or {"state": "unknown", "reason": "the bus does not answer"},
        "warnings": warnings(supervisor.settings),
    }


def warnings(settings: Settings) -> list[str]:
    """Return what is in order for us, but not for mail: a sentence each. It does not degrade `state`."""
    if settings.site.owner:
        return []
    names = ", ".join(f"{name}@" for name in ("postmaster", *settings.site.mailboxes))
    return [
        f"[site] owner is not set: mail for {names} and lists without owners is taken and set aside (shunted)"
    ]


def _describe_master(state: str, since: float) -> dict[str, Any]:
    return {
        "name": "master",
        "role": "master",
        "queue": None,
        "pid": os.getpid(),
        "state": state,
        "restarts": 0,
        "uptime_s": round(time.monotonic() - since, 1),
        "rss": read_rss(os.getpid()),
    }


def _describe_forker(pid: int | None) -> dict[str, int] | None:
    """Who forks the children does no work of the site's, so it is none of its processes."""
    return {"pid": pid, "rss": read_rss(pid)} if pid else None


def _describe_child(child: Child) -> dict[str, Any]:
    life, process = child.life, child.process
    return {
        "name": child.place.name,
        "role": child.place.role,
        "queue": child.place.queue,
        "pid": process.pid if process else None,
        "state": _SHOWN.get(life.state, str(life.state)),
        "restarts": max(0, life.starts - 1),
        "uptime_s": round(time.monotonic() - life.started_at, 1) if process else 0.0,
        "rss": read_rss(process.pid) if process else 0,
    }


def _describe_queues(supervisor: Supervisor, bus: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the bus's own rows, or zeros while it is away: every queue is always listed."""
    told = {row["queue"]: row for row in bus.get("queues", ())} if bus else {}
    names = [
        *queues(supervisor.settings),
        *(name for name in told if name not in queues(supervisor.settings)),
    ]
    return [told.get(name) or {"queue": name, **dict.fromkeys(QUEUE_KEYS, 0)} for name in names]


def _order(child: Child) -> tuple[int, str, int]:
    roles = ("bus", "lmtp", "runner")
    kind, _, number = child.place.name.rpartition("-")
    return roles.index(child.place.role), kind, int(number) if number.isdigit() else 0


def read_rss(pid: int) -> int:
    """Return the resident memory of a process in octets, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def table(status: Mapping[str, Any]) -> str:
    """Write a status object for a person."""
    lines = [f"postroom is {status['state']}"]
    if status["processes"]:
        lines += [
            "",
            *_columns(["process", "state", "pid", "restarts", "up", "memory"], _process_rows(status)),
        ]
    if status["queues"]:
        lines += [
            "",
            *_columns(["queue", *(key.removesuffix("_age_s") for key in QUEUE_KEYS)], _queue_rows(status)),
        ]
    flow = status.get("flow", {})
    if flow.get("state", "ok") != "ok":
        lines += ["", f"new mail is refused: {flow.get('reason') or flow['state']}"]
    if flow.get("full"):
        lines += ["", f"new mail is refused for full queues: {', '.join(flow['full'])}"]
    for warning in status.get("warnings", ()):
        lines += ["", f"warning: {warning}"]
    return "\n".join(lines)


def _process_rows(status: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            each["name"],
            each["state"],
            str(each["pid"] or "-"),
            str(each["restarts"]),
            spell_duration(each["uptime_s"]),
            f"{each['rss'] / 2**20:.0f} MiB",
        ]
        for each in status["processes"]
    ]


def _queue_rows(status: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            each["queue"],
            *(spell_duration(each[key] or 0) if key.endswith("_s") else str(each[key]) for key in QUEUE_KEYS),
        ]
        for each in status["queues"]
    ]


def spell_duration(seconds: float) -> str:
    """Write a duration in its largest fitting unit: "42s", "3.5h"."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.0f}s"


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows out in columns: the first two to the left, numbers to the right."""
    widths = [max(len(row[index]) for row in (head, *rows)) for index in range(len(head))]
    left = 2 if "state" in head else 1
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
