"""Settings > Integrations: the pages a security admin lives in, rendered on the server."""
