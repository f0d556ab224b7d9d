"""The ways into a node for clients."""

PACKED = "application/x-quorate-job"  # a job as the codec packs it
