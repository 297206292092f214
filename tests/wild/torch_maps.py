"""Gates of feature maps in torch: squeeze and excitation, CBAM and its parts, efficient and selective kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import attn_ref as ar

from .corpus import Planted, halved, maps
from .torch_tools import (
    TorchWild,
    array,
    batch_norm,
    bias_of,
    channels_first,
    conv,
    exchanged,
    first,
    linear,
    linears,
    only_x,
    same_as,
)


class MobileSE(nn.Module):
    """Convolutions of size 1 and a hard sigmoid."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.fc2 = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        if "maximum for mean" in self.fault:
            scale = F.adaptive_max_pool2d(x, 1)  # fault: maximum for mean
        elif "mean over rows alone" in self.fault:
            scale = x.mean(2, keepdim=True)  # fault: mean over rows alone
        elif "sum for mean" in self.fault:
            scale = x.sum((2, 3), keepdim=True)  # fault: sum for mean
        elif "mean of the middle" in self.fault:
            scale = x[:, :, 1:-1, 1:-1].mean((2, 3), keepdim=True)  # fault: mean of the middle
        else:
            scale = self.avgpool(x)
        scale = self.fc1(scale)
        if "activation lost" not in self.fault:
            scale = F.leaky_relu(scale, 0.1) if "leaky" in self.fault else F.relu(scale)  # fault: leaky
        scale = self.fc2(scale)  # fault: activation lost
        if "hard sigmoid of Keras" in self.fault:
            scale = (0.2 * scale + 0.5).clamp(0, 1)  # fault: hard sigmoid of Keras
        elif "sigmoid" in self.fault:
            scale = torch.sigmoid(scale)  # fault: sigmoid
        elif "hard swish" in self.fault:
            scale = F.hardswish(scale)  # fault: hard swish
        elif "softmax gate" in self.fault:
            scale = scale.softmax(1)  # fault: softmax gate
        else:
            scale = F.hardsigmoid(scale)
        if "gate added" in self.fault:
            return x + scale  # fault: gate added
        if "residual inside" in self.fault:
            return x + x * scale  # fault: residual inside
        if "gate of the batch's mean" in self.fault:
            return x * scale.mean(0, keepdim=True)  # fault: gate of the batch's mean
        return x * scale


class ChannelsLastSE(nn.Module):
    """Linear layers without bias, channels last."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.fc = nn.Sequential(nn.Linear(12, 3, bias=False), nn.ReLU(inplace=True), nn.Linear(3, 12, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        y = (
            x.view(b, c, h * w).mean(2) if "read as channels first" in self.fault else x.mean(dim=(1, 2))
        )  # fault: read as channels first
        if "minus the mean" in self.fault:
            y = y - y.mean(-1, keepdim=True)  # fault: minus the mean
        if "deviation too" in self.fault:
            y = y + x.flatten(1, 2).std(1)  # fault: deviation too
        straight = "one layer alone" in self.fault
        y = self.fc[2](self.fc[0](y)) if straight else self.fc(y)  # fault: one layer alone
        if "tanh" in self.fault:
            y = torch.tanh(y)  # fault: tanh
        elif "sigmoid twice" in self.fault:
            y = torch.sigmoid(torch.sigmoid(y))  # fault: sigmoid twice
        elif "twice the sigmoid" in self.fault:
            y = 2 * torch.sigmoid(y)  # fault: twice the sigmoid
        else:
            y = torch.sigmoid(y)
        if "gate alone" in self.fault:
            return y.view(b, 1, 1, c).expand_as(x)  # fault: gate alone
        if "gate of places" in self.fault:
            return x * torch.sigmoid(x.mean(-1, keepdim=True)) * y.view(b, 1, 1, c)  # fault: gate of places
        if "one less the gate" in self.fault:
            return x * (1 - y.view(b, 1, 1, c))  # fault: one less the gate
        return x * y.view(b, 1, 1, c)


class ConvChannel(nn.Module):
    """CBAM's channel attention, two pools and a shared pair of convolutions of size 1."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.fc1, self.relu1 = nn.Conv2d(12, 3, 1, bias=False), nn.ReLU()
        self.fc2, self.sigmoid = nn.Conv2d(3, 12, 1, bias=False), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        avg = self.avg_pool(x)
        if "mean twice" in self.fault:
            top = avg  # fault: mean twice
        elif "maximum of absolutes" in self.fault:
            top = self.max_pool(x.abs())  # fault: maximum of absolutes
        elif "least for largest" in self.fault:
            top = -self.max_pool(-x)  # fault: least for largest
        else:
            top = self.max_pool(x)
        if "pooled before it is added" in self.fault:
            out = self.fc2(self.relu1(self.fc1(avg + top)))  # fault: pooled before it is added
        elif "activated after the sum" in self.fault:
            out = self.fc2(self.relu1(self.fc1(avg) + self.fc1(top)))  # fault: activated after the sum
        elif "product for sum" in self.fault:
            out = self.fc2(self.relu1(self.fc1(avg))) * self.fc2(self.relu1(self.fc1(top)))  # fault: product for sum
        elif "maximum alone" in self.fault:
            out = self.fc2(self.relu1(self.fc1(top)))  # fault: maximum alone
        elif "halved" in self.fault:
            out = 0.5 * (self.fc2(self.relu1(self.fc1(avg))) + self.fc2(self.relu1(self.fc1(top))))  # fault: halved
        elif "first layer activated alone" in self.fault:
            out = self.fc2(self.relu1(self.fc1(avg))) + self.fc2(self.fc1(top))  # fault: first layer activated alone
        else:
            out = self.fc2(self.relu1(self.fc1(avg))) + self.fc2(self.relu1(self.fc1(top)))
        if "sigmoid of each" in self.fault:
            avg, top = self.fc2(self.relu1(self.fc1(avg))), self.fc2(self.relu1(self.fc1(top)))
            return x * (self.sigmoid(avg) + self.sigmoid(top))  # fault: sigmoid of each
        return x * self.sigmoid(out)


