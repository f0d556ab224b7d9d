"""The half of Quorate that decides: pure state machines, no socket, clock, thread or file.

A host (a real process, the simulator, a test) feeds events to a `protocol.peer.Peer` and performs
the effects it returns. Everything here is a function of its inputs: same events, same effects.
"""
