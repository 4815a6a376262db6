"""A page to try runs on: ask them, turn alpha/r, rank anew, see what was sure and what was said.

In order: `corpus` (contexts on offer), `slots` (what a text says), `words` (how sure of it the model was), `systems`
(runs at any scale of their update), `engine` (questions and answers). None of these knows of a page; `server` puts
one on top, in the browser of this machine alone.
"""

from lora_nlg.playground.corpus import Corpus
from lora_nlg.playground.engine import Answer, Playground, Question
from lora_nlg.playground.slots import SlotFinder, SlotState
from lora_nlg.playground.systems import System, load_systems

__all__ = ["Answer", "Corpus", "Playground", "Question", "SlotFinder", "SlotState", "System", "load_systems"]
