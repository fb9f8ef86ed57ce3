"RealnessGAN: anchors against numpy, losses against torch, three gradients, losses without a floor, runs that go on."
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from conftest import equal
from ganlab.checkpoint import newest
from ganlab.models.realness import VARIANTS, anchors, cross_entropy, project, realness, realness_discriminator, realness_generator, realness_objective, realness_points, sn_discriminator
from ganlab.runs import load, resume, start
from ganlab.synthetic import toy
from ganlab.trainer import Schedule, Trainer

seeded = lambda seed: torch.Generator().manual_seed(seed)
outcomes, skews, seeds = st.integers(2, 60), st.floats(0, 2), st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(outcomes, skews, seeds)
def test_anchors_are_distributions_and_the_skew_moves_them_apart(n, skew, seed):
    plain, skewed = anchors(n, 0.0, rng=seeded(seed)), anchors(n, skew, rng=seeded(seed))
    places = torch.linspace(-1, 1, n)
    for anchor in (*plain, *skewed): assert anchor.shape == (n,) and anchor.min() >= 0 and anchor.sum().item() == pytest.approx(1, abs=1e-5)
    assert skewed[0] @ places <= plain[0] @ places + 1e-5 and skewed[1] @ places >= plain[1] @ places - 1e-5
    assert plain[1][-1].item() == pytest.approx(1 / n, abs=5 * (n * 1000) ** -0.5)  # five deviations of a count of 1,000
    assert anchors(n, 1.0, rng=seeded(seed))[1][-1].item() == pytest.approx((n + 1) / (2 * n), abs=0.08)


@settings(max_examples=60, deadline=None)
@given(outcomes, seeds)
def test_anchors_without_skew_are_numpys_histograms(n, seed):
    rng = seeded(seed)
    for anchor, numbers in zip(anchors(n, 0.0, rng=seeded(seed)), (0.1 * torch.randn(1000, generator=rng), 2 * torch.rand(1000, generator=rng) - 1)):
        assert np.abs(np.histogram(numbers.numpy(), n)[0] / 1000 - anchor.numpy()).sum() <= 0.005  # a number on an edge may fall to either side


@settings(max_examples=60, deadline=None)
@given(outcomes, st.floats(-2, 2), seeds)
def test_what_stays_on_the_scale_moves_by_the_shift(n, shift, seed):
    places, mass = torch.linspace(-1, 1, n), torch.rand(n, generator=seeded(seed))
    moved = project(mass, shift)
    assert moved.sum().item() == pytest.approx(mass.sum().item(), rel=1e-4) and moved.min() >= 0
    assert (moved @ places).item() == pytest.approx((mass @ (places + shift).clamp(-1, 1)).item(), abs=1e-3)  # splitting keeps the mean


def test_losses_are_torchs_cross_entropy():
    torch.manual_seed(0)
    real, fake, (a0, a1) = torch.randn(7, 5), torch.randn(7, 5), anchors(5)
    ce = lambda logits, target: nn.functional.cross_entropy(logits, target.expand(7, 5))
    draw = lambda: (a0, a1)
    torch.testing.assert_close(cross_entropy(real, fake.softmax(1)), ce(real, fake.softmax(1)))
    torch.testing.assert_close(realness_discriminator(real, fake, draw), ce(real, a1) + ce(fake, a0))
    wanted = dict(away=-ce(fake, a0), toward=ce(fake, a1) - ce(fake, a0), relativistic=ce(fake, real.softmax(1)) - ce(fake, a0))
    for variant in VARIANTS: torch.testing.assert_close(realness_generator(fake, real, draw, variant), wanted[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_generator_raises_realness_and_its_loss_has_no_floor(variant):
    objective = realness_objective(5, variant)
    sure = torch.tensor([[-8.0, -4.0, 0.0, 4.0, 8.0]])
    fake = torch.zeros(1, 5, requires_grad=True)
    slope, = torch.autograd.grad(objective.generator(fake, sure if objective.paired else None), fake)
    assert slope[0, 0] > 0 > slope[0, -1]  # down the slope: less of the lowest outcome, more of the highest
    assert objective.score(fake - slope) > objective.score(fake)
    assert objective.generator(1e6 * sure, sure).item() < -1e5


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_generator_alone_falls_without_end(variant):
    torch.manual_seed(0)
    trainer = Trainer(realness_points(variant=variant, width=16), 4 * toy("ring", 500), 50, schedule=Schedule(n_d=0, n_g=1))
    trainer.fit(400)
    losses = trainer.history["g_loss"]
    assert losses[-1] < losses[200] < losses[0] and losses[-1] < -10
    trainer.optimizers["generator"].param_groups[0]["lr"] = 1e37
    with pytest.raises(FloatingPointError, match="generator's"): trainer.fit(10)


def test_spectral_norm_is_on_every_layer_and_its_vectors_are_in_the_state():
    D = sn_discriminator(32, 3, 4, 8)
    layers = [m for m in D.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert D(torch.zeros(2, 3, 32, 32)).shape == (2, 4) and len(layers) == 4
    assert sum(name.endswith("._u") for name in D.state_dict()) == 4


@pytest.mark.parametrize("words", [dict(variant="away", skew=0.0), dict(redraw=False), {}], ids=str)
def test_a_run_goes_on_to_the_same_bits(tmp_path, words):
    words = dict(model=dict(name="realness", width=8, **words), data=dict(name="digits", size=16, n=100), batch_size=16, every=5, device="cpu")
    start(tmp_path / "whole", **words).fit(10)
    start(tmp_path / "parts", **words).fit(5); resume(tmp_path / "parts").fit(5)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    assert load(tmp_path / "whole").sample(2, seed=0).shape == (2, 1, 16, 16)


def test_three_turns_of_g_a_step_and_what_d_says_is_in_the_history():
    torch.manual_seed(0)
    turns = []
    trainer = Trainer(realness_points(width=8), 4 * toy("ring", 200), 50)
    trainer.gan.moved = turns.append
    trainer.fit(2)
    assert turns == 2 * ["discriminator", *3 * ["generator"]]
    assert all(-1 <= v <= 1 for side in ("d_real", "d_fake") for v in trainer.history[side])


def test_what_cannot_be_is_refused(tmp_path):
    for words, message in ((dict(outcomes=1), "two outcomes or more, not 1"), (dict(outcomes=0), "not 0"), (dict(variant="relativist"), "did you mean 'relativistic'"), (dict(skew=-1.0), "skew is from 0 to 2, not -1")):
        with pytest.raises(ValueError, match=message): realness(16, **words)
        with pytest.raises(ValueError, match=message): realness_points(**words)
    with pytest.raises(ValueError, match="not 28"): realness(28)


def test_realness_on_the_command_line(tmp_path):
    command = lambda *words: subprocess.run([sys.executable, "-m", "ganlab", "train", "realness", "--data", "digits", "--size", "16", "--steps", "2", "--device", "cpu", *words], cwd=tmp_path, capture_output=True, text=True)
    done = command("--set", "outcomes=4", "--set", "variant=toward", "--set", "width=8", "--out", "run")
    assert done.returncode == 0 and json.loads((tmp_path / "run/config.json").read_text())["model"]["outcomes"] == 4, done.stderr
    done = command("--set", "variant=forward")
    assert done.returncode == 1 and "no variant 'forward'" in done.stderr, done.stderr
