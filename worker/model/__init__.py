"""The words of the trade: events, integrations, deliveries, errors. Imports nothing of ours."""
