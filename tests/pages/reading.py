"""Reads pages with a parser of the standard library: what is text, what is an element, what a form holds."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    """One opening tag."""

    name: str
    attributes: dict[str, str]


@dataclass
class Page(HTMLParser):
    """A page: its elements in order, and its text with single spaces."""

    markup: str
    elements: list[Element] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read it."""
        super().__init__(convert_charrefs=True)
        self.feed(self.markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words += data.split()

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join(self.words)

    def all(self, tag: str, /, **attributes: str) -> list[Element]:
        """Return the elements of this tag that have all of these attributes."""
        return [
            one for one in self.elements if one.name == tag and attributes.items() <= one.attributes.items()
        ]

    def value_of(self, field_name: str) -> str:
        """Return the value of the first input of this name."""
        [first, *_] = self.all("input", name=field_name)
        return first.attributes.get("value", "")
