"""A deterministic simulator: the same `Peer`, virtual time, and every fault that a seed draws.

    python -c "from protocol.sim.scenario import simulate; print(simulate(seed=7).summary())"

A seed is turned into a `Plan` (sizes, knobs, conditions, and a list of timed faults), and the plan
is carried out in a `World`: one heap of events, integer nanoseconds, real bytes through the real
codec on every hop. Checkers look on; `shrink` makes a failing plan small.
"""
