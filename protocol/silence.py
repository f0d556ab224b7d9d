"""Silence in the team, noticed well before the time-outs that would end it.

    a follower   its leader's heartbeat is overdue              ─▶ it campaigns (pre-vote first)
    a leader     every other voter owes it an answer            ─▶ it lets somebody else campaign

A leader that is heard and hears nobody commits nothing, and as long as its heartbeats arrive nobody
else is elected (Ongaro, thesis, 6.2: it has to step down). It can do better than that: it is heard,
so it hands over (3.10). One that hears some of the others is left to relays, and to check-quorum.

Silence alone is weak evidence: a disk may be slow, or this very node may not have run for a while.
So who owes a word is asked for it, by probes as in SWIM (Das et al. 2002), which wait for no disk:
QUESTIONS times, one by one. A node that was paused has asked nothing yet when it wakes, and hears
the answers that wait for it before it has asked again.

Invariant: nothing here makes or ends a promise. What follows from silence is what would follow from
other evidence (`Elections.lose_leader`) or from an operator's wish (`Leadership.give_way`).
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.identity import NodeId
from protocol.membership import Membership
from protocol.raft import Raft
from protocol.relaying import Relaying
from protocol.turn import Turn

QUESTIONS = 3


class Silence:
    """See the module's text. Who has owed a word for half of `silence_ns` is asked, and who still
    owes it at the end is taken for gone."""

    def __init__(
        self,
        raft: Raft,
        relaying: Relaying,
        membership: Membership,
        config: RaftConfig,
        now: Nanoseconds,
    ) -> None:
        self._raft = raft
        self._relaying = relaying
        self._membership = membership
        self._config = config
        self._questions = 0
        self._look_at = now

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due; None while there is nobody to listen to."""
        is_listening = self._raft.leadership is not None or self._raft.leader
        return self._look_at if is_listening else None

    def tick(self, turn: Turn) -> None:
        """Look whether somebody is silent."""
        config, now = self._config, turn.now
        owed_since = self._owed_since()
        begin = (now if owed_since is None else owed_since) + config.silence_ns // 2
        if now < begin:
            self._questions, self._look_at = 0, begin
            return
        assert owed_since is not None
        if self._questions < QUESTIONS:
            self._questions += 1
            self._look_at = now + config.vote_repeat_ns
            for node in self._owing():
                self._membership.ask(turn, node)
        elif now < owed_since + config.silence_ns:
            self._look_at = owed_since + config.silence_ns
        else:
            self._questions, self._look_at = 0, now + config.silence_ns
            self._conclude(turn)

    def _owing(self) -> list[NodeId]:
        """Who could break the silence: the leader, or at the leader every other voter."""
        raft = self._raft
        if raft.leadership is None:
            return [raft.leader]
        return [node for node in raft.configuration.members if node != raft.node]

    def _owed_since(self) -> Nanoseconds | None:
        """Since when a word is owed; later than now if it is not due yet, None if nobody owes."""
        raft = self._raft
        if raft.leadership is not None:
            return self._relaying.all_asked_since(self._owing())
        followed_at = raft.elections.heard_leader_at
        if followed_at is None or not raft.may_campaign:
            return None
        heard_at = max(followed_at, self._relaying.heard_at(raft.leader) or 0)
        return heard_at + self._config.heartbeat_ns

    def _conclude(self, turn: Turn) -> None:
        raft = self._raft
        if raft.leadership is not None:
            raft.leadership.give_way(turn, "nobody answers")
        else:
            raft.elections.lose_leader(turn, raft.leader)
