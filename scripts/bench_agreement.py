"""Agreement of three voters on loopback, Quorate beside etcd and PySyncObj in one run.

Each measure starts every contender once and does its trials in turns, so that what the machine
does meanwhile falls on all of them. A figure is named after the contender: `etcd_serial_p50_ms`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench_contenders import (
    Contender,
    Etcd,
    NotInstalled,
    PySyncObj,
    Quorate,
    etcd_request,
    http_puts,
    quorate_batches,
    quorate_request,
)
from bench_figures import Figures, spread

Samples = dict[str, list[float]]

CLIENTS = 64
BATCH = 500
# Operations of a trial: about a second's work for each.
SERIAL = {"Quorate": 1000, "etcd": 1000, "PySyncObj": 15}
PIPED = {
    100: {"Quorate": 20_000, "etcd": 8_000, "PySyncObj": 2_000},
    1_000: {"Quorate": 60_000, "etcd": 8_000, "PySyncObj": 10_000},
    10_000: {"Quorate": 100_000, "PySyncObj": 60_000},  # so many streams, etcd's client has not
}
FAIL_OVERS = 12
BUSY_S = 600.0
BURN = "while True: pass"


def installed(*kinds: type[Contender]) -> list[Contender]:
    """Those that can be measured here; who is missing is named."""
    found: list[Contender] = []
    for kind in kinds:
        try:
            found.append(kind())
        except NotInstalled as fault:
            print(f"{kind.name} is left out: {fault}", file=sys.stderr)
    return found


@contextmanager
def running(*kinds: type[Contender]) -> Iterator[list[Contender]]:
    """Teams that have found their leaders."""
    contenders = installed(*kinds)
    try:
        for contender in contenders:
            contender.start()
        yield contenders
    finally:
        for contender in contenders:
            contender.stop()


def figures_of(samples: Samples, digits: int) -> Figures:
    return {name: spread(values, digits) for name, values in samples.items()}


def measure_serial(trials: int) -> Figures:
    """One write after the other, each confirmed by a majority's disks; PySyncObj's has none."""
    samples: Samples = defaultdict(list)
    with running(Quorate, Etcd, PySyncObj) as contenders:
        for contender in contenders:
            contender.serial(contender.leader, 10)
        for _ in range(trials):
            for each in contenders:
                for figure, value in each.serial(each.leader, SERIAL[each.name]).items():
                    samples[f"{each.name}_serial_{figure}"].append(value)
    return figures_of(samples, 3)


def measure_throughput(trials: int) -> Figures:
    """Writes with so many under way, by the leader and by a follower; and what was lost: writes
    that nobody was ever told of."""
    samples: Samples = defaultdict(list)
    with running(Quorate, Etcd, PySyncObj) as contenders:
        for window, counts in PIPED.items():
            for _ in range(trials):
                for each in contenders:
                    if each.name not in counts:
                        continue
                    for part in ("leader", "follower"):
                        node = each.leader if part == "leader" else each.follower
                        found = each.pipe(node, counts[each.name], window)
                        name = f"{each.name}_{part}_{window}"
                        samples[f"{name}_ops_s"].append(found["ops_s"])
                        samples[f"{name}_lost"].append(found["failed"])
    lossless = [name for name in samples if name.endswith("_lost") and not any(samples[name])]
    for name in lossless:
        del samples[name]
    return figures_of(samples, 0)


def measure_puts(trials: int) -> Figures:
    """HTTP puts from 64 clients of one process, at the leader: singly, and in batches."""
    samples: Samples = defaultdict(list)
    with running(Quorate, Etcd) as contenders:
        for _ in range(trials):
            for each in contenders:
                if isinstance(each, Etcd):
                    request, headers = etcd_request(each.clients[each.leader]), {}
                    done = asyncio.run(http_puts(request, headers, CLIENTS, 6_000))
                    samples["etcd_puts_s"].append(done)
                elif isinstance(each, Quorate):
                    headers = {"Authorization": f"Bearer {each.token}"}
                    door = each.door(each.leader)
                    request = quorate_request(door)
                    done = asyncio.run(http_puts(request, headers, CLIENTS, 6_000))
                    samples["Quorate_puts_s"].append(done)
                    request = quorate_batches(door, BATCH)
                    headers["Content-Type"] = "application/msgpack"
                    done = asyncio.run(http_puts(request, headers, CLIENTS, 300))
                    samples["Quorate_batched_puts_s"].append(BATCH * done)
    return figures_of(samples, 0)


def measure_failover(trials: int) -> Figures:
    """From kill -9 of the leader to the first write that is confirmed through another node."""
    del trials  # a median of twelve, as the peers' published figures are
    samples: Samples = defaultdict(list)
    with running(Quorate, Etcd, PySyncObj) as contenders:
        for _ in range(FAIL_OVERS):
            for each in contenders:
                samples[f"{each.name}_failover_s"].append(each.fail_over())
    return figures_of(samples, 3)


def measure_elections(trials: int) -> Figures:
    """Elections that nobody needed, while every core is busy with something else for ten minutes
    and one write a second goes on: terms begun, leaders changed."""
    del trials
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(os.cpu_count() or 1)]
    try:
        with running(Quorate) as (team,):
            assert isinstance(team, Quorate)
            leader, term = team.leader, team.term()
            until = time.monotonic() + BUSY_S
            while time.monotonic() < until:
                team.serial(team.leader, 1)
                time.sleep(1)
            team.await_leader(team.leads)
            return {
                "Quorate_busy_terms": spread([team.term() - term]),
                "Quorate_busy_leader_changed": spread([team.leader != leader]),
            }
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


MEASURES: dict[str, Callable[[int], Figures]] = {
    "serial": measure_serial,
    "throughput": measure_throughput,
    "puts": measure_puts,
    "failover": measure_failover,
    "elections": measure_elections,
}
ONLY_BY_NAME = ("elections",)  # takes ten minutes


def ratios(figures: Figures) -> dict[str, float]:
    """Quorate's median over each peer's, where both have the figure."""
    found = {}
    for name, values in figures.items():
        peer, _, rest = name.partition("_")
        own = figures.get(f"Quorate_{rest}")
        if peer not in ("Quorate", "") and own and values["median"]:
            found[f"Quorate / {peer}, {rest}"] = round(own["median"] / values["median"], 2)
    return found