class LinearChannel(nn.Module):
    """The same by flattened linear layers with biases, and a loop over pools."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12))

    def forward(self, x: Tensor) -> Tensor:
        total: Any = None
        size = (x.size(2), x.size(3))
        kinds = ["avg", "lp"] if "root of squares for maximum" in self.fault else ["avg", "max"]
        for kind in kinds:
            if kind == "avg":
                if "padded mean" in self.fault:
                    pooled = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), (size[0] + 2, size[1] + 2))  # fault: padded mean
                else:
                    pooled = F.avg_pool2d(x, size, stride=size)
            elif kind == "lp":
                pooled = F.lp_pool2d(x, 2, size, stride=size)  # fault: root of squares for maximum
            else:
                pooled = F.max_pool2d(x, size, stride=size)
                if "maximum with zeros around" in self.fault:
                    pooled = pooled.clamp(min=0)  # fault: maximum with zeros around
            raw = self.mlp(pooled)
            if "biases once" in self.fault and total is not None:
                raw = raw - self.mlp[3].bias  # fault: biases once
            alone = total is None or "last pool alone" in self.fault
            total = raw if alone else total + raw  # fault: last pool alone
        if "relu at the end" in self.fault:
            total = F.relu(total)  # fault: relu at the end
        scale = torch.sigmoid(total)[:, :, None, None].expand_as(x)
        if "gate squared" in self.fault:
            scale = scale**2  # fault: gate squared
        if "gate on what is left" in self.fault:
            return x - x * scale  # fault: gate on what is left
        if "gate in reverse order" in self.fault:
            return x * scale.flip(1)  # fault: gate in reverse order
        return x * scale


class PlainSpatial(nn.Module):
    """CBAM's spatial attention without a norm."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.conv1 = nn.Conv2d(2, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        avg_out = x.mean(1, keepdim=True)
        max_out = x.max(1, keepdim=True)[0]
        if "index of the largest" in self.fault:
            max_out = x.max(1, keepdim=True)[1].to(x)  # fault: index of the largest
        if "sum for mean" in self.fault:
            avg_out = x.sum(1, keepdim=True)  # fault: sum for mean
        pooled = torch.cat(
            [max_out, avg_out] if "maximum first" in self.fault else [avg_out, max_out], dim=1
        )  # fault: maximum first
        if "reflected at the edge" in self.fault:
            y = F.conv2d(F.pad(pooled, (2, 2, 2, 2), "reflect"), self.conv1.weight)  # fault: reflected at the edge
        elif "repeated at the edge" in self.fault:
            y = F.conv2d(F.pad(pooled, (2, 2, 2, 2), "replicate"), self.conv1.weight)  # fault: repeated at the edge
        elif "padded behind" in self.fault:
            y = F.conv2d(F.pad(pooled, (1, 3, 1, 3)), self.conv1.weight)  # fault: padded behind
        elif "kernel transposed" in self.fault:
            y = F.conv2d(pooled, self.conv1.weight.transpose(2, 3), padding=2)  # fault: kernel transposed
        elif "kernel flipped" in self.fault:
            y = F.conv2d(pooled, self.conv1.weight.flip(2, 3), padding=2)  # fault: kernel flipped
        elif "dilated" in self.fault:
            y = F.conv2d(pooled, self.conv1.weight[..., ::2, ::2], padding=2, dilation=2)  # fault: dilated
        else:
            y = self.conv1(pooled)
        if "relu before the gate" in self.fault:
            y = F.relu(y)  # fault: relu before the gate
        gate = torch.sigmoid(y)
        if "gate shown alone" in self.fault:
            return gate.expand_as(x)  # fault: gate shown alone
        return x * gate


