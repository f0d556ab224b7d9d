"""Every number that a peer obeys, in one place, with the reason beside it.

`local()` is for processes on one machine, `lan()` for one site, `wan()` for several. They differ
in time only; sizes are the same everywhere. Times are integer nanoseconds. All nodes of a team run
with the same preset, and take no other into it: a leader counts on it that the others promise a
lease as long as its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """SWIM (Das et al. 2002) over connections."""

    probe_interval_ns: Nanoseconds = SECOND
    probe_timeout_ns: Nanoseconds = 400 * MILLISECOND  # above the 99th percentile of a round trip
    probe_timeout_max: int = 15  # times that, where round trips have come to take so long
    indirect_probes: int = 3  # SWIM's k: a lossy path blames a member with probability loss^(2k)
    health_max: int = 8  # Lifeguard's S: a node in trouble waits up to 9 times as long
    suspicion_alpha: float = 1.2  # times log10(N) intervals: a refutation is there in a tenth of it
    suspicion_beta: float = 6.0  # so many times longer for who is the only one to accuse
    confirmations_max: int = 3  # accusers beside the first that make the time-out its shortest
    hearsay_share: float = 0.5  # of the shortest time-out, before another's verdict counts here
    distrust: float = 1.0  # longest time-outs: whoever was silent itself is not believed at once
    second_opinions: int = 6  # of those who hear of a suspicion, so many look for themselves
    witnesses: int = 2  # whose connections were refused make a member dead (one, if N <= 3)
    late_ns: Nanoseconds = 250 * MILLISECOND  # a timer so late: this node is short of time, and
    listen_ns: Nanoseconds = 20 * MILLISECOND  # hears first what came meanwhile
    pause_ns: Nanoseconds = 2 * SECOND  # a timer so late: this node stood still, nobody is to blame
    retransmit_multiplier: int = 4  # news rides on 4 * ceil(log10(N + 1)) messages
    piggyback_max: int = 12  # pieces of news per message: about 3 kB
    gather_ns: Nanoseconds = (
        20 * MILLISECOND
    )  # news that comes so soon after other news goes with it
    compare_interval_ns: Nanoseconds = 200 * MILLISECOND  # views are compared, while there is news
    sync_interval_ns: Nanoseconds = 15 * SECOND  # a seed or member is called, in case we are two
    redial_interval_ns: Nanoseconds = SECOND  # budget: one failed member or seed dialled a second
    flap_half_life_ns: Nanoseconds = 60 * SECOND  # a return after a failure counts half by then
    forget_after_ns: Nanoseconds = 24 * 3_600 * SECOND  # a weekend's outage of one site is over
    members_max: int = 10_000


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """Push at once, repair by digest."""

    tick_ns: Nanoseconds = 200 * MILLISECOND  # what push missed is repaired within a few of these
    quiet_tick_ns: Nanoseconds = (
        SECOND  # while nothing is written, so that an idle team costs little
    )
    quiet_after: int = 10  # ticks without news
    fanout_min: int = 2  # f = clamp(ceil(ln N) + 1, fanout_min, fanout_max)
    fanout_max: int = 6
    forwards_max: int = 4  # a tick, of what its author tells everybody; digests do the rest
    author_fanout: int = 16  # an author tells so many itself: of these chance leaves out nobody
    delta_size_max: int = 512 * 1024  # bytes per exchange; a larger batch still goes, alone
    push_size_max: int = 32 * 1024  # bytes; what is larger is announced, and fetched from one node
    pace_min: float = 50.0  # entries a second that a node may write however overloaded the team is
    pace_step: float = 5.0  # entries a second more, each tick that is not overloaded
    pace_calm_ticks: int = 25  # without overload and with nothing that waits: no limit any more
    pace_waiting_max: int = 10_000  # keys whose values wait; beyond that they are written at once
    collect_interval_ns: Nanoseconds = 5 * SECOND  # what all have and nothing counts of is dropped
    horizon_ns: Nanoseconds = 600 * SECOND  # a minority away for longer is not waited for with that
    entries_per_author_max: int = 200_000  # that are held at a time
    size_per_author_max: int = 256 * 1024 * 1024  # bytes of them


@dataclass(frozen=True, slots=True)
class OverlayConfig:
    """HyParView and Plumtree (Leitao, Pereira and Rodrigues 2007), for teams in which nobody can
    know everybody: above some 2,000 members."""

    active_max: int = 5  # neighbours; HyParView, section 5.1, for 10,000 nodes
    passive_max: int = 30  # contacts to replace them from
    join_walk: int = 6  # hops (ARWL)
    join_walk_passive: int = 3  # hops left at which the newcomer becomes a contact (PRWL)
    shuffle_walk: int = 6  # hops
    shuffle_active: int = 3  # neighbours among what is offered
    shuffle_passive: int = 4  # contacts among it
    shuffle_interval_ns: Nanoseconds = 10 * SECOND  # a cycle
    request_timeout_ns: Nanoseconds = SECOND  # a contact that is silent for so long is dropped
    have_delay_ns: Nanoseconds = 20 * MILLISECOND  # what is had is told together, so seldom
    missing_timeout_ns: Nanoseconds = 400 * MILLISECOND  # the tree gets so long before a graft
    graft_timeout_ns: Nanoseconds = 200 * MILLISECOND  # and each who has it, one after the other
    shortcut_hops: int = 7  # a way that is so much shorter is worth a change of the tree
    broadcasts_kept: int = 512  # payloads, for whoever missed them


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Raft's times: broadcast time << election time-out << time between failures (paper, 5.6)."""

    heartbeat_ns: Nanoseconds = 250 * MILLISECOND  # two may be lost before anybody campaigns
    election_timeout_ns: Nanoseconds = 800 * MILLISECOND  # drawn from [T, 2T)
    vote_repeat_ns: Nanoseconds = 50 * MILLISECOND  # a candidate asks again those who were silent
    lease_ns: Nanoseconds = 100 * MILLISECOND  # nobody votes so soon after a word of the leader
    lease_margin: float = 0.1  # of it are not used, since clocks may differ so much in their rate
    append_size_max: int = 512 * 1024  # bytes of entries in one Append
    inflight_max: int = 128  # unanswered Appends per follower
    inflight_size_max: int = 8 * 1024 * 1024  # and their bytes: a round trip at 100 MB/s
    uncommitted_max: int = 10_000  # entries a leader keeps uncommitted before it takes no more
    uncommitted_size_max: int = 64 * 1024 * 1024  # and their bytes
    reads_max: int = 10_000  # that wait at the leader
    lesson_retry_ns: Nanoseconds = 300 * MILLISECOND  # then somebody else is asked to teach
    snapshot_part_size: int = 256 * 1024  # bytes: small enough to leave room for heartbeats
    compact_entries: int = 10_000  # applied since the last snapshot before there is a new one
    compact_size: int = 32 * 1024 * 1024  # or their bytes, or as many as the last snapshot has
    trailing_entries: int = 2_000  # kept before the snapshot, for followers that are not far behind
    disk_stall_ns: Nanoseconds = 2 * SECOND  # without an answer of the disk: others shall lead
    disk_rate_min: int = 8 * 1024 * 1024  # bytes/s: a snapshot may take so much longer to write
    silence_ns: Nanoseconds = 400 * MILLISECOND  # so long a word may be overdue, though asked for
    relay_after_ns: Nanoseconds = 250 * MILLISECOND  # well above any answer in good order
    reach_window_ns: Nanoseconds = 6 * SECOND  # every member has probed every other by then
    commit_notice_ns: Nanoseconds = 0  # at most so often goes a message that only tells a commit
    gather_ns: Nanoseconds = 20 * MILLISECOND  # at most so often go entries of the team's
    spread_interval_ns: Nanoseconds = 10 * MILLISECOND  # at most so often to those who learn
    council_size: int = 5  # voters; two may fail
    settle_ns: Nanoseconds = 2 * SECOND  # wait this long for expected members before choosing
    replace_after_ns: Nanoseconds = 5 * SECOND  # a voter that failed may come back so long
    stable_ns: Nanoseconds = 2 * SECOND  # who takes its place has been there so long
    caught_up_entries: int = 100  # a learner that lacks no more than these may be made a voter
    leave_timeout_ns: Nanoseconds = 3 * SECOND  # for the others to do without a voter that leaves


