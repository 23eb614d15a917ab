"""CEF over syslog, by TCP, TLS or UDP."""
