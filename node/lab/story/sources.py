"""Whom to ask for a task's story: every node that runs, by its door; of a team on this machine also
the others, by what is in their folders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.doors.stories import nearest
from node.lab.cluster import Cluster
from node.lab.door import DoorError, Doors, route
from node.lab.story.remains import ledger_of, remains_view
from node.lab.story.telling import Account, Story, tell
from node.recollection import recollect, tasks_in
from protocol.identity import NodeId
from protocol.jobs import shown
from protocol.ledger import Ledger

ANSWER_TIMEOUT_S = 5.0  # of a node that lives; one that was stopped keeps the others' story waiting


@dataclass(frozen=True, slots=True)
class Source:
    """One node: its door if it runs (""), its data folder if that is on this machine."""

    name: str
    door: str
    folder: Path | None = None


def sources_of(cluster: Cluster) -> list[Source]:
    """The nodes of a team on this machine."""
    running = {node.name for node in cluster.running()}
    return [
        Source(node.name, node.door if node.name in running else "", cluster.data_dir(node))
        for node in cluster.nodes
    ]


async def story_of(task: str, job: str, sources: Sequence[Source], token: str) -> Story:
    """The story of a task of this job, or of the latest job that has such a task. DoorError:
    NotFound if nobody knows it, Unreachable if nobody answers and there are no files."""
    asking = _Asking(task, sources, token)
    chosen = job or await asking.latest_job()
    accounts, silent = await asking.accounts(chosen)
    return tell(chosen, task, accounts, silent, await asking.remains(chosen, accounts))


class _Asking:
    def __init__(self, task: str, sources: Sequence[Source], token: str) -> None:
        self.task = task
        self.sources = sources
        self._doors = Doors([source.door for source in sources if source.door], token)
        self._folders = [source.folder for source in sources if source.folder is not None]

    async def _ask(self, path: str) -> dict[str, Any]:
        """By address: the answer, or the error that came in its place. Who does not answer is asked
        no more."""
        addresses = self._doors.addresses
        answers = await self._doors.ask_all(path, ANSWER_TIMEOUT_S)
        silent = [at for at, each in zip(addresses, answers, strict=True) if _is_silence(each)]
        self._doors = Doors([at for at in addresses if at not in silent], self._doors.token)
        return dict(zip(addresses, answers, strict=True))

    async def latest_job(self) -> str:
        """Of those that have the task, by the node that knows most of them."""
        answers = list((await self._ask(route("tasks", self.task))).values())
        known = [answer["jobs"] for answer in answers if not isinstance(answer, DoorError)]
        if known:
            return str(max(known, key=len)[-1])
        if refusal := _refusal(answers):
            raise refusal
        found = [await asyncio.to_thread(tasks_in, folder) for folder in self._folders]
        known = [jobs[self.task] for jobs in found if self.task in jobs]
        if known:
            return str(max(known, key=len)[-1])
        logged = list((await self._log()).jobs.values())
        never_begun = [job.job.id for job in logged if self.task in job.tasks]
        if never_begun:
            return never_begun[-1]
        names = {task: None for jobs in found for task in jobs}
        names.update({task: None for job in reversed(logged) for task in job.tasks})
        if not names:
            raise _nobody(answers)
        raise DoorError(
            "NotFound",
            f"no node of this team answers, and no job that any of them has written of has a task "
            f"{shown(self.task)}{nearest(self.task, list(names))}",
        )

    async def _log(self) -> Ledger:
        """The log of the node that has most of it on its disk."""
        ledgers = [await asyncio.to_thread(ledger_of, folder) for folder in self._folders]
        return max(ledgers, key=lambda ledger: ledger.applied, default=Ledger())

    async def remains(self, job: str, accounts: Sequence[Account]) -> dict[str, Any] | None:
        """What the log on a disk says of a task of which there is nothing else: None if there is,
        or that neither."""
        if any(account.view is not None or _is_of_task(account) for account in accounts):
            return None
        ledger = await self._log()
        found = ledger.slot(job, self.task, 0)
        if found is None:
            raise DoorError(
                "NotFound", f"nobody has written of a task {shown(self.task)} of job {shown(job)}"
            )
        names = {
            NodeId(record["at"]): str(record["agent"])
            for account in accounts
            for record in account.records
        }
        return remains_view(ledger, *found[:2], names)

    async def accounts(self, job: str) -> tuple[list[Account], list[str]]:
        """What each node says, and who says nothing."""
        answers = await self._ask(route("jobs", job, "tasks", self.task, "story"))
        told = {at: answer for at, answer in answers.items() if not isinstance(answer, DoorError)}
        if not told and (refusal := _refusal(list(answers.values()))):
            raise refusal
        accounts, silent = [], []
        for source in self.sources:
            if source.door in told:
                accounts.append(Account.of_view(told[source.door]))
                continue
            found = None
            if source.folder is not None:
                found = await asyncio.to_thread(recollect, source.folder, job, self.task)
            if found is not None and found.begins_s:
                accounts.append(Account.of_files(source.name, found))
            else:
                silent.append(source.name)
        if not accounts:
            raise _nobody(list(answers.values()))
        return accounts, silent


def _refusal(answers: Sequence[Any]) -> DoorError | None:
    """What a node answered that does not know what it was asked for, or would not say."""
    faults = [answer for answer in answers if isinstance(answer, DoorError)]
    return next((fault for fault in faults if not _is_silence(fault)), None)


def _is_silence(answer: Any) -> bool:
    return isinstance(answer, DoorError) and answer.kind == "Unreachable"


def _nobody(answers: Sequence[Any]) -> DoorError:
    faults = [answer for answer in answers if isinstance(answer, DoorError)]
    detail = "no node of this team answers, and none has written anything down"
    return faults[0] if faults else DoorError("Unreachable", detail)


def _is_of_task(account: Account) -> bool:
    return any("task" in record for record in account.records)