@dataclass(frozen=True, slots=True)
class ClerkConfig:
    """What clients of one node may have waiting."""

    timeout_ns: Nanoseconds = 10 * SECOND  # then the client is told TimedOut
    retry_ns: Nanoseconds = 400 * MILLISECOND  # without any answer: what was sent is sent again
    reorder_ns: Nanoseconds = 50 * MILLISECOND  # so late is lost, if a later one has come
    requests_max: int = 50_000  # that wait, beyond which clients are told Busy
    window_max: int = 10_000  # commands on their way to the leader
    batch_size_max: int = 512 * 1024  # bytes of commands in one log entry


@dataclass(frozen=True, slots=True)
class TeamConfig:
    """Claims and leases."""

    slots: int = 1  # agents that one node runs at a time
    lease_ns: Nanoseconds = 10 * SECOND  # a holder not heard of for this long loses the task
    renew_ns: Nanoseconds = 3 * SECOND  # three renewals may be lost
    patience_ns: Nanoseconds = 60 * MILLISECOND  # a unit is left so long to whose turn it is
    yield_ns: Nanoseconds = 5 * MILLISECOND  # what suits another node best is left to it so long:
    # news of its being free, and of its claim, takes about that
    tell_ns: Nanoseconds = 150 * MILLISECOND  # a claim that nobody disputes waits so long for its
    # result to make it needless; well below `lease_ns`
    begin_ns: Nanoseconds = 2 * SECOND  # so long a holder may take to tell that it has begun
    propose_retry_ns: Nanoseconds = (
        500 * MILLISECOND
    )  # a proposal without visible effect is repeated
    submit_timeout_ns: Nanoseconds = 10 * SECOND  # then the client is told TimedOut
    pending_max: int = 1_000  # wishes of this node, beyond which clients are told Busy
    handed_in_max: int = 64  # own results that wait for a majority; then nothing new is begun
    reviews_max: int = 2  # of others' results at a time, beside the own agents
    review_patience_ns: Nanoseconds = 2 * SECOND  # then the next node reviews it as well
    model_patience_ns: Nanoseconds = 30 * SECOND  # the same where a model is asked
    notes_max: int = 5  # FAIL notes that reach a prompt: the newest ones
    failures_in_a_row: int = 3  # then a node pauses, while others do better
    pause_first_ns: Nanoseconds = SECOND  # doubles with every further failure
    pause_max_ns: Nanoseconds = 30 * SECOND
    leave_failed_ns: Nanoseconds = 30 * SECOND  # who failed a task leaves it so long to the others,
    leave_failed_max_ns: Nanoseconds = 300 * SECOND  # twice as long each time: they may be busy
    outage_max_ns: Nanoseconds = 600 * SECOND  # an endpoint that is away for longer fails a task
    never_reached_max_ns: Nanoseconds = 120 * SECOND  # likewise if its address never was right


