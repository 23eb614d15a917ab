"""Numbers in the words of others: Python refuses to read more than 4 300 digits, by an error of its own."""

#: More digits than this no number has that we take: so many always fit into 64 bits.
MOST_DIGITS = 18


def number_in(text: str | bytes) -> int | None:
    """Return the number that stands there in digits alone; None for anything else or a longer one."""
    is_number = text.isdigit() if isinstance(text, bytes) else text.isdecimal()
    return int(text) if is_number and len(text) <= MOST_DIGITS else None
