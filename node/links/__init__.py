"""Links to the other nodes: WebSockets under mutual TLS, and who is at their other end."""
