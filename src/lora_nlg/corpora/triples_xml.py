"""The XML that WebNLG and DART are both released in, read with line numbers and without trust.

`<benchmark><entries><entry category eid size>` holds `<modifiedtripleset><mtriple>s | p | o</mtriple>…` and
`<lex comment>text</lex>…`. The parser is defusedxml's: it refuses entity declarations (entity bombs) and
external references.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax import ContentHandler, SAXParseException
from xml.sax.handler import ErrorHandler
from xml.sax.xmlreader import AttributesImpl

import defusedxml.sax
from defusedxml import DefusedXmlException

from lora_nlg.errors import InputError


@dataclass
class XmlText:
    """One `<lex>`: its text, its `comment` attribute and its line."""

    text: str
    comment: str
    line: int


@dataclass
class XmlEntry:
    """One `<entry>` as it stands.

    Attributes:
        line: the line of its opening tag.
        attributes: category, eid, size.
        triples: the modified triples as text, `subject | property | object`.
        texts: its `<lex>` elements.
    """

    line: int
    attributes: dict[str, str]
    triples: list[str] = field(default_factory=list)
    texts: list[XmlText] = field(default_factory=list)


class _EntryHandler(ContentHandler):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[XmlEntry] = []
        self.root: str | None = None
        self._path: list[str] = []
        self._characters: list[str] = []
        self._comment, self._line = "", 0

    def setDocumentLocator(self, locator: object) -> None:
        self._locator = locator

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.root = self.root or name
        self._path.append(name)
        self._characters = []
        self._line = self._locator.getLineNumber()  # type: ignore[attr-defined]
        if name == "entry":
            self.entries.append(XmlEntry(self._line, dict(attrs.items())))
        elif name == "lex":
            self._comment = attrs.get("comment", "")

    def characters(self, content: str) -> None:
        self._characters.append(content)

    def endElement(self, name: str) -> None:
        text = "".join(self._characters).strip()
        inside_entry = "entry" in self._path[:-1]
        if inside_entry and self._path[-2:] == ["modifiedtripleset", "mtriple"]:
            self.entries[-1].triples.append(text)
        elif inside_entry and name == "lex":
            self.entries[-1].texts.append(XmlText(text, self._comment, self._line))
        self._path.pop()
        self._characters = []


def read_entries(path: Path) -> list[XmlEntry]:
    """Every entry of a released XML file, in file order.

    Raises:
        InputError: the file is absent, empty, malformed, declares entities, or is not a `<benchmark>`.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    handler = _EntryHandler()
    try:
        defusedxml.sax.parse(str(path), handler, errorHandler=ErrorHandler())
    except SAXParseException as error:
        raise InputError(
            f"{path} is not well-formed XML: {error.getMessage()} at line {error.getLineNumber()}"
        ) from None
    except DefusedXmlException as error:
        raise InputError(f"{path} is refused: it declares entities or external references ({error})") from None
    except (UnicodeError, LookupError) as error:
        raise InputError(f"{path} is in no encoding this reads ({error}); convert it to UTF-8") from None
    if handler.root != "benchmark":
        raise InputError(f"{path} is not a WebNLG or DART release: its root is <{handler.root}>, not <benchmark>")
    if not handler.entries:
        raise InputError(f"{path} holds no <entry>")
    return handler.entries


def split_triple(text: str) -> tuple[str, ...] | None:
    """`s | p | o` as three parts, or None if there are not three or one is empty."""
    parts = tuple(part.strip() for part in text.split(" | "))
    return parts if len(parts) == 3 and all(parts) else None
