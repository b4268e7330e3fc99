"""A plain transcription of the published training step: what one writes first, to be measured against.

Maps are (B, C, F, T) in PyTorch's default memory format, nearest upsampling and convolution are two operations,
attention is `nn.MultiheadAttention` over a permuted copy, everything runs eagerly, and the teacher's forward pass builds
a graph that is thrown away. Parameter names are those of the package's network, so that it takes the same weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from m2l_bench.music2latent.config import Config


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(width // 4, 32), width)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.mha = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        b, c, f, t = x.shape
        tokens = self.norm(x).permute(0, 3, 2, 1).reshape(b * t, f, c)
        out, _ = self.mha(tokens, tokens, tokens, need_weights=False)
        return x + out.reshape(b, t, f, c).permute(0, 3, 2, 1)


class Block(nn.Module):
    def __init__(self, a: int, b: int, *, one: bool = False, embedding: int = 0, heads: int = 0) -> None:
        super().__init__()
        conv = nn.Conv1d if one else nn.Conv2d
        self.norm1, self.conv1 = _norm(a), conv(a, b, 3, padding=1)
        self.embedding = nn.Linear(embedding, b) if embedding else None
        self.norm2, self.conv2 = _norm(b), conv(b, b, 3, padding=1)
        self.residual = conv(a, b, 1) if a != b else nn.Identity()
        self.attention = Attention(b, heads) if heads else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        if embedding is not None and self.embedding is not None:
            y = y + self.embedding(embedding)[:, :, None, None]
        y = self.conv2(functional.silu(self.norm2(y)))
        return self.attention(y + self.residual(x))


class Down(nn.Module):
    def __init__(self, a: int, b: int, frequency_only: bool, normalize: bool) -> None:
        super().__init__()
        self.norm = _norm(a) if normalize else nn.Identity()
        shape = ((5, 1), (4, 1), (2, 0)) if frequency_only else ((3, 3), (2, 2), (1, 1))
        self.conv = nn.Conv2d(a, b, shape[0], stride=shape[1], padding=shape[2])

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class Up(nn.Module):
    def __init__(self, a: int, b: int, frequency_only: bool) -> None:
        super().__init__()
        self.scale = (4, 1) if frequency_only else (2, 2)
        self.conv = nn.Conv2d(a, b, (5, 1) if frequency_only else 3, padding=(2, 0) if frequency_only else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.interpolate(x, scale_factor=self.scale, mode="nearest"))


class PlainEncoder(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        w = c.widths
        self.conv_in = nn.Conv2d(2, w[0], 3, padding=1)
        self.gain = nn.Parameter(torch.ones(c.bins))
        heads = [c.heads if on else 0 for on in c.attention]
        self.levels = nn.ModuleList(
            nn.ModuleList([Block(w[max(i - 1, 0)] if j == 0 else w[i], w[i], heads=heads[i]) for j in range(n)])
            for i, n in enumerate(c.encoder_blocks)
        )
        self.downs = nn.ModuleList(Down(w[i], w[i], f, True) for i, f in enumerate(c.frequency_only))
        self.norm_features = _norm(w[-1])
        self.project = nn.Conv1d(c.features_dim, c.bottleneck_width, 1)
        width = c.bottleneck_width
        self.bottleneck = nn.ModuleList(Block(width, width, one=True) for _ in range(c.bottleneck_blocks))
        self.norm_out, self.conv_out = _norm(width), nn.Conv1d(width, c.latent_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x) * self.gain[:, None]
        for i, level in enumerate(self.levels):
            for block in level.children():
                x = block(x)
            if i < len(self.downs):
                x = self.downs[i](x)
        x = self.norm_features(x)
        x = self.project(x.reshape(x.shape[0], -1, x.shape[-1]))
        for block in self.bottleneck:
            x = block(x)
        return torch.tanh(self.conv_out(functional.silu(self.norm_out(x))))


class PlainDecoder(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        w, width = c.widths, c.bottleneck_width
        self.rows = c.bins // c.frequency_downsampling
        self.conv_in = nn.Conv1d(c.latent_dim, width, 1)
        self.bottleneck = nn.ModuleList(Block(width, width, one=True) for _ in range(c.bottleneck_blocks))
        self.project = nn.Conv1d(width, c.features_dim, 1)
        heads = [c.heads if on else 0 for on in c.attention]
        self.levels = nn.ModuleList(
            nn.ModuleList([Block(w[i], w[i], heads=heads[i]) for _ in range(n)]) for i, n in enumerate(c.encoder_blocks)
        )
        self.ups = nn.ModuleList(Up(w[i + 1], w[i], f) for i, f in enumerate(c.frequency_only))

    def forward(self, latents: Tensor) -> list[Tensor]:
        x = self.conv_in(latents)
        for block in self.bottleneck:
            x = block(x)
        x = self.project(x)
        x = x.reshape(x.shape[0], self.rows, -1, x.shape[-1]).transpose(1, 2)
        pyramid = []
        for i in reversed(range(len(self.levels))):
            for block in self.levels[i].children():
                x = block(x)
            pyramid.append(x)
            if i:
                x = self.ups[i - 1](x)
        return pyramid[::-1]


class PlainUNet(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        w, e = c.widths, c.embedding_width
        self.n_frequencies = e // 2
        self.embed = nn.Sequential(nn.Linear(e, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU())
        self.scale_in, self.scale_out = (
            nn.Sequential(nn.Linear(e, e), nn.SiLU(), nn.Linear(e, e), nn.SiLU(), nn.Linear(e, c.bins))
            for _ in range(2)
        )
        self.conv_in = nn.Conv2d(2, w[0], 3, padding=1)

        def blocks(i: int) -> nn.ModuleList:
            heads = c.heads if c.attention[i] else 0
            return nn.ModuleList(Block(w[i], w[i], embedding=e, heads=heads) for _ in range(c.blocks[i]))

        def cross(i: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(w[i], w[i], 1) for _ in range(c.blocks[i]))

        self.down_levels, self.up_levels = (nn.ModuleList(blocks(i) for i in range(len(w))) for _ in range(2))
        self.down_cross, self.up_cross = (nn.ModuleList(cross(i) for i in range(len(w))) for _ in range(2))
        self.downs = nn.ModuleList(Down(w[i], w[i + 1], f, False) for i, f in enumerate(c.frequency_only))
        self.ups = nn.ModuleList(Up(w[i + 1], w[i], f) for i, f in enumerate(c.frequency_only))
        self.cross_out = nn.Conv2d(w[0], w[0], 1)
        self.norm_out, self.conv_out = _norm(w[0]), nn.Conv2d(w[0], 2, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor, pyramid: list[Tensor]) -> Tensor:
        frequencies = (1 / 10000) ** (torch.arange(self.n_frequencies) / (self.n_frequencies - 1))
        angles = sigma.log()[:, None] / 4 * frequencies
        sinusoid = torch.cat([angles.sin(), angles.cos()], -1)
        embedding = self.embed(sinusoid)
        x = self.conv_in(x) * (1 + self.scale_in(sinusoid))[:, None, :, None]
        skips = []
        for i, level in enumerate(self.down_levels):
            for cross, block in zip(self.down_cross[i].children(), level.children(), strict=True):
                x = block((x + cross(pyramid[i])) / math.sqrt(2), embedding)
                skips.append(x)
            if i < len(self.downs):
                x = self.downs[i](x)
        for i in reversed(range(len(self.up_levels))):
            for cross, block in zip(self.up_cross[i].children(), self.up_levels[i].children(), strict=True):
                x = block((x + skips.pop() + cross(pyramid[i])) / math.sqrt(3), embedding)
            if i:
                x = self.ups[i - 1](x)
        x = (x + self.cross_out(pyramid[0])) / math.sqrt(2)
        x = functional.silu(self.norm_out(x)) * (1 + self.scale_out(sinusoid))[:, None, :, None]
        return self.conv_out(x)


class PlainNetwork(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder, self.unet = PlainEncoder(config), PlainDecoder(config), PlainUNet(config)

    def denoise(self, x: Tensor, sigma: Tensor, pyramid: list[Tensor]) -> Tensor:
        c, s = self.config, sigma[:, None, None, None]
        skip = c.sigma_data**2 / ((s - c.sigma_min) ** 2 + c.sigma_data**2)
        out = c.sigma_data * (s - c.sigma_min) / (c.sigma_data**2 + s**2).sqrt()
        return skip * x + out * self.unet(x / (s**2 + c.sigma_data**2).sqrt(), sigma, pyramid)

    def take(self, state: Mapping[str, Tensor]) -> None:
        """Load the package's weights: time and frequency swap in every 2-D kernel."""
        renamed = {}
        for name, tensor in state.items():
            plain = name.replace("attention.qkv.weight", "attention.mha.in_proj_weight")
            plain = plain.replace("attention.qkv.bias", "attention.mha.in_proj_bias")
            plain = plain.replace("attention.out.", "attention.mha.out_proj.")
            renamed[plain] = tensor.transpose(2, 3).contiguous() if tensor.ndim == 4 else tensor.clone()
        self.load_state_dict(renamed)


