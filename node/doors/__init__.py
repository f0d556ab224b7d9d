"""The ways into a node for clients."""

JSON = "application/json"
YAML = "application/yaml"
MSGPACK = "application/msgpack"
OCTETS = "application/octet-stream"
PACKED = "application/x-quorate-job"  # a job as the codec packs it
