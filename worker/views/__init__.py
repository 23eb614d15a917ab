"""The JSON shape of each resource, the same for the API and for `siem … --json`."""
