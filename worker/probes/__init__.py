"""Whether this process lives and can do its work, for what starts and restarts it."""
