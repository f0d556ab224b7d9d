"""The ways into a node for clients."""

JSON = "application/json"
YAML = "application/yaml"
PACKED = "application/x-quorate-job"  # a job as the codec packs it
