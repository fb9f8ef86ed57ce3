"""Speed and memory, in a table of medians: make bench. Not a test: machines differ, and shared ones differ by the minute.

Each pair is timed in turns, ours and by hand, so that both meet the same weather.
"""
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_fid.inception as inception_module
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations
from torch import nn
from torch.nn.functional import softplus

from ganlab.data import load
from ganlab.features import extract, inception, inception_v3
from ganlab.gan import GAN
from ganlab.live import LiveLosses
from ganlab.lipschitz import gradient_penalty
from ganlab.metrics import frechet_distance
from ganlab.models.mlp import mlp
from ganlab.models.wgan import wgan_gp
from ganlab.runs import accelerator, build
from ganlab.synthetic import scenes
from ganlab.trainer import Schedule, Trainer
from literal import as_written, literal

ADAM = partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))


def dcgan64(nf=16):
    "DCGAN's layers for 64x64 color images, at a quarter of the paper's width."
    up = lambda i, o, *rest: nn.Sequential(nn.ConvTranspose2d(i, o, 4, *rest, bias=False), nn.BatchNorm2d(o), nn.ReLU())
    down = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.2))
    G = nn.Sequential(nn.Unflatten(1, (100, 1, 1)), up(100, nf * 8, 1, 0), up(nf * 8, nf * 4, 2, 1), up(nf * 4, nf * 2, 2, 1), up(nf * 2, nf, 2, 1),
                      nn.ConvTranspose2d(nf, 3, 4, 2, 1), nn.Tanh())
    D = nn.Sequential(nn.Conv2d(3, nf, 4, 2, 1), nn.LeakyReLU(0.2), down(nf, nf * 2), down(nf * 2, nf * 4), down(nf * 4, nf * 8), nn.Conv2d(nf * 8, 1, 4))
    return GAN(G, D, 100)


def by_hand(gan, data, batch):
    "One step as a plain loop: a generator that yields after each step."
    G, D = gan.generator, gan.discriminator
    d_move, g_move = ADAM(D.parameters()), ADAM(G.parameters())
    while True:
        for index in torch.randperm(len(data)).split(batch)[:-1]:
            real = data[index]
            with torch.no_grad(): fake = G(torch.randn(batch, 100))
            loss = softplus(-D(real)).mean() + softplus(D(fake)).mean()
            d_move.zero_grad(); loss.backward(); d_move.step()
            D.requires_grad_(False)  # as the trainer does
            loss = softplus(-D(G(torch.randn(batch, 100)))).mean()
            g_move.zero_grad(); loss.backward(); g_move.step()
            D.requires_grad_(True)
            loss.item()  # everybody prints it
            yield


def timed(f, n):
    start = time.perf_counter()
    for _ in range(n): f()
    return (time.perf_counter() - start) / n


def compare(name, make, data, batch, steps, rounds=15):
    "Median seconds a step of the Trainer and of the plain loop, in alternating rounds, and the overhead."
    trainer, plain = Trainer(make(), data, batch, optimizer=ADAM), by_hand(make(), data, batch)
    loop = partial(next, plain)
    timed(trainer.step, steps), timed(loop, steps)
    pairs = [(timed(trainer.step, steps), timed(loop, steps)) for _ in range(rounds)]
    ours, theirs = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    yield f"{name}: Trainer", f"{ours * 1e3:.2f} ms/step"
    yield f"{name}: by hand", f"{theirs * 1e3:.2f} ms/step"
    yield f"{name}: overhead (median of paired ratios)", f"{100 * (statistics.median(a / b for a, b in pairs) - 1):+.1f} %"


def wgan_by_hand(gan, data, batch, careful=True):
    "WGAN-GP's turns as a plain loop; if not `careful`, fakes keep G's graph in D's turn and D collects gradients in G's."
    G, D = gan.generator, gan.discriminator
    d_move, g_move = (torch.optim.Adam(net.parameters(), 1e-4, betas=(0.5, 0.9)) for net in (D, G))
    while True:
        for index in torch.randperm(len(data)).split(batch)[:-1]:
            real = data[index]
            with torch.set_grad_enabled(not careful): fake = G(torch.randn(batch, gan.latent_dim))
            d_move.zero_grad(); (D(fake).mean() - D(real).mean() + gradient_penalty(D, real, fake)).backward(); d_move.step()
            if careful: D.requires_grad_(False)
            loss = -D(G(torch.randn(batch, gan.latent_dim))).mean()
            g_move.zero_grad(); loss.backward(); g_move.step()
            D.requires_grad_(True)
            loss.item()
            yield


