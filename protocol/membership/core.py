"""Who is in the team: SWIM failure detection with Lifeguard's refinements, and harder evidence.

Das, Gupta and Motivala, *SWIM* (DSN 2002): probe one member a period, all of them in turn
(4.3), ask k others to probe it when it is silent (3.1), suspect before failing (4.2), and let news
ride on the probes (4.1). From *Lifeguard* (Dadgar, Phillips and Currey 2018): local health,
NACKs, time-outs that shrink with confirmations, and a suspect is told with the next message to it.
Beyond both: a refused connection, seen by two, needs no suspicion; and rows of who reaches whom
tell a crash, a broken link, a deaf node and a cut apart.

Invariants: only a node itself can raise its (epoch, incarnation), for it signs them; of two
records of a node the higher one wins; a failed or suspected node is alive again only by a higher
record of its own.

    members      the table of states                    arrivals      who comes into it, by record
    verdicts     who fails, by rumor and evidence       suspicion     how long a suspect has
    probing      whom to ask, and who did not answer    own_record    what this node says of itself
    reach, rows  who reaches whom                       sides         a cut, or one crash
    grapevine    what rides on probes                   telling       what is told at once, and when
    confidants   who is told first                      reunion       calls to lost members, seeds
    comparing    who knows something else               view_digest   by which hashes
    damping      who comes and goes                     local_health  whether it is this node
    go_between   what those that were apart say         bustle        whether newcomers stream in
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.events import LinkFault
from protocol.facts.membership import MemberRefuted, PausedHere
from protocol.identity import NOBODY, Identity, NodeId
from protocol.membership.arrivals import Arrivals
from protocol.membership.bustle import Bustle
from protocol.membership.comparing import Comparing
from protocol.membership.confidants import Confidants
from protocol.membership.grapevine import Grapevine
from protocol.membership.local_health import LocalHealth
from protocol.membership.members import Member, Members
from protocol.membership.own_record import OwnRecord
from protocol.membership.probing import Probing
from protocol.membership.reach import Reach, fault_of_row
from protocol.membership.records import fault_of_tags, tagged, tags_of
from protocol.membership.reunion import Reunion
from protocol.membership.rows import Rows
from protocol.membership.states import STOPPING, State
from protocol.membership.telling import Telling
from protocol.membership.verdicts import FINAL_WORDS, Verdicts
from protocol.messages.membership import (
    MemberRecord,
    MemberSync,
    News,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Rumor,
    ViewSummary,
    Word,
)
from protocol.timers import Timers
from protocol.turn import Turn

NEAR_MIN = 8  # connections: of so many each, chance leaves no part of a team apart


class Membership:
    """See the module's text. `refused` counts what was not taken, by reason; the reasons are fixed
    texts, so that nobody can make more of them."""

    def __init__(
        self,
        identity: Identity,
        cluster: str,
        record: MemberRecord,
        seeds: Sequence[str],
        known: Iterable[MemberRecord],
        config: MembershipConfig,
        random: Random,
        now: Nanoseconds,
    ) -> None:
        self.node = identity.node
        self.cluster = cluster
        self.config = config
        self.health = LocalHealth(config.health_max)
        self.refused: Counter[str] = Counter()
        self._members = Members()
        self._random = random
        self._timers = Timers()
        self._grapevine = Grapevine(config)
        self._own = OwnRecord(identity, cluster, record, self._members, self._grapevine)
        self.reach = Reach(self.node, record.epoch, self._members)
        confidants = Confidants(self._members, self.reach, random)
        addresses = tuple(seed for seed in seeds if seed not in record.endpoints)
        self._reunion = Reunion(addresses, self._members, config, random)
        self._bustle = Bustle(config, now)
        self._probing = Probing(
            self.node,
            config,
            self._members,
            self.health,
            self._bustle,
            self._timers,
            random,
            fingerprint=self._members.digest.fingerprint,
            news_for=self._news_for,
            missed=self._missed,
            unreached=self._unreached,
            answered=self._answered,
            avoids=self.reach.avoids,
            in_touch=self.reach.in_touch,
        )
        self._rows = Rows(
            self.reach, self._grapevine, self._probing, self._timers, config.probe_interval_ns
        )
        self.verdicts = Verdicts(
            self.node,
            config,
            self._members,
            self.reach,
            self._rows,
            self._grapevine,
            self._probing,
            self._timers,
            random,
        )
        self._comparing = Comparing(
            self._own,
            config,
            self._members,
            self.reach,
            self.verdicts,
            self._reunion,
            self._bustle,
            self._timers,
            random,
            now,
        )
        self._arrivals = Arrivals(
            identity,
            cluster,
            self._own,
            config,
            self._members,
            self.reach,
            self.verdicts,
            self._grapevine,
            confidants,
            self._bustle,
            self.refused,
        )
        self._telling = Telling(
            self._own,
            config,
            self._members,
            self._grapevine,
            confidants,
            self._comparing,
            self._timers,
            now,
        )
        self._listens_until: Nanoseconds = 0  # if it was late
        for old in known:
            if old.node != self.node:
                self._members.put(old, State.REMEMBERED, now)
        self._probing.start(now)
        self._timers.set(now, self._redial)

    def __repr__(self) -> str:
        return f"<Membership {self.node[:6]} {self._members}>"

    # -- what the host and the other machines may ask ------------------------------------------

    @property
    def own(self) -> MemberRecord:
        """What this node says of itself."""
        return self._own.record

    def alive(self) -> list[NodeId]:
        """The other nodes that are in the team and not held to have failed (suspects included:
        they get the benefit of the doubt), in the order in which they became known. The list
        is the machine's own: nobody else changes it."""
        return self._members.alive()

    def in_touch(self) -> list[NodeId]:
        """Those of `alive` to whom there is a connection; in a small team all, for there will be
        soon."""
        alive = self._members.alive()
        return alive if len(alive) <= NEAR_MIN else self.reach.in_touch()

    def near(self, now: Nanoseconds) -> list[NodeId]:
        """Those that are in touch, and one more while these are few, unless newcomers come one
        after the other: in a large team that starts, a connection for each word to somebody at
        random would cost more than all the words. Probes make new ones by and by."""
        alive, near = self._members.alive(), self.in_touch()
        if len(near) < min(NEAR_MIN, len(alive)) and not (near and self._bustle.is_on(now)):
            near.append(self._random.choice([node for node in alive if node not in near]))
        return near

    def members(self) -> dict[NodeId, Member]:
        """Every other node that is known, whatever its state."""
        return self._members.everybody()

    def gone(self) -> list[NodeId]:
        """Nodes that have failed or left, as opposed to those never or not yet heard of."""
        return self._members.gone()

    def state_of(self, node: NodeId) -> State | None:
        """None for a stranger."""
        if node == self.node:
            return State.LEFT if self.own.left else State.ALIVE
        member = self._members.get(node)
        return member.state if member else None

    def healthy(self) -> list[NodeId]:
        """Those of `alive` that nobody suspects, and that do not come and go."""
        return self._members.healthy()

    @property
    def seeds(self) -> tuple[str, ...]:
        """The addresses that are called for ever."""
        return self._reunion.seeds

    def silent_seeds(self) -> list[str]:
        """Seed addresses that a call failed at."""
        return self._reunion.silent_seeds()

    def is_troubled(self, node: NodeId) -> bool:
        """Whether a member does not answer here, though the team holds it to be there."""
        return node in self.reach.troubled()

    def endpoints_of(self, node: NodeId) -> tuple[str, ...]:
        """Where a member says it can be reached, the best address first."""
        member = self._members.get(node)
        return member.record.endpoints if member else ()

    def key_of(self, node: NodeId) -> bytes | None:
        """The public key of a member; None for a stranger."""
        member = self._members.get(node)
        return member.record.public_key if member else None

    def deadline(self) -> Nanoseconds:
        """When `tick` has something to do."""
        return max(self._timers.deadline(), self._listens_until)

    # -- inputs --------------------------------------------------------------------------------

    def heard(self, sender: NodeId, now: Nanoseconds) -> None:
        """Some message, whatever it is about, came directly from another node."""
        self.reach.heard(sender, now)

    def receive(
        self,
        turn: Turn,
        sender: NodeId,
        message: Probe | ProbeAck | ProbeRequest | ProbeNack | MemberSync | ViewSummary,
    ) -> None:
        """Take a message from another node."""
        match message:
            case Probe():
                self._take_news(turn, sender, message.news)
                self._tell_accused(turn, sender)
                turn.send(sender, ProbeAck(message.sequence, True, self._news_for(sender)))
                self._comparing.look(turn, sender, message.fingerprint)
            case ProbeAck():
                self._take_news(turn, sender, message.news)
                self._probing.acknowledged(turn, sender, message)
            case ProbeRequest():
                self._take_news(turn, sender, message.news)
                self._probing.asked(turn, sender, message)
            case ProbeNack():
                self._probing.not_acknowledged(sender, message)
            case MemberSync():
                self._take_news(turn, sender, message.news)
                if any(map(self._has_refuted, message.news.rumors)):  # the teller waits for that
                    turn.send(sender, MemberSync(News((self.own,))))
                if self.state_of(sender) is not None:  # else two strangers would go on for ever
                    self._tell_accused(turn, sender)
                elif (last := self._members.forgotten(sender)) and any(
                    record.public_key == last.record.public_key for record in message.news.records
                ):  # it introduces itself
                    self._tell_forgotten(turn, sender)
            case ViewSummary():
                self._comparing.receive(turn, sender, message)

    def tick(self, turn: Turn) -> None:
        """Serve the timers that are due. If that is late, this node is not well itself."""
        late = turn.now - self.deadline()
        if late > self.config.late_ns and not self._listens_until:
            self._listen_first(turn, late)
            return
        self._listens_until = 0
        self._timers.fire(turn)

    def undeliverable(
        self, turn: Turn, destination: NodeId, endpoint: str, fault: LinkFault, detail: str
    ) -> None:
        """A send that fails is a failed probe: no need to wait for its time-out. A refused one is
        more: nobody listens where the member says that it does."""
        if destination == NOBODY:
            self._reunion.seed_failed(turn, endpoint, detail or fault.value)
            return
        member = self._members.get(destination)
        if fault is LinkFault.OVERFLOW or member is None:
            return
        self.reach.lost_touch(destination)
        if fault is LinkFault.REFUSED:
            if member.is_here:
                self.verdicts.refused(turn, destination, member, self.node)
            elif member.state is State.FAILED:
                self.verdicts.ended(turn, destination)
        self._probing.failed_to_send(turn, destination)
        if member.state is State.ALIVE:
            self._probing.probe(turn, destination)  # a broken link alone is a reason to look

    def ask(self, turn: Turn, node: NodeId) -> None:
        """Probe a member out of turn, for a word of it: nothing follows here if none comes."""
        self._probing.ask(turn, node)

    def join(self, turn: Turn, endpoints: Sequence[str]) -> None:
        """Call these addresses now, and again for ever like the seeds."""
        for endpoint in endpoints:
            if endpoint not in self.own.endpoints:
                self._reunion.add_seed(endpoint)
                self._comparing.call(turn, endpoint)

    def describe(self, **metadata: str) -> None:
        """Say something new of this node; an empty value takes a word back."""
        self._own.describe(metadata)

    def tag(self, tags: Mapping[str, str]) -> str:
        """The operator says something of this node, or takes it back by an empty value. Why that
        cannot be said, or empty."""
        wanted = {**tags_of(self.own), **tags}
        fault = fault_of_tags({key: value for key, value in wanted.items() if value})
        return fault or self._own.describe(tagged(tags))

    def leave(self, turn: Turn) -> None:
        """Say goodbye in a signed record, to everybody at once."""
        self._own.renew(left=True)
        self._telling.tell_everybody(turn)

    def stop(self, turn: Turn) -> None:
        """Say to everybody at once that this process is about to end."""
        self.describe(**{STOPPING: "1"})
        self._telling.tell_everybody(turn)

    def forget(self, turn: Turn, node: NodeId) -> bool:
        """Drop a member that has failed or left; False if there is none such. It comes back only by
        a newer record of its own."""
        return self.verdicts.forget(turn, node)

    def missed(self, now: Nanoseconds) -> list[NodeId]:
        """Those that were forgotten because they had failed, not because anybody said so: they may
        have gone on without this node."""
        return self._members.missed(now)

    def forget_for_all(self, turn: Turn, node: NodeId) -> bool:
        """Forget it here, and let the others do the same."""
        return self.verdicts.forget_for_all(turn, node)

    def flush(self, turn: Turn) -> None:
        """At the end of a step: tell what is new."""
        self._telling.flush(turn)

    # -- what probing finds ------------------------------------------------------------------------

    def _missed(self, turn: Turn, node: NodeId) -> None:
        """It answered neither this node nor anybody who was asked."""
        member = self._members.get(node)
        if member is not None:
            self.verdicts.accuse(turn, node, member, self.node)

    def _answered(self, turn: Turn, node: NodeId) -> None:
        self.reach.answered(node)
        self._rows.tell_soon(turn)

    def _unreached(self, turn: Turn, node: NodeId, since: Nanoseconds) -> None:
        self.reach.unreached(node, since)
        self._probing.probe_soon(node)
        self._rows.tell_soon(turn)

    def _listen_first(self, turn: Turn, late: Nanoseconds) -> None:
        """Nobody is to blame for what was not heard while this node did not listen; it does so
        before any timer is served."""
        self._listens_until = turn.now + self.config.listen_ns
        self.health.worse()
        self.verdicts.stood_still(late)
        if late > self.config.pause_ns:
            turn.report(PausedHere(late // 1_000_000))
            self._probing.forget_all()

    # -- news --------------------------------------------------------------------------------------

    def _tell_accused(self, turn: Turn, sender: NodeId) -> None:
        """Whoever is not held to be alive and yet speaks shall hear of it and refute; a stranger
        shall introduce itself. The accused also gets its own record: one that lost its journal
        does not know how far it had counted."""
        member = self._members.get(sender)
        if member is None or member.state is State.REMEMBERED:
            if member is not None:
                turn.send(sender, MemberSync(News((self.own, member.record))))
            else:
                self._tell_forgotten(turn, sender)
            for message in self._comparing.introduce():
                turn.send(sender, message)
        elif member.state is not State.ALIVE:
            news = News((self.own, member.record), self.verdicts.rumors_about(sender))
            turn.send(sender, MemberSync(news))

    def _tell_forgotten(self, turn: Turn, sender: NodeId) -> None:
        """Whoever was forgotten has to count on from there before it is taken back, and if both
        forgot each other, nobody else tells them. The answer does not say who this node is: else
        it would be answered."""
        last = self._members.forgotten(sender)
        if last is not None:
            turn.send(sender, MemberSync(News((last.record,), self.verdicts.rumors_about(sender))))

    def _news_for(self, receiver: NodeId) -> News:
        return self._grapevine.ride_along(
            len(self._members) + 1, self.verdicts.rumors_about(receiver)
        )

    def _take_news(self, turn: Turn, sender: NodeId, news: News) -> None:
        forgotten: list[Rumor] = []
        gone = {(rumor.node, rumor.version) for rumor in news.rumors if rumor.word in FINAL_WORDS}
        for record in news.records:
            if not self._arrivals.take(turn, sender, record, gone) and record.node != sender:
                forgotten += self.verdicts.rumors_about(record.node)
        if forgotten:
            # Who holds a node to be there that was forgotten here tells that node, which counts on:
            # two that forgot each other may have nobody else to hear it from.
            turn.send(sender, MemberSync(News((), tuple(forgotten))))
        for rumor in news.rumors:
            if rumor.node == self.node:
                self._refute(turn, rumor)
            else:
                self.verdicts.hear(turn, rumor, sender)
        for row in news.rows:
            fault = fault_of_row(row)
            if fault:
                self.refused[fault] += 1
            else:
                self._rows.take(turn, row)

    def _refute(self, turn: Turn, rumor: Rumor) -> None:
        if rumor.version != self.own.version or self.own.left:
            return
        self._own.renew()
        self.health.worse()  # perhaps it is this node that is slow
        turn.report(MemberRefuted(self.node, self.own.incarnation))

    def _has_refuted(self, rumor: Rumor) -> bool:
        """Whether somebody accuses this node of what its record puts an end to."""
        return (
            rumor.node == self.node
            and rumor.word is not Word.FORGOTTEN
            and rumor.version < self.own.version
        )

    # -- finding each other ------------------------------------------------------------------------

    def _redial(self, turn: Turn) -> None:
        """A call to somebody who is missing. This goes on for ever: it is how two halves of a
        healed team find each other."""
        target, wait = self._reunion.next_call(turn.now)
        self._timers.set(turn.now + wait, self._redial)
        if target is not None:
            self._comparing.call(turn, target)
