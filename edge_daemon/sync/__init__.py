"""Results to the central server: the wire protocol, the outbox, and the client that empties it."""