def wgan(rounds=7, steps=3):
    "WGAN-GP with the official networks, batch 64: Trainer, careful loop and careless loop, in turns."
    data, make = torch.rand(2000, 1, 28, 28) * 2 - 1, partial(wgan_gp, critic="official")
    trainer = Trainer(make(), data, 64, schedule=Schedule())
    loops = [trainer.step, *(partial(next, wgan_by_hand(make(), data, 64, careful)) for careful in (True, False))]
    for loop in loops: timed(loop, steps)
    rows = [[timed(loop, steps) for loop in loops] for _ in range(rounds)]
    for i, name in enumerate(("Trainer", "by hand", "careless by hand")): yield f"WGAN-GP, official networks: {name}", f"{1 / statistics.median(r[i] for r in rows):.2f} steps/s"
    yield "  Trainer's overhead (median of paired ratios)", f"{100 * (statistics.median(r[0] / r[1] for r in rows) - 1):+.1f} %"
    yield "  times faster than the careless loop", f"{statistics.median(r[2] / r[0] for r in rows):.2f}"


def few_images(name, size, rounds=3, batch=8):
    "Seconds a step and peak memory of FastGAN ('fastgan') or Projected GAN ('projected') on color images: Trainer in float32 and bf16, and the literal step, in turns."
    data, make = scenes(4 * batch, size) / 127.5 - 1, partial(build, name, size=size, channels=3)
    in_bf16 = Trainer(make(), data, batch, accelerator=accelerator("cpu", "bf16"))
    ways = {"Trainer": Trainer(make(), data, batch, accelerator=accelerator("cpu")).step, "Trainer, bf16": in_bf16.step, "literal": partial(next, literal(as_written(make()), data, batch))}
    for way in ways.values(): way()
    rows = [[timed(way, 1) for way in ways.values()] for _ in range(rounds)]
    for i, way in enumerate(ways): yield f"{name}, {size}x{size}, batch {batch}: {way}", f"{statistics.median(r[i] for r in rows):.2f} s/step"
    for i, way in enumerate(("float32", "bf16")): yield f"  times faster than the literal step, {way}", f"{statistics.median(r[2] / r[i] for r in rows):.2f}"
    code = "import sys, resource; from ganlab.runs import build; from ganlab.trainer import Trainer; from ganlab.synthetic import scenes; name, size, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]); " \
           "Trainer(build(name, size=size, channels=3), scenes(batch, size) / 127.5 - 1, batch).fit(2); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    peak = int(subprocess.check_output([sys.executable, "-c", code, name, str(size), str(batch)], text=True)) / (2**20 if sys.platform == "darwin" else 2**10)
    yield "  peak memory of a process that trains it", f"{peak:,.0f} MiB"


def watched(name, make, data, batch, seconds=10, rounds=5):
    "Steps a second with LiveLosses on and without, in alternating rounds of `seconds`, in the background as in a notebook; what watching costs."
    def pace(*callbacks):
        trainer = Trainer(make(), data, batch, optimizer=ADAM, callbacks=callbacks).start(10**9)
        time.sleep(1)
        start, before = time.perf_counter(), trainer.steps
        time.sleep(seconds)
        done = (trainer.steps - before) / (time.perf_counter() - start)
        trainer.stop()
        return done
    pairs = []
    for _ in range(rounds): pairs.append((pace(), pace(live := LiveLosses())))
    yield f"{name}: bare, in the background", f"{statistics.median(a for a, _ in pairs):.0f} steps/s"
    yield f"{name}: slowed by LiveLosses (median of pairs)", f"{100 * (statistics.median(a / b for a, b in pairs) - 1):+.1f} %, {len(live.past)} pictures in {seconds + 1} s"


def imports():
    "Seconds of `import ganlab` beyond torch, in fresh interpreters."
    code = "import torch, sys, time; n = len(sys.modules); t = time.perf_counter(); import ganlab; print(time.perf_counter() - t, len(sys.modules) - n, 'torchvision' in sys.modules, 'matplotlib' in sys.modules)"
    rows = [subprocess.check_output([sys.executable, "-c", code], text=True).split() for _ in range(5)]
    yield "import ganlab, beyond torch", f"{1e3 * statistics.median(float(r[0]) for r in rows):.1f} ms, {rows[0][1]} modules"
    yield "  torchvision, matplotlib imported", f"{rows[0][2]}, {rows[0][3]}"


def folder():
    "Images per second of `load` on 1,000 JPEGs of 256x256."
    with tempfile.TemporaryDirectory() as home:
        for i, scene in enumerate(scenes(20, 256)):
            for k in range(50): Image.fromarray(scene.permute(1, 2, 0).numpy()).save(f"{home}/{i}-{k}.jpg", quality=90)
        load(home, size=64)
        seconds = statistics.median(timed(partial(load, home, size=64), 1) for _ in range(3))
    yield "load 1,000 JPEGs of 256x256 at 64", f"{1000 / seconds:,.0f} images/s"


