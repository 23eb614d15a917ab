"""`siem up`: one command that runs everything on one machine, and one Ctrl-C that ends it.

Settings go in; an embedded server, a ledger of this release and every process of the Procfile come out.
Whatever ends first takes the rest down in good order, the server last, and nothing stays behind.
"""

from worker.up.stack import Stack, StackHandle, run_up

__all__ = ["Stack", "StackHandle", "run_up"]
