"""Seals and opens the secrets of integrations; used by the ledger and by delivery."""
