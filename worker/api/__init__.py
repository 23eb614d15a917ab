"""The HTTP API, under `/api/v1`: parse, call one step or edge, answer. Each route knows its tenant."""
