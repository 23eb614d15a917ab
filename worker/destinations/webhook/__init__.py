"""HTTP endpoints that take JSON, signed as Standard Webhooks 1.0.0 says."""
