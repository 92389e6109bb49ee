"""Attending: models with attention as people write them, small enough for a sweep; seeded by the caller."""

import math

import torch
from torch import Tensor, nn

CLASSES, WORDS, WIDTH = 4, 40, 16
F = nn.functional


def heads_of(x: Tensor, heads: int = 2) -> Tensor:
    """[n, t, c] -> [n, heads, t, c / heads]"""
    n, t, c = x.shape
    return x.view(n, t, heads, c // heads).transpose(1, 2)


class ViTLike(nn.Module):
    """Patches by a convolution, one projection for q, k, v, and attention by `@`, as timm has it."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.place = nn.Parameter(0.1 * torch.randn(1, 16, WIDTH))
        self.norm, self.qkv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.proj, self.norm2 = nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def attend(self, x):
        q, k, v = (heads_of(part) for part in self.qkv(self.norm(x)).chunk(3, -1))
        weights = ((q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        x = x + self.attend(x)
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


class ViTByEinsum(ViTLike):
    """The same by einsum."""

    def attend(self, x):
        q, k, v = (heads_of(part) for part in self.qkv(self.norm(x)).chunk(3, -1))
        weights = (torch.einsum("nhqc,nhkc->nhqk", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj(torch.einsum("nhqk,nhkc->nqhc", weights, v).flatten(2))


class ViTByFunction(ViTLike):
    """The same by `scaled_dot_product_attention`."""

    def attend(self, x):
        q, k, v = (heads_of(part) for part in self.qkv(self.norm(x)).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SwinLike(nn.Module):
    """Attention within windows of 2 x 2, with a table of relative places, and merged patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.norm, self.qkv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.table = nn.Parameter(0.1 * torch.randn(9, 2))
        grid = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(
            1
        )
        apart = (grid[:, :, None] - grid[:, None]).permute(1, 2, 0) + 1
        self.register_buffer("index", (apart[..., 0] * 3 + apart[..., 1]).flatten())
        self.merge, self.head = nn.Linear(4 * WIDTH, 32, bias=False), nn.Linear(32, CLASSES)

    def forward(self, x):
        x = self.patches(x)  # [n, c, 4, 4]
        n, c = x.shape[:2]
        windows = x.view(n, c, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
        q, k, v = (heads_of(part) for part in self.qkv(self.norm(windows)).chunk(3, -1))
        bias = self.table[self.index].view(4, 4, 2).permute(2, 0, 1)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(c // 2) + bias).softmax(-1)
        windows = windows + self.proj((weights @ v).transpose(1, 2).reshape(-1, 4, c))
        return self.head(self.merge(windows.reshape(n, 4, 4 * c)).mean(1))


class Conv1D(nn.Module):
    """A layer as transformers' GPT-2 has it: weight [in, out], by `addmm`."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class GPT2Like(nn.Module):
    """Causal attention by Conv1D, and a head that shares the embedding's weight; tags each token."""

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(WORDS, WIDTH), nn.Embedding(8, WIDTH)
        self.ln, self.c_attn = nn.LayerNorm(WIDTH), Conv1D(3 * WIDTH, WIDTH)
        self.c_proj, self.c_fc = Conv1D(WIDTH, WIDTH), Conv1D(32, WIDTH)
        self.register_buffer("mask", torch.ones(8, 8).tril().bool(), persistent=False)
        self.c_out = Conv1D(WIDTH, 32)
        self.lm_head = nn.Linear(WIDTH, WORDS, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        t = ids.shape[1]
        x = self.wte(ids) + self.wpe(torch.arange(t))
        q, k, v = (heads_of(part) for part in self.c_attn(self.ln(x)).split(WIDTH, -1))
        weights = (q @ k.transpose(-2, -1) / math.sqrt(8)).masked_fill(~self.mask[:t, :t], -1e4)
        x = x + self.c_proj((weights.softmax(-1) @ v).transpose(1, 2).flatten(2))
        x = x + self.c_out(F.gelu(self.c_fc(x)))
        return self.lm_head(x).transpose(1, 2)


class BertLike(nn.Module):
    """Query, key and value of their own, post-norm, a pooler, places from a buffer."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH, padding_idx=0), nn.Embedding(8, WIDTH)
        self.register_buffer("position_ids", torch.arange(8)[None])
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.value, self.dense = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.pooler, self.classifier = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids) + self.places(self.position_ids[:, : input_ids.shape[1]])
        x = self.norm(x)
        q, k, v = heads_of(self.query(x)), heads_of(self.key(x)), heads_of(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
        scores = scores + (1.0 - attention_mask[:, None, None, :]) * -1e4
        x = self.norm(
            x + self.dense(torch.matmul(scores.softmax(-1), v).transpose(1, 2).flatten(2))
        )
        x = x + self.down(F.gelu(self.up(x)))
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class LlamaNorm(nn.Module):
    """Root mean square, as transformers' Llama has it."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x, cos, sin):
    """Rotary places on [n, heads, t, c]."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class LlamaLike(nn.Module):
    """RMSNorm, rotary places in buffers that are not saved, grouped queries, a gated MLP."""

    def __init__(self):
        super().__init__()
        self.embed_tokens, self.norm = nn.Embedding(WORDS, WIDTH), LlamaNorm(WIDTH)
        self.q_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj = nn.Linear(WIDTH, 8, bias=False)
        self.v_proj = nn.Linear(WIDTH, 8, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate_proj = nn.Linear(WIDTH, 32, bias=False)
        self.up_proj = nn.Linear(WIDTH, 32, bias=False)
        self.down_proj = nn.Linear(32, WIDTH, bias=False)
        self.lm_head = nn.Linear(WIDTH, CLASSES, bias=False)
        angles = torch.arange(8)[:, None] / 100 ** (torch.arange(0, 8, 2) / 8)
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)

    def forward(self, input_ids):
        x = self.embed_tokens(input_ids)
        t, normed = x.shape[1], self.norm(x)
        cos, sin = self.cos[:t], self.sin[:t]
        q = rotated(heads_of(self.q_proj(normed)), cos, sin)
        k = rotated(heads_of(self.k_proj(normed), 1), cos, sin).expand(-1, 2, -1, -1)
        v = heads_of(self.v_proj(normed), 1).expand(-1, 2, -1, -1)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(seen.transpose(1, 2).flatten(2))
        x = x + self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return self.lm_head(x).transpose(1, 2)


class OwnAttention(nn.Module):
    """`nn.MultiheadAttention`, with weights or without."""

    def __init__(self, need_weights=False):
        super().__init__()
        self.embed, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.fc, self.need_weights = nn.Linear(WIDTH, CLASSES), need_weights

    def forward(self, ids):
        x = self.norm(self.embed(ids))
        x = x + self.attention(x, x, x, need_weights=self.need_weights)[0]
        return self.fc(x.mean(1))


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, which in eval mode goes past its own modules."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids):
        return self.fc(self.encoder(self.embed(ids)).mean(1))


class CrossAttending(nn.Module):
    """A perceiver's: learned queries ask, tokens answer, with keys and values of other widths."""

    def __init__(self):
        super().__init__()
        self.asked = nn.Parameter(torch.randn(3, WIDTH))
        self.embed = nn.Embedding(WORDS, 12)
        self.attention = nn.MultiheadAttention(WIDTH, 2, kdim=12, vdim=12, batch_first=True)
        self.fc = nn.Linear(3 * WIDTH, CLASSES)

    def forward(self, ids):
        x, asked = self.embed(ids), self.asked.expand(len(ids), 3, WIDTH)
        return self.fc(self.attention(asked, x, x)[0].flatten(1))
