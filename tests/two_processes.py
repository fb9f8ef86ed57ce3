"""Run by test_processes: trains a game that needs everything at once and saves what rank 0 ended with.

A penalty that differentiates twice, turns that use half of the parameters, losses that are methods, an average.
"""
import sys

import torch
from accelerate import Accelerator
from torch import nn

from ganlab.callbacks import EMA
from ganlab.data import load
from ganlab.gan import GAN
from ganlab.trainer import Trainer, leave


def r1(discriminator, real, fake):
    real = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()


out, batch = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
D = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(128, 1))
G = nn.Sequential(nn.Linear(10, 128), nn.ReLU(), nn.Unflatten(1, (8, 4, 4)), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh())
trainer = Trainer(GAN(G, D, 10, "relativistic", penalties={"r1": r1}), load("digits"), batch, callbacks=[EMA(0.9)], seed=5, accelerator=Accelerator(cpu=True)).fit(20)
state, processes = trainer.state_dict(), trainer.accelerator.num_processes
weights = torch.cat([p.detach().flatten() for p in trainer.gan.parameters()])
everyone = trainer.accelerator.gather(weights[None])
if trainer.accelerator.is_main_process:
    torch.save(dict(processes=processes, weights=weights, in_step=bool((everyone == everyone[0]).all()), position=state["position"],
                    streams=len(state["randomness"]), losses=trainer.history.columns["d_loss"].tolist()), out)
leave(trainer.accelerator)
