# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DeepSeek-V4 in torch, for scripts/compare_torch.py: what a careful user would write for a CPU. Weights are widened when
they are loaded, tokens are grouped by expert, prefill attention works on blocks of queries, nothing is quantised.
"""
import json
import math
import os
import struct

import numpy
import torch
import torch.nn.functional as F

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32, "I8": torch.uint8,
         "F8_E4M3": torch.float8_e4m3fn, "F8_E8M0": torch.uint8}
E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
QUERIES = 128  # of a block of prefill attention


def read_tensors(folder):
    """Name -> tensor as stored, mapped."""
    tensors = {}
    for file in sorted(os.listdir(folder)):
        if not file.endswith(".safetensors"):
            continue
        data = numpy.memmap(os.path.join(folder, file), numpy.uint8, "c")
        size = struct.unpack("<Q", data[:8].tobytes())[0]
        for name, entry in json.loads(data[8:8 + size].tobytes()).items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                raw = torch.from_numpy(numpy.array(data[8 + size + first:8 + size + last]))
                tensors[name] = raw.view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def widen(tensors, name, dtype):
    """A weight with its scales applied: fp8 in blocks of 128 x 128, fp4 in blocks of 32 of a row."""
    weight, scale = tensors[name], tensors.get(name.removesuffix("weight") + "scale")
    if scale is None:
        return weight.to(dtype)
    factors = torch.exp2(scale.float() - 127)
    if weight.dtype == torch.uint8:
        numbers = torch.stack((E2M1[(weight & 15).long()], E2M1[(weight >> 4).long()]), -1).flatten(-2)
        return (numbers * factors.repeat_interleave(32, -1)[:, :numbers.shape[1]]).to(dtype)
    rows, columns = weight.shape
    factors = factors.repeat_interleave(128, 0)[:rows].repeat_interleave(128, 1)[:, :columns]
    return (weight.float() * factors).to(dtype)


class Rope:
    """Cosines and sines of one kind of layer (specification 3.3, 3.4)."""

    def __init__(self, config, compressed):
        width = config["qk_rope_head_dim"]
        theta = config["compress_rope_theta" if compressed else "rope_theta"]
        frequencies = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        if compressed:
            scaling = config["rope_scaling"]
            original, factor = scaling["original_max_position_embeddings"], scaling["factor"]

            def dimension(rotations):
                return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))
            low = max(math.floor(dimension(scaling["beta_fast"])), 0)
            high = min(math.ceil(dimension(scaling["beta_slow"])), width - 1)
            ramp = (torch.arange(width // 2) - low) / (high - low if high != low else 0.001)
            keep = 1 - ramp.clamp(0, 1)
            frequencies = frequencies / factor * (1 - keep) + frequencies * keep
        self.frequencies = frequencies.float()

    def __call__(self, positions):
        angles = positions[:, None].float() * self.frequencies
        return angles.cos(), angles.sin()


def rotate(x, table, inverse=False):
    """Rotates the last pairs of x [S, .., d] by the rows of the table."""
    cos, sin = (t.view(t.shape[0], *[1] * (x.dim() - 2), -1) for t in table)
    if inverse:
        sin = -sin
    width = 2 * cos.shape[-1]
    plain, rest = x[..., :-width], x[..., -width:].float().unflatten(-1, (-1, 2))
    a, b = rest[..., 0], rest[..., 1]
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((plain, turned.to(x.dtype)), -1)


def sinkhorn(z, iterations, eps):
    c = z.softmax(-1) + eps
    c = c / (c.sum(-2, keepdim=True) + eps)
    for _ in range(iterations - 1):
        c = c / (c.sum(-1, keepdim=True) + eps)
        c = c / (c.sum(-2, keepdim=True) + eps)
    return c


def hadamard(x):
    width = x.shape[-1]
    step = 1
    while step < width:
        a, b = x.unflatten(-1, (-1, 2, step)).unbind(-2)
        x = torch.stack((a + b, a - b), -2).flatten(-3)
        step *= 2
    return x * width ** -0.5


class Compressor:
    """Pools r tokens into an entry; overlapping for r = 4 (specification 4.5 to 4.8)."""

    def __init__(self, layer, prefix, width):
        self.layer, self.width = layer, width
        self.wkv, self.wgate = (layer.weight(f"{prefix}.{name}.weight") for name in ("wkv", "wgate"))
        self.ape = layer.plain(prefix + ".ape")
        self.norm = layer.plain(prefix + ".norm.weight")
        self.overlap = layer.ratio == 4
        self.rows = None

    def start(self, fill=None):
        r, columns = self.layer.ratio, self.ape.shape[1]
        shape = (2 * r if self.overlap else r, columns)
        self.rows = [torch.zeros(shape), torch.full(shape, -torch.inf)] if fill is None else [fill(shape), fill(shape)]

    def entries(self, kv, score, table, rotated):
        """Pools [n, slots, width]."""
        pooled = (score.softmax(1) * kv).sum(1).to(self.layer.dtype)
        entry = rotate(self.layer.rms(pooled, self.norm), table)
        return hadamard(entry) if rotated else entry

    def project(self, x):
        return F.linear(x, self.wkv).float(), F.linear(x, self.wgate).float()

    def prefill(self, x, rope, rotated):
        """All complete blocks of a sequence from position 0, and the rows of what follows."""
        r, c, count = self.layer.ratio, self.width, x.shape[0]
        kv, score = self.project(x)
        score = score + self.ape[torch.arange(count) % r]
        blocks = count // r
        whole = [t[:blocks * r].unflatten(0, (blocks, r)) for t in (kv, score)]
        if self.overlap:
            # The previous block with the first half of its channels, the current one with the second half.
            before = [torch.cat((torch.full_like(t[:1, :, :c], value), t[:-1, :, :c])) if blocks else t[..., :c]
                      for t, value in zip(whole, (0, -torch.inf))]
            both = [torch.cat((b, t[..., c:]), 1) for b, t in zip(before, whole)]
        else:
            both = whole
        self.start()
        offset = r if self.overlap else 0
        for rows, t in zip(self.rows, (kv, score)):
            rows[offset:offset + count - blocks * r] = t[blocks * r:]
            if self.overlap and blocks:
                rows[:r] = t[(blocks - 1) * r:blocks * r]
        return self.entries(*both, rope(torch.arange(blocks) * r), rotated)

    def step(self, x, position, rope, rotated):
        """One token; the new entry [1, width] when it completes a block."""
        r, c = self.layer.ratio, self.width
        kv, score = self.project(x)
        slot = position % r + (r if self.overlap else 0)
        self.rows[0][slot] = kv[0]
        self.rows[1][slot] = score[0] + self.ape[position % r]
        if (position + 1) % r:
            return None
        both = [torch.cat((t[:r, :c], t[r:, c:]))[None] if self.overlap else t[None] for t in self.rows]
        if self.overlap:
            for rows in self.rows:
                rows[:r] = rows[r:].clone()
        return self.entries(*both, rope(torch.tensor([position - r + 1])), rotated)


class Layer:
    def __init__(self, model, number):
        self.config, self.dtype, self.tensors = model.config, model.dtype, model.tensors
        self.prefix, self.ratio = f"layers.{number}.", model.config["compress_ratios"][number]
        c = self.config
        self.rope = Rope(c, self.ratio > 0)
        self.heads, self.width, self.window = c["num_attention_heads"], c["head_dim"], c["sliding_window"]
        self.sink = self.plain("attn.attn_sink")
        for name in ("wq_a", "wq_b", "wkv", "wo_b"):
            setattr(self, name, self.weight(f"attn.{name}.weight"))
        self.wo_a = self.weight("attn.wo_a.weight").unflatten(0, (c["o_groups"], -1))
        self.norms = {name: self.plain(name + ".weight")
                      for name in ("attn.q_norm", "attn.kv_norm", "attn_norm", "ffn_norm")}
        self.mixers = {site: [self.plain(f"hc_{site}_{part}") for part in ("fn", "scale", "base")]
                       for site in ("attn", "ffn")}
        if self.ratio:
            self.compressor = Compressor(self, "attn.compressor", self.width)
        if self.ratio == 4:
            self.index_width, self.index_heads = c["index_head_dim"], c["index_n_heads"]
            self.index_compressor = Compressor(self, "attn.indexer.compressor", self.index_width)
            self.index_q = self.weight("attn.indexer.wq_b.weight")
            self.index_weights = self.weight("attn.indexer.weights_proj.weight")
        self.gate = self.weight("ffn.gate.weight")
        self.table = self.tensors.get(self.prefix + "ffn.gate.tid2eid")
        self.bias = self.plain("ffn.gate.bias") if self.table is None else None
        self.experts = [[self.weight(f"ffn.experts.{e}.{w}.weight") for w in ("w1", "w3", "w2")]
                        for e in range(c["n_routed_experts"])]
        self.shared = [self.weight(f"ffn.shared_experts.{w}.weight") for w in ("w1", "w3", "w2")]

    def weight(self, name):
        return widen(self.tensors, self.prefix + name, self.dtype)

    def plain(self, name):
        return self.tensors[self.prefix + name].float()

    def rms(self, x, weight=None):
        return F.rms_norm(x.float(), x.shape[-1:], weight, self.config["rms_norm_eps"]).to(self.dtype)

    # ---- Hyper-connections (specification 2)

    def mix(self, streams, site):
        fn, scale, base = self.mixers[site]
        v = streams.flatten(1).float()
        rho = torch.rsqrt(v.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        mix = F.linear(v, fn) * rho
        pre = torch.sigmoid(mix[:, :4] * scale[0] + base[:4]) + self.config["hc_eps"]
        post = 2 * torch.sigmoid(mix[:, 4:8] * scale[1] + base[4:8])
        comb = sinkhorn((mix[:, 8:] * scale[2] + base[8:]).unflatten(1, (4, 4)), self.config["hc_sinkhorn_iters"],
                        self.config["hc_eps"])
        x = (pre[:, :, None] * streams.float()).sum(1).to(self.dtype)
        return x, post, comb

    def blend(self, f, streams, post, comb):
        return (post[:, :, None] * f[:, None].float() +
                torch.einsum("sjk,sjd->skd", comb, streams.float())).to(self.dtype)

    # ---- Attention (specification 4)

    def start(self, fill=None, length=0):
        """An empty sequence, or one of `length` tokens with a state of fill(shape)."""
        def empty(shape):
            return torch.zeros(shape, dtype=self.dtype)
        make = (lambda shape: fill(shape).to(self.dtype)) if fill else empty
        self.ring = make((self.window, self.width))
        if self.ratio:
            capacity = self.config["v4_capacity"] // self.ratio
            self.cache = empty((capacity, self.width))
            self.cache[:length // self.ratio] = make((length // self.ratio, self.width))
            self.compressor.start(fill)
        if self.ratio == 4:
            self.keys = empty((capacity, self.index_width))
            self.keys[:length // 4] = make((length // 4, self.index_width))
            self.index_compressor.start(fill)

    def project(self, x, table):
        qr = self.rms(F.linear(x, self.wq_a), self.norms["attn.q_norm"])
        q = F.linear(qr, self.wq_b).unflatten(1, (self.heads, self.width))
        kv = self.rms(F.linear(x, self.wkv), self.norms["attn.kv_norm"])
        return qr, rotate(self.rms(q), table), rotate(kv, table)

    def attend(self, q, keys, mask=None):
        """q [S, h, c], keys [T, c] for all or [S, T, c] for each; mask [S, T] of what is seen."""
        scores = q @ keys.mT if keys.dim() == 3 else (q.flatten(0, 1) @ keys.T).unflatten(0, q.shape[:2])
        scores = scores.float() * self.width ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], -torch.inf)
        sink = self.sink[None, :, None].expand(q.shape[0], -1, 1)
        shares = torch.cat((scores, sink), -1).softmax(-1)[..., :-1].to(self.dtype)
        if keys.dim() == 3:
            return shares @ keys
        return (shares.flatten(0, 1) @ keys).unflatten(0, q.shape[:2])

    def project_out(self, o, table):
        o = rotate(o, table, inverse=True).flatten(1).unflatten(1, (self.wo_a.shape[0], -1))
        return F.linear(torch.einsum("sgi,goi->sgo", o, self.wo_a).flatten(1), self.wo_b)

    def index_scores(self, x, qr, keys, table):
        """[S, N]; specification 4.9."""
        q = rotate(F.linear(qr, self.index_q).unflatten(1, (self.index_heads, self.index_width)), table)
        weights = F.linear(x, self.index_weights).float() * (self.index_width * self.index_heads) ** -0.5
        dots = (hadamard(q).flatten(0, 1) @ keys.T).unflatten(0, q.shape[:2]).relu()
        return torch.einsum("sh,shn->sn", weights, dots.float())

    def attention_prefill(self, x):
        count = x.shape[0]
        positions = torch.arange(count)
        table = self.rope(positions)
        qr, q, kv = self.project(x, table)
        first = max(count - self.window, 0)
        self.ring[positions[first:] % self.window] = kv[first:]
        entries = kv[:0]
        seen = torch.zeros((count, 0), dtype=torch.bool)
        if self.ratio:
            entries = self.compressor.prefill(x, self.rope, False)
            self.cache[:entries.shape[0]] = entries
            seen = torch.arange(entries.shape[0]) < ((positions + 1) // self.ratio)[:, None]
        if self.ratio == 4:
            keys = self.index_compressor.prefill(x, self.rope, True)
            self.keys[:keys.shape[0]] = keys
            scores = self.index_scores(x, qr, keys, table).masked_fill(~seen, -torch.inf)
            best = scores.topk(min(self.config["index_topk"], keys.shape[0]), -1).indices
            seen = seen & torch.zeros_like(seen).scatter(1, best, True)
        parts = []
        for begin in range(0, count, QUERIES):
            end, low = min(begin + QUERIES, count), max(begin - self.window + 1, 0)
            mine, others = positions[begin:end, None], positions[None, low:end]
            near = (others <= mine) & (others > mine - self.window)
            far = min(end // self.ratio, entries.shape[0]) if self.ratio else 0
            parts.append(self.attend(q[begin:end], torch.cat((kv[low:end], entries[:far])),
                                     torch.cat((near, seen[begin:end, :far]), 1)))
        return self.project_out(torch.cat(parts), table)

    def attention_step(self, x, position):
        table = self.rope(torch.tensor([position]))
        qr, q, kv = self.project(x, table)
        self.ring[position % self.window] = kv[0]
        keys = self.ring[:min(position + 1, self.window)]
        if self.ratio:
            entry = self.compressor.step(x, position, self.rope, False)
            count = (position + 1) // self.ratio
            if entry is not None:
                self.cache[count - 1] = entry[0]
            entries = self.cache[:count]
        if self.ratio == 4:
            key = self.index_compressor.step(x, position, self.rope, True)
            if key is not None:
                self.keys[count - 1] = key[0]
            if count > self.config["index_topk"]:
                scores = self.index_scores(x, qr, self.keys[:count], table)[0]
                entries = entries[scores.topk(self.config["index_topk"]).indices]
        if self.ratio:
            keys = torch.cat((keys, entries))
        return self.project_out(self.attend(q, keys), table)

    # ---- Experts (specification 5)

    def expert(self, x, weights, share=None):
        w1, w3, w2 = weights
        limit = self.config["swiglu_limit"]
        a, b = F.linear(x, w1).float().clamp(max=limit), F.linear(x, w3).float().clamp(-limit, limit)
        z = F.silu(a) * b
        return F.linear((z if share is None else z * share).to(self.dtype), w2)

    def route(self, x, tokens):
        scores = F.softplus(F.linear(x.float(), self.gate.float())).sqrt()
        if self.table is not None:
            chosen = self.table[tokens].long()
        else:
            chosen = (scores + self.bias).topk(self.config["num_experts_per_tok"], -1).indices
        shares = scores.gather(1, chosen)
        return chosen, shares / shares.sum(-1, keepdim=True) * self.config["routed_scaling_factor"]

    def moe(self, x, tokens):
        chosen, shares = self.route(x, tokens)
        out = self.expert(x, self.shared).float()
        if x.shape[0] == 1:
            for expert, share in zip(chosen[0].tolist(), shares[0]):
                out = out + self.expert(x, self.experts[expert], share)
            return out.to(self.dtype)
        for expert in range(len(self.experts)):
            rows, place = (chosen == expert).nonzero(as_tuple=True)
            if rows.numel():
                out.index_add_(0, rows, self.expert(x[rows], self.experts[expert], shares[rows, place, None]).float())
        return out.to(self.dtype)

    def __call__(self, streams, tokens, position):
        x, post, comb = self.mix(streams, "attn")
        x = self.rms(x, self.norms["attn_norm"])
        f = self.attention_prefill(x) if position is None else self.attention_step(x, position)
        streams = self.blend(f, streams, post, comb)
        x, post, comb = self.mix(streams, "ffn")
        return self.blend(self.moe(self.rms(x, self.norms["ffn_norm"]), tokens), streams, post, comb)


class Model:
    """A checkpoint in the official layout. `capacity` bounds the positions of a sequence."""

    def __init__(self, folder, dtype, capacity):
        self.config = json.load(open(os.path.join(folder, "config.json")))
        self.config["v4_capacity"] = capacity
        self.dtype, self.tensors = dtype, read_tensors(folder)
        self.embedding, self.head = (self.tensors[name + ".weight"].to(dtype) for name in ("embed", "head"))
        self.norm = self.tensors["norm.weight"].float()
        self.mixer = [self.tensors["hc_head_" + part].float() for part in ("fn", "scale", "base")]
        self.layers = [Layer(self, number) for number in range(self.config["num_hidden_layers"])]
        del self.tensors
        for layer in self.layers:
            del layer.tensors
        self.position = 0

    def start(self, fill=None, length=0):
        self.position = length
        for layer in self.layers:
            layer.start(fill, length)

    def logits(self, streams):
        fn, scale, base = self.mixer
        v = streams.flatten(1).float()
        rho = torch.rsqrt(v.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"])
        pre = torch.sigmoid(F.linear(v, fn) * rho * scale + base) + self.config["hc_eps"]
        x = (pre[:, :, None] * streams.float()).sum(1)
        x = F.rms_norm(x, x.shape[-1:], self.norm, self.config["rms_norm_eps"]).to(self.dtype)
        return F.linear(x, self.head).float()

    def append(self, tokens, last_only=True):
        """A prompt from position 0, or one token. Returns logits of the last token, or of all."""
        position = None if self.position == 0 and tokens.numel() > 1 else self.position
        streams = self.embedding[tokens][:, None].repeat(1, 4, 1)
        for layer in self.layers:
            streams = layer(streams, tokens, position)
        self.position += tokens.numel()
        return self.logits(streams[-1:] if last_only else streams)
