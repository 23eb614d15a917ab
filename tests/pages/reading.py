"""Reads pages with a parser of the standard library: what is text, what is an element, what a form holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: What a browser sends of a form: the values of each field by name.
Fields = dict[str, list[str]]


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
    #: What the form of the page's body would send if nothing were changed in it.
    filled: Fields = field(default_factory=dict)
    _selected: str = ""
    _written: str | None = None

    def __post_init__(self) -> None:
        """Read it."""
        super().__init__(convert_charrefs=True)
        self.feed(self.markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element, and what is filled in there."""
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, attributes))
        match tag:
            case "input":
                self._note_input(attributes)
            case "select":
                self._selected = attributes.get("name", "")
            case "option" if self._selected and (
                "selected" in attributes or self._selected not in self.filled
            ):
                self.filled[self._selected] = [attributes.get("value", "")]
            case "textarea":
                self._written = attributes["name"]
                self.filled[self._written] = [""]

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a field."""
        if tag == "select":
            self._selected = ""
        elif tag == "textarea":
            self._written = None

    def _note_input(self, attributes: Mapping[str, str]) -> None:
        if attributes.get("type") != "checkbox" or "checked" in attributes:
            values = self.filled.setdefault(attributes.get("name", ""), [])
            values.append(attributes.get("value", ""))

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self._written is not None:
            self.filled[self._written][0] += data
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
