"""The XML that WebNLG and DART are both released in, read with line numbers and without trust.

`<benchmark><entries><entry category eid size>` holds `<modifiedtripleset><mtriple>s | p | o</mtriple>…` and
`<lex comment lang>text</lex>…`. The enriched WebNLG (https://github.com/ThiagoCF05/webnlg) has the text in
`<lex><text>`, beside other elements, and in some of its files calls the modified triples `<otriple>`. The parser is
defusedxml's: it refuses entity declarations (entity bombs) and external references.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax import ContentHandler, SAXParseException
from xml.sax.handler import ErrorHandler
from xml.sax.xmlreader import AttributesImpl

import defusedxml.sax
from defusedxml import DefusedXmlException

from lora_nlg.corpora.release import clean
from lora_nlg.errors import InputError
from lora_nlg.files import check_readable

MOST_DEPTH = 100
"""Of elements inside each other; a release has seven."""
_TRIPLES = ("mtriple", "otriple")
_BLOCKS = frozenset({"br", "p", "div", "li"})
"""Elements inside a text that part words."""
_BESIDE_TEXT = frozenset({"sortedtripleset", "references", "template", "lexicalization", "tree"})
"""What the enriched WebNLG has in a `<lex>` beside its `<text>`."""


@dataclass
class XmlText:
    """One `<lex>`: its text, its `comment` and `lang` attributes and its line."""

    text: str
    comment: str
    line: int
    lang: str = ""


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
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.entries: list[XmlEntry] = []
        self.root: str | None = None
        self._file = path
        self._open: list[str] = []
        self._characters: list[str] = []
        self._lex: XmlText | None = None

    def setDocumentLocator(self, locator: object) -> None:
        self._locator = locator

    @property
    def _line(self) -> int:
        return int(self._locator.getLineNumber())  # type: ignore[attr-defined]

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.root = self.root or name
        self._open.append(name)
        if len(self._open) > MOST_DEPTH:
            raise InputError(
                f"{self._file}, line {self._line}: elements more than {MOST_DEPTH} deep; no release has that"
            )
        if name == "entry":
            self.entries.append(XmlEntry(self._line, dict(attrs.items())))
        elif name == "lex" and self._lex is None:
            lang = attrs.get("lang", "") or attrs.get("xml:lang", "")
            self._lex = XmlText("", attrs.get("comment", ""), self._line, lang)
            self._characters = []
        elif name == "text" or (name in _TRIPLES and self._lex is None):
            self._characters = []
        elif name in _BLOCKS:
            self._characters.append(" ")

    def characters(self, content: str) -> None:
        if self._lex is None or not _BESIDE_TEXT.intersection(self._open):
            self._characters.append(content)

    def endElement(self, name: str) -> None:
        text = "".join(self._characters).strip() if name in ("lex", "text", *_TRIPLES) else ""
        inside_entry = "entry" in self._open[:-1]
        if inside_entry and name in _TRIPLES and self._open[-2] == "modifiedtripleset":
            self.entries[-1].triples.append(text)
        elif name == "text" and self._lex is not None and self._open[-2] == "lex":
            self._lex.text = text
            self._characters = []
        elif name == "lex" and self._lex is not None and "lex" not in self._open[:-1]:
            self._lex.text = self._lex.text or text
            if inside_entry:
                self.entries[-1].texts.append(self._lex)
            self._lex = None
        self._open.pop()


def read_entries(path: Path) -> list[XmlEntry]:
    """Every entry of a released XML file, in file order.

    Raises:
        InputError: the file is absent, empty, malformed, too deep, declares entities, or is not a `<benchmark>`.
    """
    check_readable(path)
    handler = _EntryHandler(path)
    try:
        defusedxml.sax.parse(str(path), handler, errorHandler=ErrorHandler())
    except SAXParseException as error:
        raise InputError(
            f"{path} is not well-formed XML: {error.getMessage()} at line {error.getLineNumber()}"
        ) from None
    except DefusedXmlException as error:
        raise InputError(f"{path} is refused: it declares entities or external references ({error})") from None
    except InputError:
        raise
    except (ValueError, LookupError) as error:  # of encodings; expat knows none of several bytes but UTF-8 and UTF-16
        raise InputError(f"{path} is in no encoding this reads ({error}); convert it to UTF-8") from None
    if handler.root != "benchmark":
        raise InputError(f"{path} is not a WebNLG or DART release: its root is <{handler.root}>, not <benchmark>")
    if not handler.entries:
        raise InputError(f"{path} holds no <entry>")
    return handler.entries


def split_triple(text: str) -> tuple[str, ...] | None:
    """`s | p | o` as three parts, or None if there are not three or one is empty."""
    parts = tuple(part.strip() for part in text.split(" | "))
    return parts if len(parts) == 3 and all(map(clean, parts)) else None
