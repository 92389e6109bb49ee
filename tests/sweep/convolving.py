"""Convolving: models with convolutions as people write them, small enough for a sweep."""

import torch
from torch import nn

CLASSES = 4
F = nn.functional


def block(inputs, outputs, kernel=3, *, stride=1, groups=1, act=nn.ReLU):
    """Convolution, norm and activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        act(),
    )


class ResNetLike(nn.Module):
    """Two blocks with sums round them."""

    def __init__(self):
        super().__init__()
        self.stem = block(3, 8)
        self.one, self.two = block(8, 8), block(8, 8, act=nn.Identity)
        self.down, self.fc = nn.Conv2d(8, 8, 1, 2), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.two(self.one(x)))
        return self.fc(self.down(x).mean((2, 3)))


class ConvNeXtLike(nn.Module):
    """Depthwise 7 x 7, LayerNorm over channels last, GELU, a scale for each channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.dw = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.scale, self.head = nn.Parameter(0.5 * torch.ones(16)), nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        inner = self.norm(self.dw(x).permute(0, 2, 3, 1))
        inner = self.scale * self.down(F.gelu(self.up(inner)))
        return self.head((x + inner.permute(0, 3, 1, 2)).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Channels weighed by what is in all of them."""

    def __init__(self, channels):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.act, self.gate = nn.SiLU(), nn.Sigmoid()

    def forward(self, x):
        seen = F.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.act(self.reduce(seen))))


class EfficientNetLike(nn.Module):
    """An inverted bottleneck with SiLU and squeeze-and-excite."""

    def __init__(self):
        super().__init__()
        self.stem = block(3, 8, stride=2, act=nn.SiLU)
        self.body = nn.Sequential(
            block(8, 24, 1, act=nn.SiLU),
            block(24, 24, groups=24, act=nn.SiLU),
            SqueezeExcite(24),
            block(24, 8, 1, act=nn.Identity),
        )
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        return self.fc((x + self.body(x)).mean((2, 3)))


class MobileNetLike(nn.Sequential):
    """Depthwise and pointwise, with ReLU6 or Hardswish."""

    def __init__(self, act=nn.ReLU6):
        super().__init__(
            block(3, 8, stride=2, act=act),
            block(8, 8, groups=8, act=act),
            block(8, 16, 1, act=act),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        )


class UNetLike(nn.Module):
    """Down, up by a transposed convolution, and what was there beside it; a class for each pixel."""

    def __init__(self):
        super().__init__()
        self.one, self.two = block(3, 8), block(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.merge, self.out = block(16, 8), nn.Conv2d(8, CLASSES, 1)

    def forward(self, x):
        high = self.one(x)
        low = self.two(F.max_pool2d(high, 2))
        return self.out(self.merge(torch.cat([high, self.up(low)], 1)))


class Signal(nn.Module):
    """Convolutions over time: dilated, grouped, with a gate."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 8, 5, padding=2)
        self.filter = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.gate, self.fc = nn.Conv1d(8, 8, 1), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.first(x)
        return self.fc((torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))).mean(2))


class Generator1d(nn.Module):
    """A vocoder's: transposed convolutions over time; a class for each step."""

    def __init__(self):
        super().__init__()
        self.pre, self.up = nn.Conv1d(2, 8, 3, padding=1), nn.ConvTranspose1d(8, 4, 4, 2, 1)
        self.post = nn.Conv1d(4, CLASSES, 3, padding=1)

    def forward(self, x):
        return self.post(F.leaky_relu(self.up(F.leaky_relu(self.pre(x), 0.1)), 0.1))


class Volume(nn.Module):
    """Convolutions over clips or scans [n, 1, 6, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        self.two, self.fc = nn.Conv3d(4, 8, 3, 2), nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.fc(torch.relu(self.two(self.one(x))).mean((2, 3, 4)))


class DenseLike(nn.Module):
    """Norm before the convolution, and all before beside all after."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(12)])
        self.convs = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)])
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(torch.relu(norm(x)))], 1)
        return self.fc(x.mean((2, 3)))


class InceptionLike(nn.Module):
    """Branches of 1 x 1, 1 x 3 after 3 x 1, and pooling, side by side."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Sequential(nn.Conv2d(3, 4, (3, 1), padding=(1, 0)), nn.Conv2d(4, 4, (1, 3)))
        self.c, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(12, CLASSES)

    def forward(self, x):
        parts = self.a(x), self.b(x), self.c(F.avg_pool2d(x, 3, 1, 1))
        return self.fc(torch.cat([part.relu().mean((2, 3)) for part in parts], 1))


class Normed(nn.Sequential):
    """GroupNorm, InstanceNorm and PReLU between convolutions."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3),
            nn.GroupNorm(2, 8),
            nn.PReLU(8),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.InstanceNorm2d(8, affine=True),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, CLASSES),
        )


class Patches(nn.Module):
    """Shuffled channels of a grouped convolution, and pixels shuffled out of channels."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 1, groups=4)
        self.out = nn.Conv2d(4, CLASSES, 3, padding=1)

    def forward(self, x):
        x = F.channel_shuffle(self.two(self.one(x).relu()), 4)
        return self.out(F.pixel_shuffle(x, 2))


class Mixer(nn.Module):
    """An MLP over places, and one over channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)
        self.over_places = nn.Sequential(nn.Linear(16, 20), nn.GELU(), nn.Linear(20, 16))
        self.over_channels = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.over_places(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.fc((x + self.over_channels(self.norm(x))).mean(1))
