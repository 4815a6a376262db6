"""A step of many beam searches whose shapes depend on nothing that the device computes.

What `Search` decides on the host (which beams live, which slots are free, how long a history is) is decided here by
the device, so a step needs no answer from it and can be recorded once as a CUDA graph. All A · n rows are computed;
beams that are not there have the sum −inf, are nobody's parents, and their slots are taken anew in the next step. A
place none of whose beams live stands still.

A prompt but for its last token is put into the cache by a forward pass of its own; its last token is the newest token
of its first beam. Slots and ancestors are those of cache.py. A prefix lies in the first l slots of each place, for
good: fused attention takes one block of keys a place, and to join a shared one would copy them all at every step.

Shapes: C places for contexts, the first A of them at work; n beams; S slots of the C that there are, the first ones
attended to; K candidates; W width of the history; L layers; D width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lora_nlg.decoding.constraints import constrain_
from lora_nlg.decoding.selection import Beams, Candidates, best_continuations, next_beams
from lora_nlg.decoding.settings import BeamSettings
from lora_nlg.gpt2.attention import FlatAttention
from lora_nlg.gpt2.inference import InferenceGPT2

SLOT_MULTIPLE = 64  # slots attended to are a multiple of this: few shapes, and aligned for every kernel
# Not cuDNN's: it makes a plan for every new shape, for tens of milliseconds.
KERNELS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def upload(values: NDArray[np.int64], device: torch.device) -> Tensor:
    """An array on the device, without waiting for it."""
    host = torch.from_numpy(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def round_up(slots: int) -> int:
    """The next multiple of `SLOT_MULTIPLE`."""
    return -(-slots // SLOT_MULTIPLE) * SLOT_MULTIPLE


class FixedStep:
    """The state of C searches on the device.

    Args:
        model: the model, laid out for inference.
        settings: of the search.
        places: contexts at work at a time, C.
        slots: slots of each to begin with.
        longest: tokens of the longest prompt.

    Attributes:
        packed: what the last step found, for each place K sums (the bits of fp32), K tokens, K parents, and how many
            slots from the first on are in use; int32, shape (C, 3*K + 1).
    """

    def __init__(self, model: InferenceGPT2, settings: BeamSettings, places: int, slots: int, longest: int) -> None:
        self.model, self.settings, self.device = model, settings, model.device
        n, device, config = settings.beam, model.device, model.config
        self.in_prefix = first = model.prefix_length
        self.n_slots = round_up(slots)
        # Zeros rather than whatever memory held: a masked slot's value is still multiplied by zero.
        shape = (config.n_layer, places, self.n_slots, 2 * config.n_embd)
        self.keys_values = torch.zeros(shape, dtype=model.dtype, device=device)
        if model.prefix is not None:
            self.keys_values[:, :, :first] = model.prefix.transpose(1, 2).flatten(2)[:, None]
        self.ancestors = torch.zeros(places, n, self.n_slots, dtype=torch.bool, device=device)
        self.ancestors[:, :, :first] = True
        own = torch.eye(n, dtype=torch.bool, device=device)  # every row attends to something
        self.ancestors[:, :, first : first + n] = own
        self.slots = torch.arange(first, first + n, device=device).repeat(places, 1)
        self.newest = torch.zeros(places, n, dtype=torch.long, device=device)
        self.position = torch.zeros(places, dtype=torch.long, device=device)  # of the newest tokens
        self.sums = torch.full((places, n), float("-inf"), device=device)
        # What bans and penalties look at: generated tokens, behind the prompt's if semantics say so. A search may run
        # a step too far before the host notices that it is done.
        self.counts_prompt = settings.semantics == "hf"
        width = settings.eval_len + 1 + (longest if self.counts_prompt else 0)
        self.history = torch.zeros(places, n, width, dtype=torch.long, device=device)
        self.length = torch.zeros(places, dtype=torch.long, device=device)
        self.packed = torch.zeros(places, 3 * settings.candidates + 1, dtype=torch.int32, device=device)
        self.end_ids = torch.tensor(settings.end_ids or (), dtype=torch.long, device=device)
        self.row_of = torch.arange(places * n, device=device).view(places, n)
        self.ordinals = torch.arange(1, n + 1, dtype=torch.int32, device=device).repeat(places, 1)
        self.first_sums = torch.full((n,), float("-inf"), device=device)
        self.first_sums[0] = 0.0

    def admit(self, places: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Put new contexts in places, m of them: one forward pass over their prompts but for the last tokens."""
        n, m = self.settings.beam, len(places)
        before = np.array([len(prompt) - 1 for prompt in prompts])
        last = np.array([prompt[-1] for prompt in prompts])
        tokens = np.array([token for prompt in prompts for token in prompt[:-1]], dtype=np.int64)
        positions = np.arange(before.sum()) - np.repeat(before.cumsum() - before, before)
        targets = positions + np.repeat(np.array(places) * self.n_slots + self.in_prefix, before)
        parts = [np.array(places), before, last, tokens, positions, targets]
        if self.counts_prompt:
            parts.append(np.zeros(m * self.history.shape[2], dtype=np.int64))
            for row, prompt in zip(parts[-1].reshape(m, -1), prompts, strict=True):
                row[: len(prompt)] = prompt
        sizes = [len(part) for part in parts]
        uploaded = upload(np.concatenate(parts).astype(np.int64), self.device).split(sizes)
        at, position, newest, stream, positions_there, targets_there = uploaded[:6]
        if len(tokens):
            lengths = [length for length in before.tolist() if length]
            attention = _PromptAttention(self.keys_values, targets_there, lengths)
            self.model.forward(stream, positions_there, attention)
        slot = torch.arange(self.n_slots, device=self.device)
        first = position[:, None] + self.in_prefix
        slots = first + torch.arange(n, device=self.device)  # (m, n)
        ancestors = (slot < first[..., None]) | (slot == slots[..., None])
        self.ancestors.index_copy_(0, at, ancestors)
        self.slots.index_copy_(0, at, slots)
        self.newest.index_copy_(0, at, newest[:, None].expand(m, n).contiguous())
        self.position.index_copy_(0, at, position)
        self.sums.index_copy_(0, at, self.first_sums.expand(m, n).contiguous())
        if self.counts_prompt:
            self.history.index_copy_(0, at, uploaded[6].view(m, 1, -1).expand(m, n, -1).contiguous())
            self.length.index_copy_(0, at, position + 1)
        else:
            self.length.index_fill_(0, at, 0)

    def retire(self, places: Sequence[int]) -> None:
        """Leave nobody alive in places whose searches are done."""
        at = upload(np.array(places, dtype=np.int64), self.device)
        self.sums.index_fill_(0, at, float("-inf"))
        for state in (self.length, self.position):  # one step too far was in bounds, another might not be
            state.index_fill_(0, at, 0)

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy searches to other places."""
        source, target = upload(np.array([sources, targets], dtype=np.int64), self.device)
        for layer in self.keys_values:
            layer.index_copy_(0, target, layer.index_select(0, source))
        for state in (self.ancestors, self.slots, self.newest, self.position, self.sums, self.history, self.length):
            state.index_copy_(0, target, state.index_select(0, source))

    def grow(self, slots: int) -> None:
        """Have room for so many slots, and some more; a step recorded before must be recorded again."""
        added = round_up(max(slots, self.n_slots * 5 // 4)) - self.n_slots
        self.keys_values = F.pad(self.keys_values, (0, 0, 0, added))
        self.ancestors = F.pad(self.ancestors, (0, added))
        self.n_slots += added

    def __call__(self, A: int, S: int) -> None:
        """One step of the first A places over their first S slots; all slots in use and n more must be among them."""
        n = self.settings.beam
        length = self.length[:A]
        attention = _BeamAttention(self.keys_values, self.slots[:A], self.ancestors[:A, :, :S])
        with sdpa_kernel(KERNELS):
            hidden = self.model.forward(self.newest[:A].flatten(), _each(self.position[:A], n), attention)
        logits = self.model.logits(hidden)
        history = self.history[:A].view(A * n, -1)
        normaliser = constrain_(logits, history, _each(length, n), self.end_ids, self.settings)
        row_of, K = self.row_of[:A], self.settings.candidates
        candidates = best_continuations(logits, normaliser, self.sums[:A], row_of, K)
        beams = next_beams(candidates, self.end_ids, self.settings)
        used = self._take_slots(beams, S)
        self._pack(candidates, used)
        grown = beams.alive.any(1).long()
        history = self.history[:A].gather(1, beams.parents[..., None].expand(-1, -1, self.history.shape[2]))
        history.scatter_(2, length[:, None, None].expand(-1, n, 1), beams.tokens[..., None])
        self.history[:A] = history
        length += grown
        self.position[:A] += grown
        self.sums[:A] = beams.sums
        self.newest[:A] = beams.tokens

    def _take_slots(self, beams: Beams, S: int) -> Tensor:
        """Follow the beams and give each the lowest free slot for its newest token. Returns slots in use, (A,)."""
        A = len(beams.sums)
        ancestors = self.ancestors[:A, :, :S].gather(1, beams.parents[..., None].expand(-1, -1, S))
        # Of dead beams nothing is left: past the slots in use, no row holds anything.
        ancestors &= beams.alive[..., None]
        if self.in_prefix:
            ancestors[..., : self.in_prefix] = True
        taken = ancestors.any(1)  # (A, S)
        slots = torch.searchsorted((~taken).cumsum(1, dtype=torch.int32), self.ordinals[:A])  # the j-th free one
        self.ancestors[:A, :, :S] = ancestors.scatter_(2, slots[..., None], True)
        self.slots[:A] = slots
        highest = (taken * torch.arange(S, device=self.device)).amax(1)
        return torch.maximum(highest, slots.amax(1)) + 1

    def _pack(self, candidates: Candidates, used: Tensor) -> None:
        K, packed = self.settings.candidates, self.packed[: len(used)]
        packed[:, :K] = candidates.sums.contiguous().view(torch.int32)
        packed[:, K : 2 * K] = candidates.tokens
        packed[:, 2 * K : 3 * K] = candidates.parents
        packed[:, 3 * K] = used


def _each(values: Tensor, n: int) -> Tensor:
    """Every value n times, (A,) -> (A * n,)."""
    return values[:, None].expand(-1, n).flatten()


class _BeamAttention:
    """The newest token of every beam attends to its ancestors' slots.

    Args:
        keys_values: the cache, shape (L, C, slots, 2*D).
        slots: where each beam's newest token goes, shape (A, n).
        ancestors: the slots each beam attends to, shape (A, n, S).
    """

    def __init__(self, keys_values: Tensor, slots: Tensor, ancestors: Tensor) -> None:
        self.prefix: Tensor | None = None  # which lies in the cache
        self.keys_values = keys_values
        self.A, self.n, self.S = ancestors.shape
        first = torch.arange(self.A, device=slots.device)[:, None] * keys_values.shape[2]
        self.targets = (first + slots).flatten()
        mask = torch.zeros(ancestors.shape, dtype=keys_values.dtype, device=slots.device)
        self.mask = mask.masked_fill_(~ancestors, float("-inf"))[:, None]

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(A * n, 3*D) -> (A * n, D); see `lora_nlg.gpt2.Attention`."""
        D = qkv.shape[1] // 3
        stored = self.keys_values[layer]
        stored.view(-1, 2 * D).index_copy_(0, self.targets, qkv[:, D:])
        q = qkv[:, :D].view(self.A, self.n, n_head, -1).transpose(1, 2)  # (A, H, n, D/H)
        k, v = stored[: self.A, : self.S].view(self.A, self.S, 2, n_head, -1).permute(2, 0, 3, 1, 4)  # (A, H, S, D/H)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        return out.transpose(1, 2).reshape(self.A * self.n, D)


class _PromptAttention:
    """Prompts attend to themselves and leave their keys and values in the cache.

    Args:
        keys_values: the cache, shape (L, C, slots, 2*D).
        targets: where each token goes, among C * slots; shape (T,).
        lengths: tokens of each prompt, all positive.
    """

    def __init__(self, keys_values: Tensor, targets: Tensor, lengths: Sequence[int]) -> None:
        self.prefix: Tensor | None = None
        self.keys_values, self.targets = keys_values, targets
        self.packed = FlatAttention(lengths, targets.device)

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(T, 3*D) -> (T, D); see `lora_nlg.gpt2.Attention`."""
        D = qkv.shape[1] // 3
        self.keys_values[layer].view(-1, 2 * D).index_copy_(0, self.targets, qkv[:, D:])
        self.packed.prefix = self.prefix
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, *KERNELS]):
            return self.packed(layer, qkv, n_head)
