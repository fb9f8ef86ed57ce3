"Critics: bounds against dense operators, penalties against closed forms, constraints that hold, and studies that survive a stop."
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

import ganlab.reproduce as reproduce
from conftest import equal
from ganlab.callbacks import TrackLipschitz
from ganlab.checkpoint import newest
from ganlab.data import load
from ganlab.lipschitz import between, bound_operators, gradient_penalty, lipschitz_bounds, normalize_weights, r1, slopes, spectral_norm
from ganlab.models.wgan import conv_critic, official_critic, official_generator, wgan, wgan_clip, wgan_gp
from ganlab.runs import accelerator, resume, start
from ganlab.trainer import Trainer

count = lambda net: sum(p.numel() for p in net.parameters())


def dense_norm(layer, shape):
    "Norm of the matrix of a linear layer, built column by column."
    eye = torch.eye(torch.Size(shape).numel(), dtype=torch.double).view(-1, *shape)
    layer = layer.double()
    if layer.bias is not None: layer.bias.data.zero_()
    with torch.no_grad(): return torch.linalg.matrix_norm(layer(eye).flatten(1), 2).item()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.sampled_from([1, 1, 2]), st.booleans(), st.integers(0, 1000))
def test_bounds_of_convolutions_against_the_dense_operator(inputs, outputs, kernel, stride, padding, dilation, transposed, seed):
    torch.manual_seed(seed)
    size = 7
    if transposed: layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride, min(padding, kernel - 1), dilation=dilation)
    else:
        if dilation * (kernel - 1) + 1 > size: return  # no whole patch fits
        layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation)
    bounds = lipschitz_bounds(nn.Sequential(layer), (inputs, size, size))
    true = dense_norm(layer, (inputs, size, size))
    assert bounds.operator == pytest.approx(true, rel=1e-2) and bounds.operator <= true * (1 + 1e-6)
    assert true <= bounds.certified * (1 + 1e-6) and (transposed or bounds.reshaped <= true * (1 + 1e-6))


def test_the_kernel_of_ones():
    layer = nn.Conv2d(1, 1, 3, padding=1); nn.init.ones_(layer.weight)
    bounds = lipschitz_bounds(nn.Sequential(layer), (1, 28, 28))
    assert bounds[:3] == pytest.approx((3.0, 9.0, 8.930), abs=1e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_mixed_chain_is_bounded_from_both_sides(groups):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1, groups=groups), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    net.train()(torch.randn(64, 2, 8, 8)); net[1].weight.data.uniform_(-2, 2)
    bounds = lipschitz_bounds(net, (2, 8, 8))
    assert net.training and len(bounds.layers) == 10 and "product" in bounds._repr_html_()
    x, y = torch.randn(2, 500, 2, 8, 8)
    steepest = ((net.eval()(x) - net(y)).norm(dim=1) / (x - y).flatten(1).norm(dim=1)).max().item()
    assert max(steepest, slopes(net, x).max().item()) <= bounds.operator <= bounds.certified * (1 + 1e-6)


def test_what_has_no_bound_is_refused_by_name():
    with pytest.raises(ValueError, match=r"1 \(LayerNorm\) has no known Lipschitz constant"): lipschitz_bounds(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), (3,))
    with pytest.raises(ValueError, match="zero padding"): lipschitz_bounds(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")), (1, 8, 8))
    with pytest.raises(ValueError, match="do not overlap"): lipschitz_bounds(nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(3, 1)), (1, 8, 8))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_penalty_of_a_linear_critic_and_its_samples(n, d, seed):
    torch.manual_seed(seed)
    w, real, fake = torch.randn(d, dtype=torch.double), torch.randn(n, d, dtype=torch.double), torch.randn(n, d, dtype=torch.double)
    f = lambda x: x @ w
    assert gradient_penalty(f, real, fake).item() == pytest.approx(10 * (w.norm().item() - 1) ** 2) and r1(f, real, weight=3.0).item() == pytest.approx(1.5 * w.square().sum().item())
    bowl = lambda x: x.square().sum(1) / 2  # its slope at x is |x|: each sample its own
    torch.testing.assert_close(slopes(bowl, real), real.norm(dim=1)); torch.testing.assert_close(slopes(bowl, real.flip(0)), real.norm(dim=1).flip(0))
    at = (between(real, fake) - real) / (fake - real)
    torch.testing.assert_close(at, at[:, :1].expand_as(at), atol=1e-6, rtol=1e-6)  # one place for a sample, not for a pixel
    assert n == 1 or at[:, 0].unique().numel() > 1


def test_counts_are_the_papers():
    assert count(wgan().discriminator) == 1_460_225 and count(conv_critic()) == 97_665 and count(official_generator()) == 1_554_177 and count(official_critic()) == 1_030_145


@pytest.mark.parametrize("critic", ["mlp", "conv", "official"])
def test_every_game_trains_with_every_critic(critic):
    for make in (wgan, wgan_clip, wgan_gp):
        torch.manual_seed(0)
        trainer = Trainer(make(12, 1, critic), load("digits", 12)[:100], 8).fit(2)
        assert trainer.gan.sample(3).shape == (3, 1, 12, 12)
    assert max(p.abs().max() for p in Trainer(wgan_clip(12, 1, critic), load("digits", 12)[:100], 8).fit(1).gan.discriminator.parameters()) <= 0.01


