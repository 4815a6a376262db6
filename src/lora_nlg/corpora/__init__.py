"""Corpora and tables of one's own as records, `{"id", "context", "references", …}`: all else goes by these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lora_nlg.corpora.record import Record

if TYPE_CHECKING:
    from lora_nlg.corpora.loading import records

__all__ = ["Record", "records"]


def __getattr__(name: str) -> Any:
    """`records`, loaded when it is first asked for: who only reads prepared records needs no reader of a release."""
    if name != "records":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lora_nlg.corpora import loading

    return loading.records
