"""Attacks that succeeded once, replayed."""
