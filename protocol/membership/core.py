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

    probing      whom to ask, and who did not answer    suspicion     how long a suspect has
    members      the table of states                    grapevine     what is told to whom
    reach        rows of who reaches whom               view_digest   who knows something else
    reunion      calls to lost members and seeds        sides         a cut, or one crash
    damping      who comes and goes                     local_health  whether it is this node
    confidants   who is told first
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import MembershipConfig
from protocol.effects import ForgetMember, KeepMember
from protocol.events import LinkFault
from protocol.facts import (
    MemberChanged,
    MemberDegraded,
    MemberFailed,
    MemberForgotten,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    MemberSteady,
    MemberSuspected,
    NameClaimedTwice,
    PausedHere,
)
from protocol.identity import NOBODY, Identity, NodeId
from protocol.membership.confidants import Confidants
from protocol.membership.damping import Damping
from protocol.membership.grapevine import Grapevine
from protocol.membership.local_health import LATE_NS, LocalHealth
from protocol.membership.members import Member, Members
from protocol.membership.probing import Probing
from protocol.membership.reach import Reach
from protocol.membership.records import fault_of_record, is_signed, sign_record
from protocol.membership.reunion import Reunion
from protocol.membership.sides import Sides
from protocol.membership.states import Evidence, State
from protocol.membership.suspicion import suspicion_timeout
from protocol.membership.view_digest import PARTS, part_of
from protocol.messages import (
    MemberRecord,
    MemberSync,
    News,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    ReachRow,
    Rumor,
    ViewSummary,
    Word,
)
from protocol.timers import Timers
from protocol.turn import Turn

PAGE_RECORDS_MAX = 1_000  # of one MemberSync: the largest records must fit into a frame
_FINAL_WORD = {
    Evidence.REFUSED: Word.ENDED,
    Evidence.SILENCE: Word.FAILED,
    Evidence.DEAF: Word.FAILED,
}
COMPARISONS = 10  # after the last news
SMALL_TEAM = 3  # in which one witness of a refused connection is enough: there may be no other


