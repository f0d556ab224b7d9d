"""What an operator may do to the agreement, at the client door.

    POST /v1/transfer  {"to": NAME or ID}    another voter shall lead; {} leaves it open which
    POST /v1/rescue    {"confirm": CLUSTER}  the majority is lost for good: this node's log shall be
                                             the team's, in a new epoch

A transfer is asked of any node, which tells the leader by the links between nodes: the leader's own
door may be out of a client's reach. It is answered when somebody else leads, or with the leader's
reason why nobody does. A rescue is asked of the one node that knows most, and gives up whatever
only others had, be it acknowledged: it has to be confirmed by the cluster's name, and is refused
while a majority of the voters is in sight, unless {"force": true} says that they will not agree
ever again.
"""

from __future__ import annotations

from aiohttp import web

from node.doors.answers import RequestFault, bad_request
from node.doors.bodies import mapping_of
from node.runtime import Runtime
from protocol.diagnosis import is_majority_lost, name_of
from protocol.errors import ChangeRefused, NotPossible
from protocol.identity import NOBODY, NodeId


class AgreementDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [web.post("/v1/transfer", self._transfer), web.post("/v1/rescue", self._rescue)]

    async def _transfer(self, request: web.Request) -> web.StreamResponse:
        wanted = (await mapping_of(request, ("to",))).get("to", "")
        if not isinstance(wanted, str):
            raise bad_request("'to' is a node's name or id")
        to = self._find(wanted) if wanted else NOBODY
        raft = self.peer.raft
        if raft.leader and to and to not in raft.configuration.voters:
            raise ChangeRefused(f"{name_of(self.peer, to)} is no voter, so it cannot lead")
        try:
            return self._told_leader(await self.runtime.transfer(to))
        except ChangeRefused as fault:
            raise ChangeRefused(self._in_names(str(fault))) from None

    def _told_leader(self, leader: NodeId) -> web.Response:
        return web.json_response({"leader": leader, "leader_name": name_of(self.peer, leader)})

    def _find(self, wanted: str) -> NodeId:
        """The node of this name or id."""
        members = self.peer.membership.members()
        if wanted in (self.peer.node, *members):
            return NodeId(wanted)
        found = [node for node in (self.peer.node, *members) if name_of(self.peer, node) == wanted]
        if not found:
            raise RequestFault(404, "NotFound", f"this node knows no node {wanted!r}")
        if len(found) > 1:
            raise RequestFault(
                409,
                "NotPossible",
                f"{len(found)} nodes are called {wanted!r}: name one by its id: {', '.join(found)}",
            )
        return found[0]

    def _in_names(self, text: str) -> str:
        """The same with the names of nodes for their ids."""
        for node in self.peer.membership.members():
            text = text.replace(node, name_of(self.peer, node))
        return text

    async def _rescue(self, request: web.Request) -> web.StreamResponse:
        asked = await mapping_of(request, ("confirm", "force"))
        cluster = self.peer.settings.cluster
        if asked.get("confirm") != cluster:
            raise bad_request(
                f"a rescue gives up whatever only the other voters have, be it acknowledged: "
                f'confirm it by the name of the cluster: {{"confirm": "{cluster}"}}'
            )
        if not is_majority_lost(self.peer) and asked.get("force") is not True:
            raise NotPossible(
                "a majority of the voters is in sight, and will elect a leader: rescue with "
                '{"force": true} only if you know that it never will'
            )
        epoch = int(await self.runtime.rescue())
        meaning = (
            f"this node's log is the team's now, in epoch {epoch}, with this node as its only "
            f"voter; entries that only others had are given up, and who comes back with them takes "
            f"this log"
        )
        return web.json_response(
            {"epoch": epoch, "last_index": self.peer.raft.log.last_index, "meaning": meaning}
        )
