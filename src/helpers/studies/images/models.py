"""Classifiers of pictures in PyTorch, which is imported where one is built.

Both take pictures as they are prepared, ``(n_rows, height, width, 3)`` from 0 to 1, and bring them
to ImageNet's mean and deviation inside the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet, from 0 to 1."""


def builder(net: Callable, classes: int, size: int) -> Callable:
    """A build function (`helpers.studies.Model`) of a classifier around a net, for pictures of
    `size` x `size`.
    """
    return functools.partial(_classifier, net, classes, size)


def _classifier(net: Callable, classes: int, size: int, hidden_units: int = 16):
    """A PyTorch module from ``image`` to ``{"probabilities": (n_rows, classes)}``.

    The net that it holds, ``.net``, takes normalised pictures with the channels first and gives
    logits. A checkpoint in the usual form is one of this net: load it into ``.net``. Mean and
    deviation are no part of the ``state_dict``.
    """
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self, net: torch.nn.Module):
            super().__init__()
            self.net = net
            for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
                buffer = torch.tensor(values).reshape(3, 1, 1)
                self.register_buffer(name, buffer, persistent=False)

        def forward(self, image):
            normalised = (image.permute(0, 3, 1, 2) - self.mean) / self.deviation
            return {"probabilities": torch.softmax(self.net(normalised), dim=1)}

    return Classifier(net(classes, size, hidden_units))


def small(classes: int, size: int, hidden_units: int = 16):
    """A net of four convolutions; `hidden_units` are the channels of the first.

    It keeps where in the picture something is, in thirds: averaged over all places it learns more
    slowly which end of an arrow is which.
    """
    from torch import nn

    layers, before, side = [], 3, -(-size // 2)
    for i, times in enumerate((1, 2, 3, 6)):
        after = times * hidden_units
        layers += [
            nn.Conv2d(before, after, 3, 1 if i else 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
        if i in (1, 2):
            layers.append(nn.MaxPool2d(2))
            side //= 2
        before = after
    third = max(1, side // 3)
    side //= third
    layers += [nn.AvgPool2d(third), nn.Flatten(), nn.Linear(before * side * side, classes)]
    return nn.Sequential(*layers)


def resnet18(classes: int, size: int = 224, hidden_units: int = 64):
    """ResNet18 (He et al., 2015) with torchvision's names of parameters, for pictures of any size;
    `size` and `hidden_units` mean nothing to it.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.downsample = None
            if stride != 1:
                shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(after))

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet18(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1, self.relu = nn.BatchNorm2d(64), nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            for i, (before, after) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
                blocks = Block(before, after, 1 + (i > 1)), Block(after, after, 1)
                setattr(self, f"layer{i}", nn.Sequential(*blocks))
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(512, classes)

        def forward(self, x):
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(torch.flatten(self.avgpool(x), 1))

    return ResNet18()
