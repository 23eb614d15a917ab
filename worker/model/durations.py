"""Types of settings that are durations: none is longer than sockets, databases and clocks can hold."""

from typing import Annotated

from pydantic import Field

_DAY = 86_400
_YEAR_DAYS = 366

#: Up to a year. Times reckoned from it fit into the 64 bits of the database and of Redis.
Seconds = Annotated[float, Field(le=_YEAR_DAYS * _DAY, allow_inf_nan=False)]
#: Up to a day: the kernel takes no timeout of a socket beyond 2**31 ms (24 days).
SocketSeconds = Annotated[float, Field(le=_DAY, allow_inf_nan=False)]
#: Up to a hundred years, in days.
Days = Annotated[float, Field(le=100 * _YEAR_DAYS, allow_inf_nan=False)]