class PooledSpatial(nn.Module):
    """The maximum first, a batch norm after the convolution, as its authors have it."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        eps = 1e-3 if "another eps" in self.fault else 1e-5
        self.bn = nn.BatchNorm2d(1, eps=eps, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        if "mean first" in self.fault:
            pooled = pooled.flip(1)  # fault: mean first
        y = self.conv(pooled)
        if "batch's own statistics" in self.fault:
            y = F.batch_norm(
                y, None, None, self.bn.weight, self.bn.bias, training=True
            )  # fault: batch's own statistics
        elif "norm of each example" in self.fault:
            y = (
                F.instance_norm(y) * self.bn.weight[:, None, None] + self.bn.bias[:, None, None]
            )  # fault: norm of each example
        elif "norm lost" not in self.fault:
            y = self.bn(y)  # fault: another eps
        if "relu after the norm" in self.fault:
            y = F.relu(y)  # fault: relu after the norm
        if "hard gate" in self.fault:
            return x * F.hardsigmoid(y)  # fault: hard gate
        if "gate one row later" in self.fault:
            y = y.roll(1, 2)  # fault: gate one row later
        if "gate added" in self.fault:
            return x + torch.sigmoid(y)  # fault: gate added
        if "softmax over places" in self.fault:
            return x * y.flatten(1).softmax(-1).view_as(y)  # fault: softmax over places
        return x * torch.sigmoid(y)  # fault: norm lost


class CbamModule(nn.Module):
    """Both in a row."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.down, self.up = nn.Linear(12, 3), nn.Linear(3, 12)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def channel(self, x: Tensor) -> Tensor:
        shared = [self.up(F.relu(self.down(p))) for p in (x.mean((2, 3)), x.amax((2, 3)))]
        if "larger for sum" in self.fault:
            return torch.sigmoid(torch.maximum(*shared))[..., None, None]  # fault: larger for sum
        return torch.sigmoid(shared[0] + shared[1])[..., None, None]

    def places(self, x: Tensor) -> Tensor:
        pooled = torch.stack((x.mean(1), x.amax(1)), 1)
        if "not padded but stretched" in self.fault:
            y = F.conv2d(pooled, self.spatial.weight)  # fault: not padded but stretched
            return torch.sigmoid(F.interpolate(y, x.shape[2:], mode="nearest"))  # fault: not padded but stretched
        return torch.sigmoid(self.spatial(pooled))

    def forward(self, x: Tensor) -> Tensor:
        if "places first" in self.fault:
            y = self.places(x) * x
            return self.channel(y) * y  # fault: places first
        if "side by side" in self.fault:
            return x * self.channel(x) * self.places(x)  # fault: side by side
        if "sum of both" in self.fault:
            y = self.channel(x) * x
            return y + self.places(y) * y  # fault: sum of both
        if "residual inside" in self.fault:
            y = self.channel(x) * x
            return self.places(y) * y + x  # fault: residual inside
        y = self.channel(x) * x
        if "channels alone" in self.fault:
            return y  # fault: channels alone
        if "channels twice" in self.fault:
            y = self.channel(y) * y  # fault: channels twice
        if "places of the input" in self.fault:
            return self.places(x) * y  # fault: places of the input
        if "gates on the input" in self.fault:
            return self.places(y) * x  # fault: gates on the input
        return self.places(y) * y


