"Styles: normalization against torch's, moments, whose style acts where, and exact continuation."
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from conftest import equal
from ganlab.checkpoint import newest
from ganlab.latent import lerp, truncate
from ganlab.models.stylegan import GAIN, AdaIN, EqualLinear, Mapping, Noise, StyleGenerator, crossed, mix, normalize, spread, stylegan
from ganlab.runs import load, resume, start
from ganlab.similarity import path_length


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return stylegan(32, 3, 10, 12, width=4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 7), st.integers(2, 7), st.integers(1, 9), st.integers(0, 1000))
def test_adain_is_instance_norm_at_the_start_and_gives_what_is_asked(n, channels, height, width, w_dim, seed):
    torch.manual_seed(seed)
    adain, x, w = AdaIN(channels, w_dim).double(), torch.randn(n, channels, height, width, dtype=torch.double) * 5 + 3, torch.randn(n, w_dim, dtype=torch.double)
    torch.testing.assert_close(adain(x, 0 * w), nn.InstanceNorm2d(channels)(x))
    gamma, beta = (part[..., None, None] for part in adain.style(w).chunk(2, 1))
    torch.testing.assert_close(adain(x, w), gamma * nn.InstanceNorm2d(channels)(x) + beta)
    torch.testing.assert_close(adain(x, w), adain(3 * x - 7, w), rtol=1e-3, atol=1e-3)  # what a channel's mean and deviation were is wiped out


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 50), st.floats(0.01, 100), st.integers(0, 1000))
def test_normalized_latents_have_unit_mean_square(n, d, scale, seed):
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    z = scale * z / z.abs().amax(1, keepdim=True)
    torch.testing.assert_close(normalize(z).square().mean(1), torch.ones(n, dtype=torch.double), rtol=0.01, atol=0)  # 1e-8 beside a square of at least 1e-4 / 50


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_the_mapping_keeps_the_mean_square_whatever_its_multiplier(depth):
    z = 30 * torch.randn(1000, 512, generator=torch.Generator().manual_seed(0))
    for multiplier in (1.0, 0.01):
        torch.manual_seed(depth)
        w = Mapping(512, 512, depth, GAIN, multiplier)(z)
        assert w.square().mean().item() == pytest.approx(1, abs=0.1)


def test_the_multiplier_slows_a_layer_down_by_itself():
    def moved(multiplier):
        torch.manual_seed(0)
        layer, x = EqualLinear(20, 30, multiplier=multiplier), torch.randn(50, 20)
        before, sgd = layer(x), torch.optim.Adam(layer.parameters(), lr=1e-4)
        before.square().mean().backward(); sgd.step()
        return (layer(x) - before).norm().item()
    assert moved(0.1) / moved(1.0) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("size, channels", [(16, 1), (32, 3), (128, 1)])
def test_all_sizes(size, channels):
    gan = stylegan(size, channels, 5, 6, width=1)
    w = gan.styles.latent(2)
    assert gan.generator.layers == int(np.log2(size)) - 2 and gan.styles.sample(w).shape == (2, channels, size, size)
    assert gan.discriminator(gan.sample(2)).shape == (2, 1)


def test_one_style_for_all_layers_is_plain_w_and_ends_of_walks_are_the_images(gan):
    z = gan.latent(6, torch.Generator().manual_seed(0))
    images, w = gan.sample(z), gan.styles.of(z)
    for styles in (w, spread(w, 3), lerp(w.roll(1, 0), w, 1.0), truncate(w, 1.0, gan.styles.mean)): torch.testing.assert_close(gan.styles.sample(styles), images, rtol=0, atol=2e-6)
    assert torch.equal(gan.styles.sample(w), images) and torch.equal(gan.styles.sample(4, seed=3), gan.sample(4, seed=3))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 4)), st.integers(0, 1000))
def test_mixing_exchanges_the_layers_that_are_named_and_no_others(taken, seed):
    a, b = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    mixed = mix(a, b, taken, 5)
    for k in range(5): assert torch.equal(mixed[:, k], (b if k in taken else a)[:, k])
    assert torch.equal(mix(a[:1, 0], b, taken, 5), mix(a[:1, :1].expand(3, 5, 7), b, taken, 5))  # one style beside many


def test_a_layers_style_acts_from_that_layer_on(gan):
    seen = []
    a, b = gan.styles.latent(2, torch.Generator().manual_seed(0))[:, None]
    with gan.drawing() as G:
        hooks = [block.register_forward_hook(lambda block, inputs, output: seen.append(output)) for block in G.blocks]
        for styles in (a, mix(a, b, 1, 3)): G.synthesis(styles)
        for hook in hooks: hook.remove()
    assert torch.equal(seen[0], seen[3]) and not torch.equal(seen[1], seen[4]) and not torch.equal(seen[2], seen[5])


