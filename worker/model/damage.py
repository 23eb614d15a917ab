"""What stands where others may write, Redis above all, may be anything: what reading it may raise."""

import msgspec

#: Catch these wherever such bytes are decoded. The last one is for what is nested too deeply, which msgspec
#: reports even of a field that is skipped. How deep that is depends on how many calls are on the stack.
DAMAGED = (msgspec.MsgspecError, ValueError, RecursionError)
