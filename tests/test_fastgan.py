"FastGAN: published counts, decoders that see what they draw, one hand for two turns, runs that go on to the bit, and bad input."
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn.functional import avg_pool2d

import ganlab.models.decoders as decoders
from conftest import equal
from literal import as_written
from ganlab.callbacks import EMA, Reconstructions, StopOnStagnation
from ganlab.checkpoint import newest
from ganlab.data import load
from ganlab.models.decoders import QUADRANTS, Box, Decoding, looks_at, named_decoders
from ganlab.models.fastgan import SIZES, FastDiscriminator, FastGenerator, fastgan, style_swap
from ganlab.models.projected import projected
from ganlab.runs import accelerator, load as load_run, resume, start
from ganlab.trainer import Schedule, Trainer

count = lambda net: sum(p.numel() for p in net.parameters())
SMALL = dict(latent_dim=16, width=4, reconstruction="pixels")


def small(size=32, channels=3, **more):
    torch.manual_seed(0)
    return fastgan(size, channels, **{**SMALL, **more})


@pytest.mark.parametrize("size, generator, discriminator", [(256, 29_127_846, 11_526_160), (512, 29_174_392, 11_526_496), (1024, 29_176_512, 11_528_192)])
def test_counts_and_logits_are_those_of_the_papers_code(size, generator, discriminator):
    with torch.device("meta"): gan = fastgan(size)
    assert count(gan.generator) == generator and count(gan.discriminator) == discriminator and count(gan.discriminator.decoders) == 3_139_488
    images = torch.empty(3, 3, size, size, device="meta")
    maps = gan.discriminator.encode(images)
    assert gan.discriminator(images).shape == (3, 50) and [x.shape[1:] for x in gan.generator.pair(torch.empty(3, 256, device="meta"))] == [(3, size, size), (3, 128, 128)]
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {"256": (16, 256, 256), "128": (32, 128, 128), "64": (64, 64, 64), "32": (128, 32, 32), "16": (256, 16, 16), "8": (512, 8, 8), "small": (256, 8, 8)}


@pytest.mark.parametrize("build", [lambda: fastgan(64, width=8, reconstruction="pixels"), lambda: projected(64, 3, width=8, heads=8, look=64)], ids=["fastgan", "projected"])
def test_a_fast_step_is_the_step_as_it_is_written(build):
    def turns(change):
        torch.manual_seed(0)
        gan, real = change(build().double()), torch.rand(4, 3, 64, 64, dtype=torch.double) * 2 - 1
        gan.deal = lambda n: gan.latent(n, torch.Generator().manual_seed(1)).double()
        numbers = []
        for side, losses in (("discriminator", gan.discriminator_loss), ("generator", gan.generator_loss)):
            parts, moved = losses(real), [p for p in gan.parameters_of(side) if p.requires_grad]
            numbers += [*parts.values(), *torch.autograd.grad(sum(parts.values()), moved, retain_graph=True, allow_unused=True)]
        return numbers
    fast, written = turns(lambda gan: gan), turns(as_written)
    assert len(fast) == len(written) > 50
    assert all((a is None and b is None) or torch.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in zip(fast, written))