def memory():
    "Peak memory after 100 steps and after 1,000 more."
    trainer = Trainer(mlp(28), torch.rand(1000, 1, 28, 28) * 2 - 1)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    trainer.fit(100)
    before = peak()
    trainer.fit(1000)
    yield "peak memory after 100 steps", f"{before:,.0f} MiB"
    yield "  growth over 1,000 more", f"{peak() - before:+.1f} MiB"


def distances(rounds=3):
    "Fréchet distance from features (n, 2048), ours and pytorch-fid's (covariances and scipy's root), in turns."
    theirs = lambda x, y: calculate_frechet_distance(*(f(s) for s in (x, y) for f in (partial(np.mean, axis=0), partial(np.cov, rowvar=False))))
    mix = torch.randn(2048, 2048) / 45
    for n in (500, 10_000):
        x, y = ((torch.randn(n, 2048) @ mix + shift).relu() for shift in (0.3, 0.35))
        pairs = []
        for _ in range(rounds):
            pairs.append((timed(partial(frechet_distance, x, y), 1), timed(partial(theirs, x.double().numpy(), y.double().numpy()), 1)))
        yield f"Fréchet distance, n={n:,}, d=2048: ours", f"{statistics.median(a for a, _ in pairs):.2f} s"
        yield f"Fréchet distance, n={n:,}, d=2048: pytorch-fid", f"{statistics.median(b for _, b in pairs):.2f} s"
        yield "  times faster (median of pairs)", f"{statistics.median(b / a for a, b in pairs):.1f}"


def extraction(n=100, rounds=3):
    "Images a second through Inception (random weights) from PNG files of 256x256, ours and pytorch-fid's loop."
    with tempfile.TemporaryDirectory() as home:
        weights, folder = f"{home}/weights.pth", f"{home}/images"
        torch.save(inception_v3().state_dict(), weights)
        inception_module.load_state_dict_from_url = lambda *args, **kwargs: torch.load(weights, weights_only=True)
        ours, theirs = inception(weights=weights), inception_module.InceptionV3()
        os.mkdir(folder)
        for i, scene in enumerate(scenes(n, 256)): Image.fromarray(scene.permute(1, 2, 0).numpy()).save(f"{folder}/{i:03d}.png")
        files = sorted(Path(folder).iterdir())
        pairs = [(timed(lambda: extract(load(folder), ours), 1), timed(lambda: get_activations(files, theirs, 50, num_workers=os.cpu_count()), 1)) for _ in range(rounds)]
    yield "Inception's features from files: ours", f"{n / statistics.median(a for a, _ in pairs):.1f} images/s"
    yield "Inception's features from files: pytorch-fid", f"{n / statistics.median(b for _, b in pairs):.1f} images/s"
    yield "  times faster (median of pairs)", f"{statistics.median(b / a for a, b in pairs):.2f}"


def neighbours():
    "Time and memory of precision and recall, density and coverage, and KID of 10,000 and 10,000 samples, each in a process of its own (Linux)."
    code = """import sys, time, torch
from ganlab import metrics
def peak(): return [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
x, y = (torch.randn(10_000, 2048, dtype=torch.double) for _ in range(2))
before, start = peak(), time.perf_counter()
getattr(metrics, sys.argv[1])(x, y)
print(time.perf_counter() - start, (peak() - before) / 2**10)"""
    for name in ("precision_recall", "density_coverage", "kid") if sys.platform == "linux" else ():
        seconds, mib = map(float, subprocess.check_output([sys.executable, "-c", code, name], text=True).split())
        yield f"{name}, 10,000 x 10,000, d=2048", f"{seconds:.0f} s, {mib:,.0f} MiB beside the features (all distances at once: {8 * 10**8 / 2**20:,.0f})"


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}\n")
    grey, color = torch.rand(2000, 1, 28, 28) * 2 - 1, scenes(100, 64) / 127.5 - 1
    sections = [memory(), imports(), folder(), compare("MLP 784, batch 64", partial(mlp, 28), grey, 64, 20), compare("DCGAN-64, batch 16", dcgan64, color, 16, 4),
                watched("MLP 784, batch 64", partial(mlp, 28), grey, 64), watched("DCGAN-64, batch 16", dcgan64, color, 16), wgan(),
                *(few_images(name, size) for name, size in (("fastgan", 64), ("fastgan", 128), ("projected", 64), ("fastgan", 256))), distances(), extraction(), neighbours()]
    for rows in sections:
        for what, number in rows: print(f"{what:<56} {number}", flush=True)