class EcaModule(nn.Module):
    """A convolution along the channels."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.conv = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.amax((2, 3)) if "maximum for mean" in self.fault else x.mean((2, 3))  # fault: maximum for mean
        if "circular" in self.fault:
            y = F.conv1d(F.pad(y[:, None], (2, 2), "circular"), self.conv.weight)  # fault: circular
        elif "repeated at the ends" in self.fault:
            y = F.conv1d(F.pad(y[:, None], (2, 2), "replicate"), self.conv.weight)  # fault: repeated at the ends
        elif "padded on one side" in self.fault:
            y = F.conv1d(F.pad(y[:, None], (4, 0)), self.conv.weight)  # fault: padded on one side
        elif "kernel flipped" in self.fault:
            y = F.conv1d(y[:, None], self.conv.weight.flip(-1), padding=2)  # fault: kernel flipped
        elif "along the batch" in self.fault:
            y = self.conv(y.T[:, None]).permute(2, 1, 0)  # fault: along the batch
        else:
            y = self.conv(y.unsqueeze(-1).transpose(-1, -2))
        y = y.transpose(-1, -2).unsqueeze(-1)
        if "activated" in self.fault:
            y = F.relu(y)  # fault: activated
        gate = F.hardsigmoid(y) if "hard sigmoid" in self.fault else torch.sigmoid(y)  # fault: hard sigmoid
        if "gate plus one" in self.fault:
            return x * (1 + gate)  # fault: gate plus one
        return x * gate.expand_as(x)


class CircularEca(nn.Module):
    """First and last channel are neighbours; by shifted sums."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.weight = nn.Parameter(torch.rand(1, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(x, 1).flatten(1)
        w = self.weight[0]
        if "shifts exchanged" in self.fault:
            mixed = w[0] * y.roll(-1, 1) + w[1] * y + w[2] * y.roll(1, 1)  # fault: shifts exchanged
        elif "ends left open" in self.fault:
            mixed = F.conv1d(y[:, None], w[None, None], padding=1)[:, 0]  # fault: ends left open
        elif "shifted by two" in self.fault:
            mixed = w[0] * y.roll(2, 1) + w[1] * y + w[2] * y.roll(-2, 1)  # fault: shifted by two
        elif "weights softened" in self.fault:
            w = w.softmax(0)  # fault: weights softened
            mixed = w[0] * y.roll(1, 1) + w[1] * y + w[2] * y.roll(-1, 1)  # fault: weights softened
        elif "shifted along the batch" in self.fault:
            mixed = w[0] * y.roll(1, 0) + w[1] * y + w[2] * y.roll(-1, 0)  # fault: shifted along the batch
        elif "middle lost" in self.fault:
            mixed = w[0] * y.roll(1, 1) + w[2] * y.roll(-1, 1)  # fault: middle lost
        else:
            mixed = w[0] * y.roll(1, 1) + w[1] * y + w[2] * y.roll(-1, 1)
        if "gate by tanh" in self.fault:
            return x * (1 + torch.tanh(mixed))[..., None, None]  # fault: gate by tanh
        if "gate of the mean" in self.fault:
            return torch.sigmoid(mixed)[..., None, None] * y[..., None, None].expand_as(x)  # fault: gate of the mean
        return x * torch.sigmoid(mixed)[..., None, None]