def test_penalties_in_mixed_precision():
    torch.manual_seed(0)
    try: trainer = Trainer(wgan_gp(16, critic="conv"), load("digits", 16), 16, accelerator=accelerator("cpu", "bf16")).fit(3)
    finally: accelerator("cpu")  # the next trainer is in full precision
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.gan.parameters())


def test_spectral_norm_holds_the_reshaped_norm_and_moves_only_in_training():
    torch.manual_seed(0)
    D = spectral_norm(conv_critic(16))
    for _ in range(60): D(torch.randn(2, 1, 16, 16))
    assert all(layer.reshaped == pytest.approx(1, abs=0.01) for layer in lipschitz_bounds(D, (1, 16, 16)).layers)
    before = {k: v.clone() for k, v in D.state_dict().items()}
    D.eval()(torch.randn(2, 1, 16, 16)); lipschitz_bounds(D.train(), (1, 16, 16))
    assert equal(before, dict(D.state_dict())) and D.training
    assert spectral_norm(D) is D and equal(before, dict(D.state_dict()))  # once is enough


def test_bounded_operators_make_a_one_lipschitz_critic():
    torch.manual_seed(0)
    D = conv_critic(16)
    for p in D.parameters(): p.data.mul_(5)
    bound_operators(D, (1, 16, 16))
    assert lipschitz_bounds(D, (1, 16, 16)).operator <= 1 + 1e-5 and slopes(D, torch.randn(50, 1, 16, 16)).max() <= 1 + 1e-5
    normalize_weights(D)
    assert all(layer.reshaped == pytest.approx(1, rel=1e-5) for layer in lipschitz_bounds(D, (1, 16, 16)).layers)


def test_tracking_slopes_changes_no_bit():
    def weights(*callbacks):
        torch.manual_seed(0)
        gan = wgan_gp(8, critic="conv"); spectral_norm(gan.discriminator)
        return Trainer(gan, load("digits"), 16, callbacks=callbacks).fit(4).gan.state_dict()
    track = TrackLipschitz(2)
    assert equal({**weights()}, {**weights(track)}) and [r[0] for r in track.rows] == [2, 4]
    assert all(slope <= operator <= certified * (1 + 1e-6) for _, slope, _, certified, operator in track.rows)
    panel = track.show()
    assert panel.pictures and "Step 4" in panel.sentence and track.show() is panel


def test_a_run_with_augmentation_goes_on_to_the_same_bits(tmp_path):
    words = dict(model=dict(name="mlp", hidden=[16], augment="translation,cutout"), data=dict(name="digits", n=100), batch_size=16, every=10, device="cpu", lipschitz=None)
    start(tmp_path / "whole", **words).fit(20)
    start(tmp_path / "parts", **words).fit(10); resume(tmp_path / "parts").fit(10)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})


def test_a_study_that_is_stopped_goes_on_where_it_was(tmp_path):
    def few(full, data):
        plan = reproduce.report_003(full, data)
        return plan._replace(recipes={k: plan.recipes[k] for k in ("+ dropout", "WGAN-GP, conv critic")})
    go = lambda folder, say=lambda line: None: reproduce.run_study(few, tmp_path / folder, seeds=2, data="digits", steps=10, say=say)
    heard = []
    def stop(line):
        heard.append(line)
        if len(heard) == 3: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): go("parts", stop)
    half, plan = tmp_path / "parts/wgan-gp-conv-critic/seed-1", few(False, "digits")
    assert not half.exists()
    recipe = plan.recipes["WGAN-GP, conv critic"]
    start(half, recipe.model, plan.data, **plan.shared, seed=1, steps=10, every=2, keep=1, lipschitz=1, **recipe.training).fit(4)  # killed within a run
    def scores(study): return {name: [(r["scores"], r["bounds"]) for r in runs] for name, runs in study.results.items()}
    whole, parts = go("whole"), go("parts")
    assert json.loads(json.dumps(scores(whole))) == json.loads(json.dumps(scores(parts)))
    assert (tmp_path / "whole/study.png").exists() and "2 seeds" in str(whole)
    assert whole.results["WGAN-GP, conv critic"][0]["scores"] != whole.results["WGAN-GP, conv critic"][1]["scores"]


def test_critics_on_the_command_line(tmp_path):
    command = lambda *words: subprocess.run([sys.executable, "-m", "ganlab", *map(str, words)], cwd=tmp_path, capture_output=True, text=True)
    done = command("train", "wgan_gp", "--critic", "conv", "--data", "digits", "--steps", 2, "--out", "run", "--device", "cpu")
    assert done.returncode == 0 and json.loads((tmp_path / "run/config.json").read_text())["model"]["critic"] == "conv", done.stderr
    for words, message in ((["train", "wgan", "--critic", "cnn", "--data", "digits"], "no critic 'cnn'"), (["train", "mlp", "--critic", "conv", "--data", "digits"], "--set critic=conv: want NAME=VALUE"),
                           (["reproduce", "report-3"], "no study 'report-3': did you mean 'report-003'")):
        done = command(*words)
        assert done.returncode == 1 and message in done.stderr, done.stderr
