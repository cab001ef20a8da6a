"""Jobs: a durable queue, the workers that make them, and their folder. It knows production, and no HTTP."""