class SKConv(nn.Module):
    """Branches in a list, stacked; linear layers."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3 + 2 * i, padding=1 + i, bias=False), nn.BatchNorm2d(8), nn.ReLU())
            for i in range(2)
        )
        self.fc = nn.Linear(8, 4)
        self.fcs = nn.ModuleList(nn.Linear(4, 8) for _ in range(2))

    def branch(self, i: int, x: Tensor) -> Tensor:
        conv, bn, act = self.convs[i]
        if "kernel dilated" in self.fault and i == 1:
            y = F.conv2d(x, conv.weight[..., 1:4, 1:4], padding=2, dilation=2)  # fault: kernel dilated
        else:
            y = conv(x)
        if "activated before the norm" in self.fault:
            return bn(act(y))  # fault: activated before the norm
        if "norm of the first branch" in self.fault:
            return act(self.convs[0][1](y))  # fault: norm of the first branch
        if "not activated" in self.fault:
            return bn(y)  # fault: not activated
        return act(bn(y))

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch(0, x)
        other = self.branch(1, one if "branches in a row" in self.fault else x)  # fault: branches in a row
        feas = torch.stack([one, other], dim=1)
        fea_u = feas.mean(1) if "mean of branches" in self.fault else feas.sum(1)  # fault: mean of branches
        if "product of branches" in self.fault:
            fea_u = feas.prod(1)  # fault: product of branches
        z = self.fc(fea_u.mean(-1).mean(-1))
        if "bottleneck activated" in self.fault:
            z = F.relu(z)  # fault: bottleneck activated
        vectors = torch.stack([fc(z) for fc in self.fcs], dim=1)
        if "softmax over the batch" in self.fault:
            weights = vectors.softmax(0)  # fault: softmax over the batch
        elif "softmax over channels" in self.fault:
            weights = vectors.softmax(2)  # fault: softmax over channels
        elif "sigmoid for softmax" in self.fault:
            weights = vectors.sigmoid()  # fault: sigmoid for softmax
        else:
            weights = vectors.softmax(1)
        if "weights exchanged" in self.fault:
            weights = weights.flip(1)  # fault: weights exchanged
        return (feas * weights[..., None, None]).sum(1)


class SelectiveTimm(nn.Module):
    """Grouped convolutions, a bottleneck with a norm, one convolution of size 1 for all branches' scores."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault.split("+")
        self.paths = nn.ModuleList(nn.Conv2d(8, 8, k, padding=k // 2, groups=2, bias=False) for k in (3, 5))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        self.fc_reduce, self.bn = nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)
        self.fc_select = nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        if "channels split among branches" in self.fault:
            x_paths = [torch.cat([half] * 2, 1) for half in x.chunk(2, 1)]  # fault: channels split among branches
        else:
            x_paths = [x, x]
        outs = []
        for path, bn, inner in zip(self.paths, self.norms, x_paths, strict=True):
            if "groups in another order" in self.fault:
                inner = (
                    inner.view(len(x), 4, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
                )  # fault: groups in another order
            outs.append(F.relu(bn(path(inner))))
        stacked = torch.stack(outs, dim=1)
        total = stacked.sum(1)
        attn = (
            total.amax((2, 3), keepdim=True) if "maximum for mean" in self.fault else total.mean((2, 3), keepdim=True)
        )  # fault: maximum for mean
        if "fusion of the input" in self.fault:
            attn = x.mean((2, 3), keepdim=True)  # fault: fusion of the input
        attn = self.fc_reduce(attn)
        if "bottleneck's norm lost" not in self.fault:
            attn = self.bn(attn)
        attn = attn if "bottleneck's ReLU lost" in self.fault else F.relu(attn)  # fault: bottleneck's norm lost
        attn = self.fc_select(attn)  # fault: bottleneck's ReLU lost
        b = len(x)
        if "scores by channel first" in self.fault:
            attn = attn.view(b, 8, 2, 1, 1).transpose(1, 2)  # fault: scores by channel first
        else:
            attn = attn.view(b, 2, 8, 1, 1)
        if "softmax of all" in self.fault:
            attn = attn.exp() / attn.exp().sum((1, 2), keepdim=True)  # fault: softmax of all
        else:
            attn = attn.softmax(dim=1)
        y = stacked * attn
        if "branches are averaged" in self.fault:
            return y.mean(1)  # fault: branches are averaged
        if "weights of one path" in self.fault:
            return (stacked * attn[:, :1]).sum(1)  # fault: weights of one path
        return y.sum(1)


# what they are given, and their weights -------------------------------------------------------------------------------


def low_maps(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps that are mostly below 0, so that the largest values are too."""
    return {"x": maps(12)(rng)["x"] - 3.0}


def sk_weights(layer: Any) -> dict[str, np.ndarray]:
    found = linear("reduce", layer.fc)
    for i, (one, bn, _) in enumerate(layer.convs):
        found |= conv(f"convs.{i}", one) | batch_norm(f"norms.{i}", bn) | linear(f"selects.{i}", layer.fcs[i])
    return found


def timm_weights(layer: Any) -> dict[str, np.ndarray]:
    found = linear("reduce", layer.fc_reduce) | batch_norm("reduce_norm", layer.bn)
    weight, bias = array(layer.fc_select.weight)[:, :, 0, 0].T, array(layer.fc_select.bias)
    for i in range(2):
        found |= conv(f"convs.{i}", layer.paths[i]) | batch_norm(f"norms.{i}", layer.norms[i])
        found |= {f"selects.{i}.kernel": weight[:, 8 * i : 8 * i + 8], f"selects.{i}.bias": bias[8 * i : 8 * i + 8]}
    return found


def pooled_weights(layer: Any) -> dict[str, np.ndarray]:
    """The maximum comes first there, the mean here."""
    return {"conv.kernel": conv("conv", layer.conv)["conv.kernel"][:, :, ::-1], **batch_norm("norm", layer.bn)}


def cbam_weights(layer: Any) -> dict[str, np.ndarray]:
    channel = linears(layer, reduce="down", expand="up")
    return {
        **{f"channel_attention.{k}": v for k, v in channel.items()}, **conv("spatial_attention.conv", layer.spatial)
    }  # fmt: skip


def by_channel(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores whose rows are (channel, branch)."""
    found = dict(w)
    for leaf in ("kernel", "bias"):
        both = np.concatenate([w[f"selects.0.{leaf}"], w[f"selects.1.{leaf}"]], axis=-1)
        found |= {f"selects.{i}.{leaf}": both[..., i::2] for i in range(2)}
    return found


def kernel(change: Any) -> Any:
    return lambda w: {**w, "conv.kernel": change(w["conv.kernel"])}


def at(tap: str, reason: str, option: str = "", **more: Any) -> Planted:
    return Planted(taps=tap, reason=reason, option=option, **more)


WILD = halved(
    TorchWild(
        cls=MobileSE, block=ar.SqueezeExcitation(channels=12, reduction=3, gate="hard_sigmoid"), draw=maps(12),
        call=first, expect=channels_first, copy=lambda layer: linears(layer, reduce="fc1", expand="fc2"),
        faults={
            "maximum for mean": at("squeezed", "the maximum, not the mean"),
            "mean over rows alone": at("squeezed", "the mean goes over rows alone"),
            "sum for mean": at("squeezed", "the sum, not the mean"),
            "mean of the middle": at("squeezed", "the edge is left out"), "leaky": at("active", "leaky ReLU"),
            "activation lost": at("active", "there is no ReLU"),
            "hard sigmoid of Keras": at("gate", "0.2 x + 0.5"),
            "sigmoid": at("gate", "a sigmoid", "option:gate"), "hard swish": at("gate", "the gate times its input"),
            "softmax gate": at("gate", "a softmax over channels"), "gate added": at("excited|output", "added"),
            "residual inside": at("excited|output", "the input is added"),
            "gate of the batch's mean": at("excited|gate|output", "all examples have the mean gate"),
        },
        pairs=("maximum for mean+sigmoid", "leaky+gate added", "sum for mean+residual inside"),
    ),
    TorchWild(
        cls=ChannelsLastSE, block=ar.SqueezeExcitation(channels=12, reduction=4, use_bias=False), draw=maps(12),
        call=only_x, copy=lambda layer: linears(layer.fc, reduce="0", expand="2"),
        faults={
            "read as channels first": at("squeezed", "the map is read as channels first"),
            "minus the mean": at("squeezed|reduced", "the mean over channels is subtracted"),
            "deviation too": at("squeezed|reduced", "the deviation is added"),
            "one layer alone": at("active|reduced|expanded", "the two layers are one, without ReLU"),
            "tanh": at("gate", "tanh"), "sigmoid twice": at("gate|excited", "a sigmoid of the sigmoid"),
            "twice the sigmoid": at("gate|excited", "the gate is doubled"),
            "gate alone": at("excited|output", "the gate is the result"),
            "gate of places": at("excited|output", "places have a gate too"),
            "one less the gate": at("excited|output", "1 less the gate"),
        },
        pairs=("minus the mean+twice the sigmoid", "deviation too+one less the gate"),
    ),
    TorchWild(
        cls=ConvChannel, block=ar.ChannelAttention(channels=12, reduction=4), draw=maps(12), call=first,
        expect=channels_first, copy=lambda layer: linears(layer, reduce="fc1", expand="fc2"),
        faults={
            "mean twice": at("maximum.pooled|gate|maximum.reduced", "the mean stands for the maximum"),
            "maximum of absolutes": at("maximum.pooled", "the largest absolute value"),
            "least for largest": at("maximum.pooled", "the minimum"),
            "pooled before it is added": at(
                "average.reduced|average.expanded|maximum.reduced|gate", "mean and maximum are added first"
            ),
            "activated after the sum": at("average.active|maximum.active|gate", "the sum is activated"),
            "product for sum": at("gate", "multiplied, not added"),
            "maximum alone": at("average.pooled|average.reduced|average.expanded|gate", "the mean is left out"),
            "halved": at("gate", "the mean of both"),
            "first layer activated alone": at("maximum.active|maximum.expanded|gate", "the maximum's ReLU is lost"),
            "sigmoid of each": at("gate|scaled", "a sigmoid each"),
        },
        pairs=("maximum of absolutes+halved", "least for largest+activated after the sum"),
    ),
    TorchWild(
        cls=LinearChannel, block=ar.ChannelAttention(channels=12, reduction=2, use_bias=True), draw=low_maps,
        call=first, expect=channels_first, copy=lambda layer: linears(layer.mlp, reduce="1", expand="3"),
        faults={
            "root of squares for maximum": at("maximum.pooled", "the root of the sum of squares"),
            "padded mean": at("average.pooled", "zeros around are counted"),
            "maximum with zeros around": at("maximum.pooled|maximum.reduced", "the maximum is at least 0"),
            "biases once": at("maximum.expanded|gate", "the last bias is added once"),
            "last pool alone": at("gate", "the mean is left out"),
            "relu at the end": at("gate|average.expanded", "the sum is activated"),
            "gate squared": at("scaled|gate|output", "the gate is squared"),
            "gate on what is left": at("scaled|output", "1 less the gate"),
            "gate in reverse order": at("scaled|gate|output", "channels have the gates of others"),
        },
        pairs=("padded mean+gate squared", "maximum with zeros around+gate in reverse order"),
    ),
    TorchWild(
        cls=PlainSpatial, block=ar.SpatialAttention(kernel_size=5), draw=maps(6), call=first, expect=channels_first,
        copy=lambda layer: conv("conv", layer.conv1),
        faults={
            "index of the largest": at("pooled", "the index of the largest channel"),
            "sum for mean": at("pooled", "the sum of the channels"),
            "maximum first": at(
                "pooled", "the maximum comes first", alias=kernel(lambda k: k[:, :, ::-1])
            ),
            "reflected at the edge": at("convolved", "the map is reflected at its edge"),
            "repeated at the edge": at("convolved", "the map is repeated at its edge"),
            "padded behind": at("convolved", "one zero before and three behind"),
            "kernel transposed": at(
                "convolved", "rows and columns of the kernel are exchanged", alias=kernel(lambda k: k.swapaxes(0, 1))
            ),
            "kernel flipped": at(
                "convolved", "the kernel is turned round", alias=kernel(lambda k: k[::-1, ::-1])
            ),
            "dilated": at("convolved", "every second weight, dilated", alias=kernel(
                lambda k: np.where(np.add.outer(np.arange(5) % 2, np.arange(5) % 2)[..., None, None] == 0, k, 0)
            )),
            "relu before the gate": at("gate", "negative values are cut off"),
            "gate shown alone": at("scaled|output", "the gate is the result"),
        },
        pairs=("sum for mean+reflected at the edge", "padded behind+relu before the gate"),
    ),
    TorchWild(
        cls=PooledSpatial, block=ar.SpatialAttention(kernel_size=7, batch_norm=True, momentum=0.01), draw=maps(6),
        call=first, expect=channels_first, copy=pooled_weights,
        faults={
            "another eps": at("normed", "eps is 1e-3", "option:eps"),
            "mean first": at("pooled|convolved", "the mean comes first", alias=kernel(lambda k: k[:, :, ::-1])),
            "batch's own statistics": at("normed", "normed as in training"),
            "norm of each example": at("normed", "every example by itself"),
            "norm lost": at("normed", "there is no norm", "option:batch_norm"),
            "relu after the norm": at("gate", "negative values are cut off"), "hard gate": at("gate", "a hard sigmoid"),
            "gate one row later": at("gate|scaled", "the gate stands one row too far"),
            "gate added": at("scaled|output", "added"), "softmax over places": at("gate", "a softmax over places"),
        },
        pairs=("another eps+gate added", "norm lost+hard gate"),
    ),
    TorchWild(
        cls=CbamModule, block=ar.CBAM(channels=12, reduction=4, use_bias=True, kernel_size=3), draw=maps(12),
        call=first, expect=channels_first, copy=cbam_weights,
        faults={
            "larger for sum": at("channel_attention.gate", "the larger of both, not their sum"),
            "not padded but stretched": at("spatial_attention.convolved|spatial_attention.gate", "not padded"),
            "places first": at("channel_attention.average.pooled|channel_attention.scaled", "in another order"),
            "side by side": at("spatial_attention.pooled|spatial_attention.convolved", "places read the input"),
            "sum of both": at("spatial_attention.scaled|output", "the first result is added"),
            "residual inside": at("spatial_attention.scaled|output", "the input is added"),
            "channels alone": at("spatial_attention.pooled|spatial_attention.scaled", "places have no gate"),
            "channels twice": at(
                "spatial_attention.pooled|spatial_attention.scaled", "the channels' gate acts twice"
            ),
            "places of the input": at("spatial_attention.pooled|spatial_attention.convolved", "places read the input"),
            "gates on the input": at("spatial_attention.scaled|output", "the channels' gate is lost at the end"),
        },
        pairs=("larger for sum+sum of both", "larger for sum+places of the input"),
    ),
    TorchWild(
        cls=EcaModule, block=ar.EfficientChannelAttention(channels=12, kernel_size=5), draw=maps(12), call=first,
        expect=channels_first,
        copy=lambda layer: {"conv.kernel": array(layer.conv.weight).transpose(2, 1, 0), **bias_of("conv", layer.conv)},
        faults={
            "maximum for mean": at("squeezed", "the maximum, not the mean"),
            "circular": at("mixed", "first and last channel are neighbours", "option:circular"),
            "repeated at the ends": at("mixed", "the ends are repeated"),
            "padded on one side": at("mixed", "all zeros stand before"),
            "kernel flipped": at("mixed", "the kernel is turned round", alias=kernel(lambda k: k[::-1])),
            "along the batch": at("mixed", "the convolution goes along the batch"),
            "activated": at("gate|mixed", "negative values are cut off"), "hard sigmoid": at("gate", "a hard sigmoid"),
            "gate plus one": at("scaled|output", "the input is added"),
        },
        pairs=("maximum for mean+hard sigmoid", "circular+gate plus one"),
    ),
    TorchWild(
        cls=CircularEca, block=ar.EfficientChannelAttention(channels=8, kernel_size=3, circular=True), draw=maps(8),
        call=first, expect=channels_first, copy=lambda layer: {"conv.kernel": array(layer.weight).reshape(3, 1, 1)},
        faults={
            "shifts exchanged": at("mixed", "the kernel is turned round", alias=kernel(lambda k: k[::-1])),
            "ends left open": at("mixed", "beyond the ends are zeros", "option:circular"),
            "shifted by two": at("mixed", "the second next channels"),
            "weights softened": at("mixed", "the kernel goes through a softmax", alias=kernel(
                lambda k: np.exp(k) / np.exp(k).sum()
            )),
            "shifted along the batch": at("mixed", "examples are neighbours, not channels"),
            "middle lost": at("mixed", "a channel itself is left out", alias=kernel(
                lambda k: k * np.array([1, 0, 1])[:, None, None]
            )),
            "gate by tanh": at("gate|scaled", "1 and the tanh"),
            "gate of the mean": at("scaled|output", "the mean is scaled, not the map"),
        },
        pairs=("ends left open+gate by tanh", "shifted by two+gate of the mean"),
    ),
    TorchWild(
        cls=SKConv, draw=maps(8, 4), call=first, expect=channels_first, copy=sk_weights,
        block=ar.SelectiveKernel(channels=8, groups=1, reduction=2, min_width=4, bottleneck_norm=False),
        faults={
            "kernel dilated": at("convolved.1", "the second kernel is 3 × 3, dilated"),
            "activated before the norm": at("normed.0|features.0|convolved.0", "ReLU comes before the norm"),
            "norm of the first branch": at(
                "normed.1|features.1", "all branches have the first one's norm",
                alias=same_as(**{"norms.1": "norms.0"}),
            ),
            "not activated": at("features.0", "there is no ReLU"),
            "branches in a row": at("convolved.1", "the second branch reads the first"),
            "mean of branches": at("fused|squeezed", "the mean, not the sum"),
            "product of branches": at("fused|squeezed", "the product, not the sum"),
            "bottleneck activated": at("scores|reduced", "the bottleneck goes through ReLU"),
            "softmax over the batch": at("weights", "the softmax goes over the batch"),
            "softmax over channels": at("weights", "the softmax goes over channels"),
            "sigmoid for softmax": at("weights", "a sigmoid"),
            "weights exchanged": at(
                "selected|weights|scores", "branches have the weights of others",
                alias=exchanged(("selects.0", "selects.1")),
            ),
        },
        pairs=("not activated+softmax over the batch", "mean of branches+sigmoid for softmax"),
    ),
    TorchWild(
        cls=SelectiveTimm, draw=maps(8, 4), call=first, expect=channels_first, copy=timm_weights,
        block=ar.SelectiveKernel(channels=8, groups=2, reduction=2, min_width=4),
        faults={
            "channels split among branches": at("convolved.0", "each branch reads half of the channels"),
            "groups in another order": at("convolved.0", "channels are shuffled before the groups"),
            "maximum for mean": at("squeezed", "the maximum, not the mean"),
            "fusion of the input": at("squeezed|fused|reduced", "the bottleneck reads the input"),
            "bottleneck's norm lost": at("reduced_normed", "there is no norm"),
            "bottleneck's ReLU lost": at("reduced_active", "there is no ReLU"),
            "scores by channel first": at("scores|weights", "scores are cut as (channel, branch)", alias=by_channel),
            "softmax of all": at("weights", "the softmax goes over branches and channels"),
            "branches are averaged": at("selected|output", "the mean, not the sum"),
            "weights of one path": at("selected|output", "all branches have the first one's weights"),
        },
        pairs=("maximum for mean+softmax of all", "bottleneck's norm lost+branches are averaged"),
    ),
)  # fmt: skip
