"""Keys and values of a batch of beam searches: a prompt once for all its beams, nothing ever copied or reordered.

Each context owns one row of slots. Its prompt lies in slots 0 … P−1; the token that beam j appends goes into a free
slot. A beam is the set of slots it descends from, kept as a row of booleans:

    slots       0 1 2 | 3 4 | 5 6         prompt of 3, two beams, third step
    beam 0      x x x | . x | x .         slot 3's token has no living descendant: it is free
    beam 1      x x x | . x | . x         both beams continue the token in slot 4

When beams are ranked anew, rows of booleans are gathered and keys and values stay where they are. All beams of a
context are the queries of one attention over its slots. Beams of one context soon share all but their last tokens,
so slots fall free about as fast as they are taken, and their number stays near P + generated tokens.

A prefix has no slots: it is there once for all contexts (`SharedPrefix`), and its scores join those of a context's
slots in one softmax.

Shapes: C places for contexts, the first A of them in use; n beams; S slots; T rows of the stream; l positions of a
prefix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_nlg.gpt2.config import GPT2Config
from lora_nlg.gpt2.inference import FrozenLinear

GROWTH = 64  # slots added when a context runs out of them
SLOT_MULTIPLE = 32  # slots attended to are a multiple of this: whole vectors, and no product too small for a kernel
PREFIX_MULTIPLE = 16  # scores of a prefix are filled up to a multiple of this: whole vectors too


class BeamCache:
    """Keys and values of up to C contexts.

    Args:
        config: the model's shape.
        places: contexts at a time, C.
        beam: beams of each, n.
        slots: slots to begin with; more are added as needed.
        dtype, device: of the keys and values.
    """

    def __init__(
        self, config: GPT2Config, places: int, beam: int, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.n_head = config.n_head
        slots = -(-slots // SLOT_MULTIPLE) * SLOT_MULTIPLE
        shape = (config.n_layer, 2, places, config.n_head, slots, config.head_dim)
        # Zeros rather than whatever memory held: a masked slot's value is still multiplied by zero.
        self.keys_values = torch.zeros(shape, dtype=dtype, device=device)
        self.ancestors = torch.zeros(places, beam, slots, dtype=torch.bool, device=device)
        self.slots = torch.zeros(places, beam, dtype=torch.long, device=device)
        self.used = 0  # slots beyond this one are free in all places
        self._prefix: Tensor | None = None
        self._shared: list[SharedPrefix] = []

    @property
    def n_slots(self) -> int:
        """S."""
        return self.ancestors.shape[2]

    def admit(self, place: int, prompt_length: int) -> None:
        """Give a place to a new context, whose prompt the next forward pass will write."""
        self._grow_to(prompt_length)
        self.ancestors[place] = False
        self.ancestors[place, :, :prompt_length] = True
        self.used = max(self.used, prompt_length)

    def move(self, source: int, target: int) -> None:
        """Copy a context to another place."""
        self.keys_values[:, :, target, :, : self.used] = self.keys_values[:, :, source, :, : self.used]
        self.ancestors[target] = self.ancestors[source]
        self.slots[target] = self.slots[source]

    def advance(self, parents: Tensor, alive: Tensor) -> None:
        """Follow the beams after a step and give each a slot for its newest token.

        Args:
            parents: the beam each new beam continues, shape (A, n).
            alive: which new beams are there, shape (A, n).
        """
        A, n = parents.shape
        ancestors = self.ancestors[:A].gather(1, parents[..., None].expand(-1, -1, self.n_slots))
        taken = (ancestors & alive[..., None]).any(1)  # (A, S)
        self._grow_to(int(taken.sum(1).max()) + n)
        if self.n_slots > taken.shape[1]:
            added = self.n_slots - taken.shape[1]
            taken, ancestors = F.pad(taken, (0, added)), F.pad(ancestors, (0, added))
        # The lowest free slots, so that few slots are in use and a context's slots don't depend on its neighbours.
        free = taken.to(torch.uint8).sort(dim=1, stable=True).indices[:, :n]
        self.slots[:A] = free
        self.ancestors[:A] = ancestors.scatter(2, free[..., None], True)
        self.used = int(self.ancestors[:A].any(0).any(0).nonzero().max()) + 1

    def shared(self, prefix: Tensor, layer: int) -> SharedPrefix:
        """A model's prefix, (L, 2, l, D), laid out for one layer; all layers are when it is first seen."""
        if self._prefix is not prefix:
            self._prefix, self._shared = prefix, [SharedPrefix(own, self.n_head) for own in prefix]
        return self._shared[layer]

    def _grow_to(self, slots: int) -> None:
        if slots > self.n_slots:
            added = -(-(slots - self.n_slots) // GROWTH) * GROWTH
            self.keys_values = F.pad(self.keys_values, (0, 0, 0, added))
            self.ancestors = F.pad(self.ancestors, (0, added))


class SharedPrefix:
    """A layer's prefix for rows of any contexts, as two more frozen products of the model.

    All heads' keys lie in one weight (H·l, D), each where its own head's columns are and zero elsewhere, and so do
    the values. That multiplies H times more than is needed of a few positions, and a row's result has the same bits
    whatever contexts it is computed with, which products of one head's rows at a time would not promise.

    Args:
        keys_values: shape (2, l, D).
        n_head: number of heads H.
    """

    def __init__(self, keys_values: Tensor, n_head: int) -> None:
        _, self.length, D = keys_values.shape
        spread = keys_values.new_zeros(2, n_head, self.length, n_head, D // n_head)
        for head, own in enumerate(keys_values.view(2, self.length, n_head, -1).unbind(2)):
            spread[:, head, :, head] = own
        keys, values = spread.view(2, n_head * self.length, D)
        self.keys, self.values = FrozenLinear(keys, None), FrozenLinear(values.t().contiguous(), None)

    def scores(self, q: Tensor) -> Tensor:
        """Products of queries with the keys, head by head: (N, D) -> (N, H * l)."""
        return self.keys(q)

    def mix(self, probabilities: Tensor) -> Tensor:
        """Sums of the values, head by head: (N, H * l) -> (N, D)."""
        return self.values(probabilities)


class CachedAttention:
    """Attention of one forward pass over a cache: beams by one token, and whole prompts of new contexts.

    The stream holds the R newest tokens of living beams, then the new contexts' prompts one after the other.

    Args:
        cache: keys and values; the pass writes those of its own tokens.
        active: places in use, A.
        rows: for each of the R beam tokens its `place * n + beam`, ascending; shape (R,).
        prompts: (place, length) of each new context.
    """

    def __init__(self, cache: BeamCache, active: int, rows: Tensor, prompts: Sequence[tuple[int, int]]) -> None:
        self.prefix: Tensor | None = None
        self.cache, self.active, self.rows, self.prompts = cache, active, rows, prompts
        self.n_attended = -(-cache.used // SLOT_MULTIPLE) * SLOT_MULTIPLE
        n, S, H = cache.slots.shape[1], cache.n_slots, cache.n_head
        device = rows.device
        targets = [(rows // n) * H * S + cache.slots.flatten()[rows]]
        targets += [torch.arange(length, device=device) + place * H * S for place, length in prompts]
        heads = torch.arange(H, device=device) * S
        # Where the keys and values of each token and head go, among places x heads x slots; shape (T * H,).
        self.targets = (torch.cat(targets)[:, None] + heads).flatten()
        self.is_full = len(rows) == active * n
        if len(rows):
            hidden = ~cache.ancestors[:active, :, : self.n_attended]  # (A, n, S)
            mask = torch.zeros(hidden.shape, dtype=cache.keys_values.dtype, device=device)
            self.mask = mask.masked_fill_(hidden, float("-inf"))[:, None]

    def __call__(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(T, 3*D) -> (T, D); see `lora_nlg.gpt2.Attention`."""
        T, D = qkv.shape[0], qkv.shape[1] // 3
        for part in range(2):  # keys, values
            stored = self.cache.keys_values[layer, part].view(-1, D // n_head)
            stored.index_copy_(0, self.targets, qkv[:, (part + 1) * D : (part + 2) * D].reshape(T * n_head, -1))
        R = len(self.rows)
        parts = [self._beams(layer, qkv[:R, :D])] if R else []
        start = R
        for _, length in self.prompts:
            # One prompt at a time: its result must not depend on the length of its neighbours.
            parts.append(self._prompt(layer, qkv[start : start + length], n_head))
            start += length
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _prompt(self, layer: int, qkv: Tensor, n_head: int) -> Tensor:
        """(P, 3*D) -> (P, D): a prompt attends to itself."""
        P = len(qkv)
        q, k, v = qkv.view(P, 3, n_head, -1).permute(1, 2, 0, 3).unsqueeze(1)  # each (1, H, P, D/H)
        if self.prefix is None:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            before = self.prefix[layer].view(2, 1, -1, n_head, q.shape[-1]).transpose(2, 3)  # (2, 1, H, l, D/H)
            k, v = torch.cat([before[0], k], 2), torch.cat([before[1], v], 2)
            mask = torch.ones(P, k.shape[2], dtype=torch.bool, device=q.device).tril_(k.shape[2] - P)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out[0].transpose(0, 1).reshape(P, -1)

    def _beams(self, layer: int, q: Tensor) -> Tensor:
        """(R, D) -> (R, D): the beams of each context attend to its slots."""
        D = q.shape[1]
        A, n, S, H = self.active, self.cache.slots.shape[1], self.n_attended, self.cache.n_head
        if not self.is_full:
            q = q.new_zeros(A * n, D).index_copy_(0, self.rows, q)
        q = q.view(A, n, H, -1).transpose(1, 2)  # (A, H, n, D/H)
        k, v = self.cache.keys_values[layer, :, :A, :, :S]  # each (A, H, S, D/H)
        if self.prefix is not None:
            out = self._beams_and_prefix(self.cache.shared(self.prefix, layer), q, k, v)
        elif q.is_cuda:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        else:
            # Not torch's fused kernel: it cuts S into blocks, so its rounding changes with other contexts' slots.
            scale = 1 / math.sqrt(q.shape[-1])
            scores = torch.matmul(q * scale, k.transpose(-1, -2)).add_(self.mask)  # (A, H, n, S)
            out = torch.matmul(scores.softmax(-1), v)
        out = out.transpose(1, 2).reshape(A * n, D)
        return out if self.is_full else out.index_select(0, self.rows)

    def _beams_and_prefix(self, shared: SharedPrefix, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention to slots and prefix; (A, H, n, D/H), twice (A, H, S, D/H) -> (A, H, n, D/H)."""
        (A, H, n, _), S, end = q.shape, k.shape[2], k.shape[2] + shared.length
        q = q * (1 / math.sqrt(q.shape[-1]))
        of_prefix = shared.scores(q.transpose(1, 2).reshape(A * n, -1))
        # The prefix behind the slots, which are whole vectors: how many they are doesn't change its place in a sum.
        scores = q.new_empty(A, H, n, -(-end // PREFIX_MULTIPLE) * PREFIX_MULTIPLE)
        torch.add(torch.matmul(q, k.transpose(-1, -2)), self.mask, out=scores[..., :S])
        scores[..., S:end] = of_prefix.view(A, n, H, -1).transpose(1, 2)
        scores[..., end:] = float("-inf")
        p = scores.softmax(-1)
        of_prefix = shared.mix(p[..., S:end].transpose(1, 2).reshape(A * n, -1))
        return torch.matmul(p[..., :S], v).add_(of_prefix.view(A, n, H, -1).transpose(1, 2))
