"""Workers on several machines: Ray keeps them, the queue of the server stays the one truth. docs/scaling.md."""
