"""One file per step, in order; each is final once released."""
