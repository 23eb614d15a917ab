"""The oracle: chaos for a set time, then an account of every event that was acknowledged to a publisher."""
