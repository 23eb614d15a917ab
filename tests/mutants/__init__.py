"""Breaks in the product, one at a time, to see whether a test beside each notices it; `run` tries them."""
