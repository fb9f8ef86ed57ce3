"InfoGAN: what the latent is made of, whose gradients go where, a matching against all permutations, and runs that go on to the bit."
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from conftest import equal
from ganlab.checkpoint import newest
from ganlab.data import load
from ganlab.models.infogan import InfoGAN, Recognizer, correlations, infogan, infogan_generator, layout, matched_accuracy, matched_correlations, measure, sheet
from ganlab.runs import load as load_run, resume, start
from ganlab.trainer import Trainer


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 6), max_size=3), st.integers(0, 3), st.integers(1, 50), st.integers(0, 1000))
def test_the_latent_is_noise_and_the_codes_that_are_listed(categorical, continuous, n, seed):
    if not categorical and not continuous: continuous = 1
    gan = infogan(8, 1, categorical, continuous, width=2)
    z = gan.latent(n, torch.Generator().manual_seed(seed))
    assert z.shape == (n, 62 + sum(categorical) + continuous) and equal(z, gan.latent(n, torch.Generator().manual_seed(seed)))
    assert [c.start for c in gan.codes] + [gan.latent_dim] == [62] + [c.start + c.size for c in gan.codes]
    assert len({c.name for c in gan.codes}) == len(categorical) + continuous
    for code in gan.codes:
        if code.kind == "categorical": assert (code.of(z).sum(1) == 1).all() and set(code.of(z).unique().tolist()) <= {0.0, 1.0}
    assert z.abs().max() <= 1
    gan.sample(z); assert gan.training


def test_codes_are_drawn_evenly():
    z = infogan(8, width=2).latent(20_000, torch.Generator().manual_seed(0))
    assert (z[:, 62:72].mean(0) - 0.1).abs().max() < 0.01
    assert (torch.cat([z[:, :62], z[:, 72:]], 1).var(0) - 1 / 3).abs().max() < 0.01 and z[:, 72].corrcoef() == pytest.approx(1)


def test_only_the_side_whose_turn_it_is_moves():
    torch.manual_seed(0)
    trainer = Trainer(infogan(16, width=4), load("digits", 16)[:64], 16)
    copy = lambda: {k: v.detach().clone() for k, v in trainer.gan.named_parameters()}
    start, _, after_d = copy(), trainer.discriminator_step(), copy()
    trainer.generator_step(); after_g = copy()
    changed = lambda a, b: {k.split(".")[0] for k in a if not torch.equal(a[k], b[k])}
    assert changed(start, after_d) == {"discriminator"} and changed(after_d, after_g) == {"generator"}
    assert all(not torch.equal(start[k], after_d[k]) for k in start if k.startswith("discriminator.") and k.endswith("weight"))


def test_without_information_nobody_moves_the_reader():
    torch.manual_seed(0)
    trainer = Trainer(infogan(16, information=0.0, width=4), load("digits", 16)[:64], 16)
    before = [p.detach().clone() for p in trainer.gan.discriminator.reader.parameters()]
    trainer.fit(2)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.gan.discriminator.reader.parameters()))
    assert trainer.history["d_loss.information"].tolist() == [0, 0] and len(trainer.history["g_bound.category 1"]) == 2


def test_penalties_and_objectives_that_compare_are_played_too():
    torch.manual_seed(0)
    gan = InfoGAN(infogan_generator(8, 3, 7, 2), Recognizer(8, 3, 3, 2), layout(4, (2,), 1), objective="relativistic", penalties=dict(size=lambda D, real, fake: fake.square().mean()))
    assert gan.discriminator_loss(torch.rand(4, 3, 8, 8)).keys() == {"adversarial", "size", "information"}
    assert gan.generator_loss(torch.rand(4, 3, 8, 8)).keys() == {"adversarial", "information"}
    with pytest.raises(ValueError, match=r"the generator makes \(3, 8, 8\), the data are \(3, 12, 12\)"): gan.discriminator_loss(torch.rand(4, 3, 12, 12))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 60), st.integers(0, 1000))
