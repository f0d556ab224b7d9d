"""How the outside reaches a node: clients over HTTP, on loopback."""
