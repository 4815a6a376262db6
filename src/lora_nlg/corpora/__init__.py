"""Corpora and tables of one's own as records, `{"id", "context", "references", …}`: all else goes by these."""

from lora_nlg.corpora.loading import records
from lora_nlg.corpora.record import Record

__all__ = ["Record", "records"]