class Membership:
    """See the module's text."""

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
        self.identity = identity
        self.node = identity.node
        self.cluster = cluster
        self.config = config
        fault = fault_of_record(record)
        if fault:
            raise ValueError(f"nobody would take this node's record: {fault}")
        self.own = sign_record(identity, cluster, record)
        self.health = LocalHealth(config.health_max)
        self._members = Members()
        self._random = random
        self._timers = Timers()
        self._grapevine = Grapevine(config)
        self._damping = Damping(config.flap_half_life_ns)
        self.reach = Reach(self.node, record.epoch, self._members)
        self._confidants = Confidants(self._members, self.reach, random)
        self._sides = Sides(2 * config.probe_interval_ns)
        addresses = tuple(seed for seed in seeds if seed not in record.endpoints)
        self._reunion = Reunion(addresses, self._members, config, random)
        self._probing = Probing(
            self.node,
            config,
            self._members,
            self.health,
            self._timers,
            random,
            fingerprint=self._members.digest.fingerprint,
            news_for=self._news_for,
            missed=self._missed,
            unreached=self._unreached,
            answered=self._answered,
            avoids=self.reach.avoids,
        )
        self._members.digest.put(self.own, State.ALIVE)
        self._gathers_until = now
        self._outbids_at = now
        self._row_is_due = False
        self._compare_until = now
        self._compared_at = now
        for old in known:
            if old.node != self.node:
                self._members.put(old, State.REMEMBERED, now)
        self._probing.start(now)
        self._timers.set(now, self._redial)
        self._timers.set(now + config.sync_interval_ns, self._sync)

    def __repr__(self) -> str:
        return f"<Membership {self.node[:6]} {self._members}>"

    # -- what the host and the other machines may ask ------------------------------------------

    def alive(self) -> list[NodeId]:
        """The other nodes that are in the team and not held to have failed (suspects included:
        they get the benefit of the doubt), in the order in which they became known. The list
        is the machine's own: nobody else changes it."""
        return self._members.alive()

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
        return self._timers.deadline()

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
                self._take_news(turn, message.news)
                self._tell_accused(turn, sender)
                turn.send(sender, ProbeAck(message.sequence, True, self._news_for(sender)))
                self._compare(turn, sender, message.fingerprint)
            case ProbeAck():
                self._take_news(turn, message.news)
                self._probing.acknowledged(turn, sender, message)
            case ProbeRequest():
                self._take_news(turn, message.news)
                self._probing.asked(turn, sender, message)
            case ProbeNack():
                self._probing.not_acknowledged(sender, message)
            case MemberSync():
                self._take_news(turn, message.news)
                if message.wants_answer:
                    self._tell_everything(turn, sender, wants_answer=False)
                elif self.state_of(sender) is not None:  # else two strangers would go on for ever
                    self._tell_accused(turn, sender)
            case ViewSummary():
                self._compare_parts(turn, sender, message)

    def tick(self, turn: Turn) -> None:
        """Serve the timers that are due. If that is late, this node is not well itself."""
        late = turn.now - self._timers.deadline()
        if late > self.config.pause_ns:
            self._after_pause(turn, late)
        if late > LATE_NS:
            self.health.worse()
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
                self._refused(turn, destination, member, self.node)
            elif member.state is State.FAILED:  # across a cut until now, perhaps; and there no more
                self._sides.found(destination)
                self._judge_sides(turn)
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
                self._call(turn, endpoint)

    def describe(self, **metadata: str) -> None:
        """Say something new of this node; an empty value takes a word back."""
        said = {**dict(self.own.metadata), **metadata}
        pairs = tuple((key, value) for key, value in said.items() if value)
        if pairs != self.own.metadata:
            self.own = replace(self.own, metadata=pairs)
            self._renew_own(left=False)

    def leave(self, turn: Turn) -> None:
        """Say goodbye in a signed record, to everybody at once."""
        self._renew_own(left=True)
        for node in self.alive():
            turn.send(node, MemberSync(News((self.own,)), wants_answer=False))

    def forget(self, turn: Turn, node: NodeId) -> bool:
        """Drop a member that has failed or left; False if there is none such. It comes back only by
        a newer record of its own."""
        member = self._members.get(node)
        if member is None or member.is_here:
            return False
        self._members.forget(node)
        self.reach.forget(node)
        self._sides.found(node)
        turn.persist(ForgetMember(node))
        turn.report(MemberForgotten(node))
        self._judge_sides(turn)
        return True

    def forget_for_all(self, turn: Turn, node: NodeId) -> bool:
        """Forget it here, and let the others do the same."""
        member = self._members.get(node)
        if member is None or not self.forget(turn, node):
            return False
        self._grapevine.spread(_rumor(node, member, self.node, Word.FORGOTTEN))
        return True

    def flush(self, turn: Turn) -> None:
        """At the end of a step: tell first-seen news to a few members. The first piece goes at
        once; what follows soon after, as when a team starts, is gathered into one message."""
        if not self._grapevine.is_hot or self._gathers_until > turn.now:
            return
        hot = self._grapevine.take_hot()
        self._gathers_until = turn.now + self.config.gather_ns
        self._timers.set(self._gathers_until, self._end_gathering)
        self._compare_for_a_while(turn)
        for node in self._confidants.choose():
            turn.send(node, MemberSync(hot, wants_answer=False))

    def _end_gathering(self, turn: Turn) -> None:
        """The step that this is part of ends with a flush."""

    # -- what probing finds ------------------------------------------------------------------------

    def _missed(self, turn: Turn, node: NodeId) -> None:
        """It answered neither this node nor anybody who was asked."""
        member = self._members.get(node)
        if member is not None:
            self._accuse(turn, node, member, self.node)

    def _answered(self, turn: Turn, node: NodeId) -> None:
        self.reach.answered(node)
        self._tell_reach_soon(turn)

    def _unreached(self, turn: Turn, node: NodeId, since: Nanoseconds) -> None:
        self.reach.unreached(node, since)
        self._probing.probe_soon(node)
        self._tell_reach_soon(turn)

    def _tell_reach_soon(self, turn: Turn) -> None:
        """One row for all that is found within an interval."""
        if self.reach.is_changed and not self._row_is_due:
            self._row_is_due = True
            self._timers.set(turn.now + self.config.probe_interval_ns // 2, self._tell_reach)

    def _tell_reach(self, turn: Turn) -> None:
        self._row_is_due = False
        row = self.reach.new_row(turn.now)
        if row is not None:
            self._grapevine.spread(row)
            self._judge_links_soon(turn)

    def _judge_links_soon(self, turn: Turn) -> None:
        """Once both ends have had time to look."""
        self._timers.set(turn.now + 2 * self.config.probe_interval_ns, self._judge_links)

    def _judge_links(self, turn: Turn) -> None:
        settled = turn.now - 2 * self.config.probe_interval_ns
        for fact in self.reach.judge(settled):
            turn.report(fact)

    def _take_row(self, turn: Turn, row: ReachRow) -> None:
        if not self.reach.take(row, turn.now):
            return
        self._grapevine.spread(row)
        if self.reach.doubts_us(row):
            self._probing.probe(turn, row.node)  # so that both ends know of both directions
        self._judge_links_soon(turn)

    def _after_pause(self, turn: Turn, late: Nanoseconds) -> None:
        """Nobody is to blame for what did not come while this node stood still."""
        turn.report(PausedHere(late // 1_000_000))
        self._probing.forget_all()
        for _, member in self._members:
            if member.state is State.SUSPECT:
                member.since += late

    # -- suspicion -------------------------------------------------------------------------------

    def suspicion_timeout(self, now: Nanoseconds, confirmations: int = 0) -> Nanoseconds:
        """How long a suspect has to refute, with so many to confirm what the first one said. Who
        was not heard of late confirms nothing: on the small side of a cut there may be few. If
        nobody at all is heard, it is more likely this node that is in trouble than all others."""
        lately = now - 2 * self.config.probe_interval_ns
        heard = sum(
            member.state is State.ALIVE and self.reach.heard_at(node) > lately
            for node, member in self._members
        )
        is_alone = heard == 0 and len(self.alive()) >= SMALL_TEAM
        wanted = (
            self.config.confirmations_max if is_alone else min(self.config.confirmations_max, heard)
        )
        return suspicion_timeout(self.config, len(self.alive()) + 1, confirmations, wanted)

    def _accuse(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        """`accuser` gets no answer from it."""
        if member.state is State.ALIVE:
            self._members.move(member, State.SUSPECT, turn.now)
            member.accuser = accuser
            member.accusers.add(accuser)
            turn.report(MemberSuspected(node, accuser))
            self._grapevine.spread(_rumor(node, member, accuser, Word.SUSPECTED))
            self._await_refutation(turn, node, member)
            self._look_for_ourselves(turn, node, accuser)
        elif (
            member.state is not State.SUSPECT
            or accuser in member.accusers
            or len(member.accusers) > self.config.confirmations_max
        ):
            return
        else:
            member.accusers.add(accuser)
            self._grapevine.spread(_rumor(node, member, accuser, Word.SUSPECTED))

    def _look_for_ourselves(self, turn: Turn, node: NodeId, accuser: NodeId) -> None:
        """A few of those who hear of a suspicion probe the suspect too: it hears of the accusation,
        or there is somebody to confirm it."""
        if accuser == self.node:
            return
        others = len(self.alive())
        if self._random.random() * others < self.config.second_opinions:
            self._probing.probe(turn, node)

    def _await_refutation(self, turn: Turn, node: NodeId, member: Member) -> None:
        """Look again when the time is over, and before that now and then, since it may shrink."""
        end = member.since + self.suspicion_timeout(turn.now, len(member.accusers) - 1)
        at = min(end, turn.now + self.config.probe_interval_ns // 2)
        self._timers.set(at, self._look_at_suspect, node, member.record.version)

    def _look_at_suspect(self, turn: Turn, node: NodeId, version: tuple[int, int]) -> None:
        member = self._members.get(node)
        if member is None or member.state is not State.SUSPECT or member.record.version != version:
            return
        if turn.now >= member.since + self.suspicion_timeout(turn.now, len(member.accusers) - 1):
            self._fail(turn, node, member, self.node)
        else:
            self._await_refutation(turn, node, member)

    def _refused(self, turn: Turn, node: NodeId, member: Member, witness: NodeId) -> None:
        """Hard evidence: a host answered that nobody listens at the member's address. Two see it
        independently before it counts, for one of them may look at the wrong host."""
        if witness in member.witnesses:
            return
        member.witnesses.add(witness)
        team = len(self.alive()) + 1
        if len(member.witnesses) >= (1 if team <= SMALL_TEAM else self.config.witnesses):
            self._fail(turn, node, member, witness)
            return
        self._grapevine.spread(_rumor(node, member, witness, Word.REFUSED))
        if witness != self.node:
            self._probing.probe(turn, node)

    def _fail(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        since = member.since
        if member.witnesses:
            evidence = Evidence.REFUSED
        elif member.state is State.SUSPECT and self.reach.heard_at(node) > since:
            evidence = Evidence.DEAF
        else:
            evidence = Evidence.SILENCE
        self._members.move(member, State.FAILED, turn.now)
        self.reach.lost_touch(node)
        member.accuser, member.evidence = accuser, evidence
        turn.report(MemberFailed(node, accuser, evidence.value))
        self._grapevine.spread(_rumor(node, member, accuser, _FINAL_WORD[evidence]))
        self._timers.set(turn.now + self.config.forget_after_ns, self._forget_if_gone, node)
        self._tell_reach_soon(turn)
        if evidence is not Evidence.REFUSED:
            self._timers.set(self._sides.lost(node, turn.now), self._judge_sides)

    def _judge_sides(self, turn: Turn) -> None:
        fact = self._sides.judge(turn.now, len(self.alive()))
        if fact is not None:
            turn.report(fact)

    def _forget_if_gone(self, turn: Turn, node: NodeId) -> None:
        member = self._members.get(node)
        if member is not None and turn.now - member.since >= self.config.forget_after_ns:
            self.forget(turn, node)

    def _tell_accused(self, turn: Turn, sender: NodeId) -> None:
        """Whoever is not held to be alive and yet speaks shall hear of it and refute; a stranger
        shall introduce itself. The accused also gets its own record: one that lost its journal
        does not know how far it had counted."""
        member = self._members.get(sender)
        if member is None:
            self._tell_everything(turn, sender, wants_answer=True)
        elif member.state is State.REMEMBERED:
            turn.send(sender, MemberSync(News((self.own, member.record)), wants_answer=True))
        elif member.state is not State.ALIVE:
            news = News((self.own, member.record), self._rumors_about(sender))
            turn.send(sender, MemberSync(news, wants_answer=False))

    def _rumors_about(self, node: NodeId) -> tuple[Rumor, ...]:
        """What there is to say to or about a node that is not held to be alive."""
        member = self._members.get(node)
        if member is None:
            return ()
        if member.state is State.SUSPECT:
            return (_rumor(node, member, member.accuser, Word.SUSPECTED),)
        if member.state is State.FAILED:
            word = _FINAL_WORD[member.evidence or Evidence.SILENCE]
            return (_rumor(node, member, member.accuser, word),)
        return ()

    def _renew_own(self, left: bool) -> None:
        record = replace(self.own, incarnation=self.own.incarnation + 1, left=left)
        self.own = sign_record(self.identity, self.cluster, record)
        self._members.digest.put(self.own, State.LEFT if left else State.ALIVE)
        self._grapevine.spread(self.own)

    # -- news --------------------------------------------------------------------------------------

    def _news_for(self, receiver: NodeId) -> News:
        return self._grapevine.ride_along(len(self._members) + 1, self._rumors_about(receiver))

    def _tell_everything(self, turn: Turn, receiver: NodeId, wants_answer: bool) -> None:
        for page in self._everything(wants_answer):
            turn.send(receiver, page)

    def _everything(self, wants_answer: bool) -> list[MemberSync]:
        """All records, rumors and rows, in pages that fit into a frame; the last one asks for those
        of the receiver."""
        return self._pages(range(PARTS), wants_answer)

    def _pages(self, parts: Container[int], wants_answer: bool) -> list[MemberSync]:
        """What is known of the members in these parts, and of this node in any case."""
        known = [
            (node, each)
            for node, each in self._members
            if each.state is not State.REMEMBERED and part_of(node) in parts
        ]
        records = [self.own, *(member.record for _, member in known)]
        rumors = [rumor for node, _ in known for rumor in self._rumors_about(node)]
        rows = self.reach.rows()
        return [
            MemberSync(
                News(
                    tuple(records[at : at + PAGE_RECORDS_MAX]),
                    tuple(rumors[at : at + PAGE_RECORDS_MAX]),
                    tuple(rows[at : at + PAGE_RECORDS_MAX]),
                ),
                wants_answer and at + PAGE_RECORDS_MAX >= len(records),
            )
            for at in range(0, len(records), PAGE_RECORDS_MAX)
        ]

    def _take_news(self, turn: Turn, news: News) -> None:
        for record in news.records:
            self._take_record(turn, record)
        for rumor in news.rumors:
            self._take_rumor(turn, rumor)
        for row in news.rows:
            self._take_row(turn, row)

    def _take_record(self, turn: Turn, record: MemberRecord) -> None:
        if len(record.public_key) == 0 or fault_of_record(record):
            return
        if record.node == self.node:
            self._hear_of_self(turn, record)
            return
        if not self._members.is_newer(record) or not self._is_acceptable(record):
            return
        node = record.node
        old = self._members.get(node)
        was = old.state if old else None
        member = self._members.put(record, State.LEFT if record.left else State.ALIVE, turn.now)
        self.reach.forget(node)
        turn.persist(KeepMember(record))
        self._grapevine.spread(record)
        is_new = was is not State.ALIVE and was is not State.SUSPECT
        if is_new and self.reach.heard_at(node) == turn.now:
            self._confidants.called()
        if was is State.FAILED:
            self._came_back(turn, node, member)
        if member.state is State.LEFT:
            self._timers.set(turn.now + self.config.forget_after_ns, self._forget_if_gone, node)
            if was is not State.LEFT:
                turn.report(MemberLeft(node))
        elif was is State.SUSPECT:
            turn.report(MemberRefuted(node, record.incarnation))
        elif was is State.ALIVE:
            if old is not None and _said(old.record) != _said(record):
                turn.report(MemberChanged(node))
        else:
            endpoint = record.endpoints[0] if record.endpoints else ""
            turn.report(MemberJoined(node, record.name, endpoint))
            for other in self._members.namesakes(record):
                turn.report(NameClaimedTwice(record.name, node, other))

    def _came_back(self, turn: Turn, node: NodeId, member: Member) -> None:
        self._sides.found(node)
        self._judge_sides(turn)
        if self._damping.returned(node, turn.now) and not member.degraded:
            member.degraded = True
            turn.report(MemberDegraded(node))
            self._timers.set(turn.now + self.config.flap_half_life_ns, self._look_if_steady, node)

    def _look_if_steady(self, turn: Turn, node: NodeId) -> None:
        member = self._members.get(node)
        if member is None or not member.degraded:
            return
        if member.state is State.ALIVE and self._damping.is_steady(node, turn.now):
            member.degraded = False
            turn.report(MemberSteady(node))
        else:
            self._timers.set(turn.now + self.config.flap_half_life_ns, self._look_if_steady, node)

    def _hear_of_self(self, turn: Turn, record: MemberRecord) -> None:
        """What this very node once said: if that was more than it now knows of, its journal is lost
        or old, and it counts on from there. Seldom: if two processes run with one key, by mistake,
        each of them outbids the other."""
        if self.own.left or record.version < self.own.version or record == self.own:
            return
        if turn.now < self._outbids_at or not is_signed(self.identity, self.cluster, record):
            return
        self._outbids_at = turn.now + self.config.redial_interval_ns
        self.own = replace(self.own, epoch=record.epoch, incarnation=record.incarnation)
        self._renew_own(left=False)

    def _is_acceptable(self, record: MemberRecord) -> bool:
        """There is room for it, and its owner signed it. A forged record is dropped without a word:
        its bearer may only be passing it on."""
        is_known = self._members.get(record.node) is not None
        if not is_known and len(self._members) >= self.config.members_max:
            return False
        return is_signed(self.identity, self.cluster, record)

    def _take_rumor(self, turn: Turn, rumor: Rumor) -> None:
        if rumor.node == self.node:
            self._refute(turn, rumor)
            return
        member = self._members.get(rumor.node)
        if member is None or rumor.version != member.record.version:
            return  # older than what its owner says, or of a record that will still arrive
        if rumor.word is Word.FORGOTTEN and self.forget(turn, rumor.node):
            self._grapevine.spread(rumor)
        if not member.is_here:
            return
        match rumor.word:
            case Word.SUSPECTED:
                self._accuse(turn, rumor.node, member, rumor.accuser)
            case Word.REFUSED:
                self._refused(turn, rumor.node, member, rumor.accuser)
            case Word.FAILED:
                self._hear_of_failure(turn, rumor.node, member, rumor.accuser)
            case Word.ENDED:
                member.witnesses.add(rumor.accuser)
                self._fail(turn, rumor.node, member, rumor.accuser)
            case Word.FORGOTTEN:
                pass  # it came back meanwhile

    def _hear_of_failure(self, turn: Turn, node: NodeId, member: Member, accuser: NodeId) -> None:
        """Suspicion comes first, so whoever hears of a failure first of all may be hearing the
        other side of a cut that has healed, or a node that stood still and tells now what it took
        the others' silence for: the accused gets the time to refute."""
        shortest = suspicion_timeout(self.config, len(self.alive()) + 1, 0, 0)
        patience = int(self.config.hearsay_share * shortest)
        known = member.state is State.SUSPECT and turn.now - member.since >= patience
        is_news = member.state is State.ALIVE and member.since == turn.now  # came with its record
        if known or is_news:
            self._fail(turn, node, member, accuser)
        else:
            self._accuse(turn, node, member, accuser)

    def _refute(self, turn: Turn, rumor: Rumor) -> None:
        if rumor.version != self.own.version or self.own.left:
            return
        self._renew_own(left=False)
        self.health.worse()  # perhaps it is this node that is slow
        turn.report(MemberRefuted(self.node, self.own.incarnation))

    # -- knowing the same --------------------------------------------------------------------------

    def _compare_for_a_while(self, turn: Turn) -> None:
        """There was news, which some may have missed."""
        interval = self.config.compare_interval_ns
        if turn.now >= self._compare_until:
            self._timers.set(turn.now + interval, self._compare_with_somebody)
        self._compare_until = turn.now + COMPARISONS * interval

    def _compare_with_somebody(self, turn: Turn) -> None:
        others = self.reach.in_touch() or self.alive()
        if others:
            fingerprint = self._members.digest.fingerprint()
            partner = others[self._random.randrange(len(others))]
            turn.send(partner, ViewSummary(fingerprint, (), is_last=False))
        if turn.now < self._compare_until:
            self._timers.set(
                turn.now + self.config.compare_interval_ns, self._compare_with_somebody
            )

    def _compare(self, turn: Turn, sender: NodeId, fingerprint: bytes) -> None:
        """Ask what differs, if anything does; seldom, for while news spreads much does."""
        digest = self._members.digest
        if fingerprint == digest.fingerprint():
            return
        if turn.now >= self._compared_at + self.config.compare_interval_ns // 2:
            self._compared_at = turn.now
            turn.send(sender, ViewSummary(digest.fingerprint(), digest.sums(), is_last=False))

    def _compare_parts(self, turn: Turn, sender: NodeId, message: ViewSummary) -> None:
        if not message.sums:
            self._compare(turn, sender, message.fingerprint)
            return
        digest = self._members.digest
        parts = digest.differing(message.sums)
        if not parts:
            return
        for page in self._pages(parts, wants_answer=False):
            turn.send(sender, page)
        if not message.is_last:
            turn.send(sender, ViewSummary(digest.fingerprint(), digest.sums(), is_last=True))

    # -- finding each other ------------------------------------------------------------------------

    def _redial(self, turn: Turn) -> None:
        """A call to somebody who is missing. This goes on for ever: it is how two halves of a
        healed team find each other."""
        target, wait = self._reunion.next_call(turn.now)
        self._timers.set(turn.now + wait, self._redial)
        if target is not None:
            self._call(turn, target)

    def _sync(self, turn: Turn) -> None:
        """A comparison with one member, and the rows, which no sum covers; now and then all that is
        known goes to a seed, in case the team is two. To a member it would be most of what an idle
        team of a hundred says."""
        self._timers.set(turn.now + self.config.sync_interval_ns, self._sync)
        others: list[str] = [*self.alive(), *self.seeds]
        if not others:
            return
        target = NodeId(others[self._random.randrange(len(others))])
        if self._members.get(target) is None:
            self._call(turn, target)
            return
        turn.send(target, ViewSummary(self._members.digest.fingerprint(), (), is_last=False))
        rows = tuple(self.reach.rows()[:PAGE_RECORDS_MAX])
        if rows:
            turn.send(target, MemberSync(News(rows=rows), wants_answer=False))

    def _call(self, turn: Turn, target: str) -> None:
        """Exchange everything with a member, or with whoever listens at a seed's address."""
        for page in self._everything(wants_answer=True):
            if self._members.get(NodeId(target)) is not None:
                turn.send(NodeId(target), page)
            else:
                turn.send_to_endpoint(target, page)


def _rumor(node: NodeId, member: Member, accuser: NodeId, word: Word) -> Rumor:
    epoch, incarnation = member.record.version
    return Rumor(node, epoch, incarnation, accuser, word)


def _said(record: MemberRecord) -> tuple[object, ...]:
    """What a node tells of itself, its name and addresses included."""
    return (record.name, record.endpoints, record.metadata)
