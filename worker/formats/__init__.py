"""Events to bytes, for each kind of SIEM. Pure: no clock, no network, no settings."""
