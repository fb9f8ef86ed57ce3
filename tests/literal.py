"FastGAN's and Projected GAN's step as the papers' code writes it, with nothing spared: what ours must equal, and what it is faster than."
import torch
from torch import nn
from torch.nn.functional import interpolate

from ganlab.models.fastgan import UpConv


def as_written(gan):
    "`gan` with maps that are enlarged before they are convolved, channel by channel in memory. Returns it."
    gan.to(memory_format=torch.contiguous_format)
    for layer in gan.modules():
        if isinstance(layer, UpConv): layer.forward = lambda x, layer=layer: nn.Conv2d.forward(layer, interpolate(x, scale_factor=2.0))
        if isinstance(layer, nn.Conv2d): layer.register_forward_pre_hook(lambda layer, inputs: (inputs[0].contiguous(),))
    return gan


def literal(gan, data, batch):
    "The turns of `gan` as a generator that yields after each step: D collects gradients in G's turn, too, and each weight is moved by itself."
    moves = {side: torch.optim.Adam(gan.parameters_of(side), lr=2e-4, betas=(0.5, 0.999), foreach=False) for side in ("discriminator", "generator")}
    while True:
        for index in torch.randperm(len(data)).split(batch)[:-1]:
            for side, losses in (("discriminator", gan.discriminator_loss), ("generator", gan.generator_loss)):
                moves[side].zero_grad()
                total = sum(losses(data[index]).values())
                total.backward()
                moves[side].step()
                total.item()
            yield
