"""A deterministic simulator: the same `Peer`, virtual time, and every fault that a seed draws.

    python -c "from protocol.sim.scenario import simulate; print(simulate(seed=7).summary())"

One heap of events, integer nanoseconds, real bytes through the real codec on every hop.
"""
