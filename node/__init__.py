"""The half of Quorate that acts: one process around one `protocol.peer.Peer`."""
