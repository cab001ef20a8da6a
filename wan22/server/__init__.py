"""The HTTP server: the API of OpenAI's videos, and our own of jobs. It knows the queue, and no model."""