@pytest.mark.parametrize("size, channels", list(zip(SIZES, (1, 3, 1, 3, 1, 3))))
def test_every_size_fits_together(size, channels):
    with torch.device("meta"):
        gan = fastgan(size, channels, width=3, latent_dim=7)
        pair = gan.generator.pair(torch.empty(2, 7))
        assert [x.shape for x in pair] == [(2, channels, s, s) for s in (size, min(128, size // 2))] and gan.discriminator(pair).shape == gan.discriminator(pair[0]).shape == (2, 50)
        maps = gan.discriminator.encode(pair)
        for name in gan.discriminator.decodings: assert gan.discriminator.decode(name, maps).shape == gan.discriminator.target(name, pair[0]).shape == pair[1].shape
        assert gan.generator.gates and gan.discriminator.gates


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([64, 128]), st.sampled_from([8, 16, 32]), st.integers(0, 100), st.data())
def test_any_box_sees_the_pixels_that_it_asks_for(size, source, seed, data):
    side = data.draw(st.integers(4, source))
    top, left = (data.draw(st.integers(0, source - side)) for _ in "yx")
    torch.manual_seed(seed)
    D = FastDiscriminator(size, width=4)
    D.decodings["mine"] = Decoding(str(source), (Box(top / source, left / source, side / source),))
    energy = looks_at(D, "mine")
    held = avg_pool2d(energy[None, None], round(side / source * size), 1)[0, 0]  # of each window of the box's size
    most = [(held.argmax().item() // held.shape[1]) / size * source, (held.argmax().item() % held.shape[1]) / size * source]
    assert abs(most[0] - top) <= 1 and abs(most[1] - left) <= 1  # in cells of the map


def test_the_center_of_report_000_sees_a_quarter_of_what_it_draws():
    torch.manual_seed(0)
    D = FastDiscriminator(64, width=8, decoders="center,center-report-000")
    inside = {name: D.decodings[name].target(0).of(looks_at(D, name)[None, None]).sum().item() for name in D.decodings}
    assert inside["center"] > 0.75 and 0.2 < inside["center-report-000"] < 0.3


def test_quadrants_are_drawn_anew_in_each_step(monkeypatch):
    gan, seen = small(decoders="part"), set()
    decode = gan.discriminator.decode
    monkeypatch.setattr(gan.discriminator, "decode", lambda name, maps, which: seen.add(which) or decode(name, maps, which))
    Trainer(gan, load("scenes", 32)[:16], 2).fit(25)
    assert seen == {0, 1, 2, 3} and list(named_decoders("whole, quadrants")) == ["whole", "top-left", "top-right", "bottom-left", "bottom-right"] and len(QUADRANTS) == 4


def test_both_turns_see_the_same_fakes_and_one_turn_alone_draws_its_own():
    gan, seen = small(augment="color,translation"), []
    trainer = Trainer(gan, load("scenes", 32)[:16], 4)
    gan.discriminator.register_forward_pre_hook(lambda net, images: seen.append([x.detach().clone() for x in images[0]]))
    trainer.step()
    assert equal(seen[0], seen[1]) and gan.hand is None
    trainer.generator_step(); trainer.generator_step()
    assert not equal(seen[2], seen[3]) and len(seen) == 4
    trainer.discriminator_step(); trainer.discriminator_step(); trainer.generator_step()  # two turns of D: G moves on the hand of the last one
    assert equal(seen[5], seen[6]) and not equal(seen[4], seen[5])


def test_gradients_of_a_shared_hand_are_those_of_a_pass_of_its_own():
    gan, real = small(augment=""), load("scenes", 32)[:4]
    torch.manual_seed(1); gan.rng.manual_seed(1)
    gan.discriminator_loss(real)
    for p in gan.discriminator.parameters(): p.data.mul_(1.01)  # D moves between the turns
    before = {k: v.clone() for k, v in gan.discriminator.state_dict().items()}
    gan.generator_loss(real)["adversarial"].backward()
    shared = [p.grad.clone() for p in gan.generator.parameters() if p.grad is not None]
    gan.generator.zero_grad(); gan.discriminator.load_state_dict(before)
    again = small(augment="")  # G as it was before its pass, which moves spectral norm's vectors
    again.discriminator.load_state_dict(before)
    torch.manual_seed(1); again.rng.manual_seed(1)
    again.generator_loss(real)["adversarial"].backward()
    alone = [p.grad for p in again.generator.parameters() if p.grad is not None]
    for a, b in zip(shared, alone, strict=True): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_goes_on_to_the_same_bits(tmp_path, channels):
    words = dict(model=dict(name="fastgan", **SMALL), data=dict(name="scenes" if channels == 3 else "glyphs", n=30, size=32), batch_size=4, every=10, device="cpu")
    start(tmp_path / "whole", **words).fit(8)
    start(tmp_path / "parts", **words).fit(5); resume(tmp_path / "parts").fit(3)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    assert torch.equal(load_run(tmp_path / "whole").sample(3, seed=0), load_run(tmp_path / "parts").sample(3, seed=0))


def test_building_the_network_that_compares_moves_no_stream():
    "It is built at its first use, which in a resumed run is another step."
    decoders.lite0_stages.cache_clear()
    before = torch.get_rng_state()
    decoders.lite0_stages()
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_keeps_the_distance_that_it_began_with(tmp_path, monkeypatch):
    words = dict(model=dict(name="fastgan", **{**SMALL, "reconstruction": "auto"}), data=dict(name="scenes", n=8, size=32), batch_size=4, device="cpu")
    start(tmp_path / "run", **words).fit(1)
    monkeypatch.setattr("ganlab.models.fastgan.named_reconstruction", lambda *about: "lpips")  # as if its weights had come since
    assert resume(tmp_path / "run").gan.reconstruction == "features"


def test_watching_changes_no_bit_and_stopping_is_remembered():
    def weights(*callbacks): return Trainer(small(), load("scenes", 32)[:16], 4, callbacks=[EMA(0.9), *callbacks]).fit(4).gan.state_dict()
    watch = Reconstructions(3, every=2)
    gan = small()
    trainer = Trainer(gan, load("scenes", 32)[:16], 4, callbacks=[EMA(0.9), watch])
    panel = watch.show()
    trainer.fit(4); panel.touch("box", 3)
    assert equal(dict(weights()), dict(gan.state_dict())) and len(panel.pictures) == 3 and "Step 4." in panel.sentence and panel.sentence.count("0.") >= 3
    assert {name: tuple(x.shape) for name, x in watch.pictures(1).items()} == dict.fromkeys(("whole", "small", "part"), (6, 3, 16, 16))

    rule = StopOnStagnation(patience=4, window=2, by=0.99)  # nothing is ever good enough after the first window
    trainer = Trainer(small(), load("scenes", 32)[:16], 4, callbacks=[rule]).fit(100)
    assert trainer.steps == 6
    halfway, again = StopOnStagnation(patience=4, window=2, by=0.99), StopOnStagnation(patience=4, window=2, by=0.99)
    first = Trainer(small(), load("scenes", 32)[:16], 4, callbacks=[halfway]).fit(3)
    second = Trainer(small(), load("scenes", 32)[:16], 4, callbacks=[again])
    second.load_state_dict(first.state_dict())
    assert second.fit(100).steps == 6 and again.best == rule.best

    late = StopOnStagnation(patience=100, window=4)  # it listens from step 3 on: its first mean is of steps 4 to 7
    trainer = Trainer(small(), load("scenes", 32)[:16], 4).fit(3)
    trainer.callbacks.append(late)
    trainer.fit(4)
    rebuilt = sum(trainer.history[name] for name in trainer.history.columns if "rebuild" in name)
    assert late.best == pytest.approx(rebuilt[-4:].mean())


def test_mixed_precision_and_other_schedules():
    try: trainer = Trainer(small(augment="color,translation,cutout"), load("scenes", 32)[:16], 4, accelerator=accelerator("cpu", "bf16")).fit(2)
    finally: accelerator("cpu")  # the next trainer is in full precision
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in trainer.gan.parameters())
    assert Trainer(small(), load("scenes", 32)[:16], 4, schedule=Schedule(n_d=2, n_g=2, g_every=2)).fit(3).gan.hand is not None  # G sits out the third step


def test_a_rule_without_its_loss_says_what_there_is():
    with pytest.raises(ValueError, match="no loss is called perplexity.*d_loss"): Trainer(small(), load("scenes", 32)[:16], 4, callbacks=[StopOnStagnation(columns="perplexity")]).fit(1)


def test_gates_of_another_latent():
    gan = small(64)
    z, style = torch.randn(2, 2, 16)
    with gan.drawing() as G:
        for p in G.parameters(): p.data.normal_()
        assert torch.equal(G(z, z), G(z)) and torch.equal(G(z, style, []), G(z)) and torch.equal(G(z, style), G(z, style, [16, 32, 64]))
        assert not torch.equal(G(z, style, [16]), G(z)) and not torch.equal(G(z, style, [16]), G(z, style))
    panel = style_swap(gan)
    for name in ("map_16", "map_32", "map_64"): panel.touch(name, False)
    assert "its own style: it differs from the left one by 0%" in panel.sentence and panel.alts == [panel.sentence]


def test_lpips_has_gradients_and_says_which_file_it_misses(monkeypatch, tmp_path):
    from torchmetrics.functional.image.lpips import _LPIPS
    untrained = _LPIPS(pretrained=False, net="vgg", pnet_rand=True, eval_mode=True)
    monkeypatch.setattr(decoders, "lpips_network", lambda net: untrained)
    x, y = torch.randn(2, 2, 1, 32, 32).tanh()
    distance = decoders.lpips(x.requires_grad_(), y)
    distance.sum().backward()
    assert distance.shape == (2,) and x.grad.abs().sum() > 0 and not any(p.requires_grad for p in untrained.parameters())
    def missing(net): raise FileNotFoundError("LPIPS needs vgg16-397923af.pth")
    monkeypatch.setattr(decoders, "lpips_network", missing)
    with pytest.raises(FileNotFoundError, match="vgg16-397923af.pth Or take another reconstruction: 'features'"): decoders.lpips(y, y)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert decoders.named_reconstruction("auto", 3, 32) == "features"
    (tmp_path / "checkpoints").mkdir(); (tmp_path / "checkpoints/vgg16-397923af.pth").touch()
    assert decoders.named_reconstruction("auto", 3, 32) == "lpips" and decoders.named_reconstruction("auto", 3, 16) == "features"


@pytest.mark.parametrize("words, message", [
    (dict(size=48), "not 48: load the data in one of these sizes"), (dict(size=16), "not 16"), (dict(size=2048), "not 2048"),
    (dict(size=32, channels=1, reconstruction="features"), "have 1 channel: take 'pixels'"), (dict(size=32, reconstruction="lpips"), "the decoders draw 16"),
    (dict(size=64, decoders="whole,part,center", reconstruction="lpips"), "the decoders draw 16"),
    (dict(size=64, decoders="whole,hole"), "no decoder 'hole': did you mean 'whole'"), (dict(size=64, reconstruction="pixel"), "did you mean 'pixels'"),
    (dict(size=32, decoders="center"), "'center' would draw 8x8 pixels of images of 32"), (dict(size=64, augment="colour"), "did you mean 'color'"),
])
def test_what_cannot_be_built_is_said(words, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"): fastgan(width=4, **words)


def test_data_of_another_size_and_too_few(tmp_path):
    with pytest.raises(ValueError, match=r"takes images \(3, 32, 32\), got \(3, 64, 64\)"): Trainer(small(), load("scenes", 64)[:8], 4).fit(1)
    with pytest.raises(ValueError, match="a batch of 8 needs at least as many images"): Trainer(small(), load("scenes", 32)[:5], 8)
    command = lambda *words: subprocess.run([sys.executable, "-m", "ganlab", *map(str, words)], cwd=tmp_path, capture_output=True, text=True)
    done = command("train", "fastgan", "--data", "scenes", "--size", 32, "--batch", 4, "--steps", 2, "--set", "width=4", "--set", "decoders=whole,part", "--set", "reconstruction=pixels", "--out", "run", "--device", "cpu")
    assert done.returncode == 0 and json.loads((tmp_path / "run/config.json").read_text())["model"]["decoders"] == "whole,part", done.stderr
    with pytest.raises(ValueError, match="not 48"): start(tmp_path / "no", dict(name="fastgan"), dict(name="scenes", n=8, size=48))
