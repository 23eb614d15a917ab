"""The only code that opens a connection to a customer: guard, deadline, tls, http, curl, syslog."""