@dataclass(frozen=True, slots=True)
class Config:
    """A peer's configuration."""

    membership: MembershipConfig = MembershipConfig()
    gossip: GossipConfig = GossipConfig()
    overlay: OverlayConfig = OverlayConfig()
    raft: RaftConfig = RaftConfig()
    clerk: ClerkConfig = ClerkConfig()
    team: TeamConfig = TeamConfig()


def lan() -> Config:
    """One site: round trips below 10 ms."""
    base = Config()
    # Under load the next entries tell what is committed, and a message that does nothing else
    # costs a follower as much as an entry does.
    return replace(base, raft=replace(base.raft, commit_notice_ns=2 * MILLISECOND))


def local() -> Config:
    """Processes of one machine: round trips are microseconds, but a busy machine may not run a
    process for a tenth of a second, so time-outs stay well above that."""
    base = lan()
    return replace(
        base,
        membership=replace(
            base.membership,
            probe_interval_ns=500 * MILLISECOND,  # probes burden no network
            probe_timeout_ns=250 * MILLISECOND,  # twice such a tenth, and a little
            redial_interval_ns=500 * MILLISECOND,  # a dial is answered or refused at once
        ),
        raft=replace(base.raft, silence_ns=300 * MILLISECOND),  # no packet is lost and sent again
    )


def wan() -> Config:
    """Several sites: round trips up to 300 ms, or a second more where TCP sends a packet again."""
    base = lan()
    return replace(
        base,
        membership=replace(
            base.membership,
            probe_interval_ns=3 * SECOND,  # ten round trips; SWIM asks for three (3.1)
            probe_timeout_ns=SECOND + 500 * MILLISECOND,  # a round trip with a lost packet
            redial_interval_ns=2 * SECOND,  # a dial is three round trips: TCP, TLS, WebSocket
        ),
        gossip=replace(
            base.gossip,
            tick_ns=500 * MILLISECOND,  # summary, digest and delta: one and a half round trips
            quiet_tick_ns=2 * SECOND,  # what goes between sites is often paid for
        ),
        raft=replace(
            base.raft,
            heartbeat_ns=500 * MILLISECOND,  # its answer is there before the next
            election_timeout_ns=3 * SECOND,  # six heartbeats; a lost packet costs two of them
            vote_repeat_ns=500 * MILLISECOND,  # no answer can be there before a round trip
            lease_ns=SECOND,  # renewed in a heartbeat and a round trip; a tenth is not used
            silence_ns=2 * SECOND,  # half of it for a lost packet, then questions, one a round trip
            relay_after_ns=SECOND,  # three round trips
            reach_window_ns=20 * SECOND,  # as many intervals of the probes as elsewhere
            replace_after_ns=20 * SECOND,  # a newcomer must fetch the log from another site
            disk_stall_ns=4 * SECOND,  # to hand over costs more, for the next has to be elected
        ),
        clerk=replace(base.clerk, retry_ns=2 * SECOND),  # two round trips, with a lost packet
        team=replace(
            base.team,
            lease_ns=30 * SECOND,  # three renewals may be lost
            renew_ns=8 * SECOND,  # each is told to all sites
            patience_ns=500 * MILLISECOND,  # whoever has its turn is heard by then
            yield_ns=150 * MILLISECOND,  # half a round trip
            begin_ns=5 * SECOND,  # the same with a lost packet, or a few ticks of gossip
            propose_retry_ns=2 * SECOND,  # to the leader, to a majority, and word of it
        ),
    )


PRESETS = {"local": local, "lan": lan, "wan": wan}