def test_matched_accuracy_is_the_best_of_all_permutations(k, n, seed):
    rng = torch.Generator().manual_seed(seed)
    predicted, labels = torch.randint(k, (2, n), generator=rng)
    best = max((torch.tensor(p)[predicted] == labels).float().mean().item() for p in permutations(range(k)))
    assert matched_accuracy(predicted, labels) == pytest.approx(best) and best >= 1 / k - 1e-9
    with pytest.raises(ValueError, match="a label for each prediction"): matched_accuracy(predicted, torch.cat([labels, labels]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 1000))
def test_matched_correlations_are_the_best_of_all_pairings(codes, seed):
    rng = torch.Generator().manual_seed(seed)
    factors = dict(zip("abcd", torch.rand(4, 30, generator=rng)))
    table = correlations(torch.randn(30, codes, generator=rng), factors)
    best = max(sum(abs(table[f][j]) for j, f in enumerate(chosen)) for chosen in permutations(factors, codes))
    assert sum(matched_correlations(table).values()) == pytest.approx(best) and len(matched_correlations(table)) == codes


def test_reading_changes_nothing_and_portions_do_not_matter(tmp_path):
    torch.manual_seed(0)
    gan, data = infogan(16, categorical=[10, 3], continuous=1, width=4), load("digits", 16)
    before = {k: v.clone() for k, v in gan.state_dict().items() if isinstance(v, torch.Tensor)}
    stream = torch.random.get_rng_state()
    read = gan.codes_of(data)
    assert torch.equal(stream, torch.random.get_rng_state())
    for i in range(3): Image.fromarray(data.images[i, 0].add(1).mul(127.5).round().byte().numpy()).save(tmp_path / f"{i}.png")
    torch.testing.assert_close(gan.codes_of(load(tmp_path, channels=1)), {k: v[:3] for k, v in read.items()}, atol=0.05, rtol=0.1)
    assert gan.discriminator.training and equal(before, {k: v for k, v in gan.state_dict().items() if isinstance(v, torch.Tensor)})
    assert {k: v.shape for k, v in read.items()} == {"category 1": (1500, 10), "category 2": (1500, 3), "continuous 1": (1500, 1)}
    torch.testing.assert_close(gan.codes_of(data[3:7]), {k: v[3:7] for k, v in read.items()})
    assert measure(gan, data)["accuracy"].keys() == {"category 1", "category 2"} and measure(gan, data)["correlations"] == {}


def test_a_sheet_varies_one_code_across_and_classes_down():
    gan = infogan(8, continuous=2, width=2)
    z = sheet(gan, gan.codes[2], np.linspace(-2, 2, 5)).view(10, 5, -1)
    assert torch.equal(z[:, 0, 62:72], torch.eye(10)) and torch.equal(z[3, :, 73], torch.linspace(-2, 2, 5))
    assert (z[..., :62] == z[0, 0, :62]).all() and (z[..., 72] == 0).all()
    assert torch.equal(gan.sample(z.view(50, -1)), gan.sample(z.view(50, -1)))


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    words = dict(model=dict(name="infogan", width=4, categorical=[10]), data=dict(name="digits", size=16, n=100), batch_size=16, every=10, device="cpu")
    start(tmp_path / "whole", **words).fit(20)
    start(tmp_path / "parts", **words).fit(10); resume(tmp_path / "parts").fit(10)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    a, b = load_run(tmp_path / "whole"), load_run(tmp_path / "parts")
    assert torch.equal(a.sample(4, seed=0), b.sample(4, seed=0)) and torch.equal(a.sample(4, seed=0), a.sample(4, seed=0))
    images = load("digits", 16)
    assert equal(a.codes_of(images), b.codes_of(images))


@pytest.mark.parametrize("size, channels", [(8, 1), (28, 1), (32, 3)])
def test_other_sizes_and_channels_train(size, channels):
    torch.manual_seed(0)
    trainer = Trainer(infogan(size, channels, width=2), torch.rand(16, channels, size, size) * 2 - 1, 8).fit(2)
    assert trainer.gan.sample(3).shape == (3, channels, size, size)
    assert max(trainer.history["d_bound.category 1"]) <= np.log(10)
    with pytest.raises(ValueError, match="nothing to read"): infogan(8, categorical=(), continuous=0)
