"""The OpenAI-compatible shim, its backends, and the life of a server process."""
