"""The only code that speaks Redis: where events wait, who holds them, and what became of them.

Streams hold the events, Lua scripts make each step all or nothing, and every name of a key stands in
`worker.broker.keys`.
"""