class PlainTrainer:
    """Loss, backward, RAdam, average; the schedules are left out, they cost nothing."""

    def __init__(self, config: Config) -> None:
        self.network = PlainNetwork(config)
        self.average = copy.deepcopy(self.network)
        self.optimizer = torch.optim.RAdam(self.network.parameters(), lr=1e-4)

    def step(self, x: Tensor, noise: Tensor, u: Tensor, dt: float) -> float:
        c = self.network.config
        low, high = c.sigma_min ** (1 / c.rho), c.sigma_max ** (1 / c.rho)
        sigma = (low + u * (high - low)) ** c.rho
        sigma_lower = (low + (u - dt).clamp_min(0) * (high - low)) ** c.rho
        pyramid = self.network.decoder(self.network.encoder(x))
        student = self.network.denoise(x + sigma[:, None, None, None] * noise, sigma, pyramid)
        teacher = self.network.denoise(x + sigma_lower[:, None, None, None] * noise, sigma_lower, pyramid).detach()
        d = x[0].numel()
        huber = ((student - teacher).square().sum((1, 2, 3)) + (0.00054**2 * d)).sqrt() - 0.00054 * d**0.5
        loss = (huber / (sigma - sigma_lower)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.mul_(0.9999).add_(parameter, alpha=0.0001)
        return loss.item()
