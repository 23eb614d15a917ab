"""Splunk over its HTTP Event Collector."""
