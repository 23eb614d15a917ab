"""How many rows of a list are shown, whichever door shows them."""

#: Unless somebody asks for another number; and at the most.
USUAL_ROWS, MOST_ROWS = 50, 1000