def test_truncation_to_nothing_leaves_one_image(gan):
    w = gan.styles.latent(5)
    images = gan.styles.sample(truncate(w, 0.0, gan.styles.mean))
    assert torch.equal(images, images[:1].expand_as(images)) and not torch.equal(gan.styles.sample(w)[0], gan.styles.sample(w)[1])


def test_two_styles_in_training_only_and_each_image_its_own_cut():
    torch.manual_seed(0)
    w = torch.arange(2000.0)[:, None]
    mixed = crossed(w, 4)[..., 0]
    own = (mixed == w).sum(1)
    assert (own.bincount(minlength=5) / 2000).tolist() == pytest.approx([0, 0.3, 0.3, 0.3, 0.1], abs=0.04)
    for k in (1, 2, 3): assert torch.equal(mixed[own == k][:, k:], w.roll(1, 0)[own == k].expand(-1, 4 - k))
    G, z = StyleGenerator(16, 1, 5, 6, width=2), torch.randn(8, 5)
    assert not torch.equal(G(z), G(z)) and torch.equal(G.eval()(z), G(z))
    state = torch.get_rng_state()
    G(z)
    assert torch.equal(state, torch.get_rng_state())  # nothing is drawn in evaluation


def test_the_mean_style_is_learned_in_training_and_not_moved_by_looking():
    torch.manual_seed(0)
    G, z = StyleGenerator(16, 1, 5, 6, width=2), torch.randn(64, 5)
    G.eval()(z)
    assert not G.w_mean.any()
    G.train()
    for _ in range(2000): G.w_mean.lerp_(G.mapping(z).mean(0).detach(), 0.005)
    before = G.w_mean.clone()
    G(z)
    torch.testing.assert_close(before, G.mapping(z).mean(0), rtol=1e-3, atol=1e-4); torch.testing.assert_close(G.w_mean, before, rtol=1e-3, atol=1e-4)


def test_noise_is_fresh_in_training_and_one_picture_in_evaluation():
    torch.manual_seed(0)
    noise, x = Noise(64, 1), torch.zeros(4, 3, 64, 64)
    assert torch.equal(noise(x), x) and noise.weight.numel() == 1
    nn.init.constant_(noise.weight, 2.0)
    fresh = noise(x)
    assert fresh.std().item() == pytest.approx(2, rel=0.03) and torch.equal(fresh[:, 0], fresh[:, 2]) and not torch.equal(fresh[0], fresh[1])
    fixed = noise.eval()(x)
    assert torch.equal(fixed[0], fixed[3]) and torch.equal(Noise(64, 1).eval()(x), x)
    again = Noise(64, 1); again.load_state_dict(noise.state_dict())
    assert torch.equal(again.eval()(x), fixed)  # the picture belongs to the weights


def test_a_run_goes_on_to_the_same_bits_and_its_mean_style_with_it(tmp_path):
    words = dict(model=dict(name="stylegan", width=4, w_dim=8), data=dict(name="digits", size=16, n=100), batch_size=16, every=4, device="cpu")
    start(tmp_path / "whole", **words).fit(8)
    start(tmp_path / "parts", **words).fit(4); resume(tmp_path / "parts").fit(4)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    assert whole["gan"]["generator.w_mean"].any() and torch.equal(load(tmp_path / "whole").styles.mean, whole["gan"]["generator.w_mean"])
    gan = load(tmp_path / "parts")
    assert gan.average is not None and torch.equal(gan.styles.sample(3, seed=1), load(tmp_path / "whole").sample(3, seed=1))


def test_path_length_walks_through_styles(gan):
    squared = lambda x, y: (x - y).double().square().sum((1, 2, 3))
    rough, fine = (path_length(gan.styles, 100, squared, lerp, epsilon).value for epsilon in (1e-2, 2e-3))
    assert rough > 0 and rough == pytest.approx(fine, rel=0.1)


def test_the_generator_leaves_as_onnx(gan):
    onnxruntime, z = pytest.importorskip("onnxruntime"), gan.latent(3, torch.Generator().manual_seed(0))
    pytest.importorskip("onnxscript")
    with gan.drawing() as G: program = torch.onnx.export(G, (z[:2],), input_names=["z"], dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False)
    for n in (1, 3):
        made, = onnxruntime.InferenceSession(program.model_proto.SerializeToString()).run(None, dict(z=z[:n].numpy()))
        np.testing.assert_allclose(made, gan.sample(z[:n]).numpy(), atol=1e-4)
