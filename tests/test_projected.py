"Projected GAN: counts and logits of the released code, eyes that never move, the weights they have, and what cannot be built."
import builtins
import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate

from conftest import equal
from ganlab.batches import resize
from ganlab.checkpoint import newest
from ganlab.data import load
from ganlab.features import efficientnet_lite0
from ganlab.gan import GAN
from ganlab.models.projected import ProjectedDiscriminator, ProjectedGenerator, Projector, backbone, blur_sigma, blurred, projected
from ganlab.objectives import hinge
from ganlab.runs import load as load_run, resume, start
from ganlab.trainer import Trainer

count = lambda net: sum(p.numel() for p in net.parameters())
DIGEST = [[0.6074, 8.8793, 1.6075], [-0.205, 7.5916, -0.6243], [0.1297, 6.6696, -0.8082], [0.0285, 2.6008, -2.3362]]  # of the four maps of the photographs: mean, deviation, mean of one channel
SMALL = dict(width=4, heads=4, look=64)


@pytest.fixture(scope="module")
def photos():
    "scikit-learn's palace and flower, (2, 3, 224, 224)."
    bytes_ = [torch.from_numpy(photo.transpose(2, 0, 1).copy())[None, :, 5:421, 112:528] for photo in load_sample_images().images]
    return torch.cat([resize(photo, 224) for photo in bytes_]) / 127.5 - 1


def game(seed=0, **words):
    torch.manual_seed(seed)
    return projected(32, 3, **{**SMALL, **words})


def test_counts_are_the_released_code_s():
    with torch.device("meta"):
        made = {(b, s): count(ProjectedGenerator(s, blocks=b)) for b in ("lite", "fastgan") for s in (256, 512)}
    assert made == {("lite", 256): 79_354_307, ("lite", 512): 79_522_531, ("fastgan", 256): 105_684_175, ("fastgan", 512): 105_870_961}
    D = ProjectedDiscriminator(256)
    assert [count(h) for h in D.heads] == [2_829_120, 2_763_392, 2_631_936, 2_106_880]
    assert count(D.project.net) == 2_958_848 and count(D.project.channels) == 200_128 and count(D.project.scales) == 176_640
    assert made["fastgan", 256] + count(D) == 119_351_119


@pytest.mark.parametrize("size, look, logits", [(256, 224, 25), (128, 224, 16), (64, 128, 1), (32, 64, 1), (32, 96, 9), (32, 160, 4), (64, 64, 1)])
def test_logits_of_four_discriminators(size, look, logits):
    assert ProjectedDiscriminator(size, look, width=4)(torch.zeros(2, 3, size, size)).shape == (2, 4, logits)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
@pytest.mark.parametrize("generator", ["lite", "fastgan"])
def test_generators_of_every_size(size, generator):
    torch.manual_seed(0)
    G, z = ProjectedGenerator(size, 3, width=2, blocks=generator), torch.randn(3, 256)
    assert G(z).shape == (3, 3, size, size)
    G.eval()
    torch.testing.assert_close(G(z), G(z)); torch.testing.assert_close(G(5 * z), G(z), atol=1e-4, rtol=1e-4)  # only the direction of a latent counts
    assert G(z).abs().max() <= 1


@torch.no_grad()
def test_the_eyes_have_imagenet_s_weights(photos):
    whole = efficientnet_lite0("none")
    assert whole.probabilities(whole(photos)).argmax(1).tolist() == [698, 985]  # palace, daisy
    maps = backbone().eval()(photos)
    digest = torch.tensor([[m.mean(), m.std(), m[0, 3].mean()] for m in maps])
    torch.testing.assert_close(digest, torch.tensor(DIGEST), atol=2e-2, rtol=1e-2)
    top = whole.trunk.bn2(whole.trunk.conv_head(maps[-1]))  # the rest of the network, on the last of the four maps
    torch.testing.assert_close(whole.trunk.global_pool(top), whole.trunk(photos), atol=1e-3, rtol=1e-3)


def test_convolving_before_enlarging_is_enlarging_before_convolving(photos):
    P = Projector(width=8)
    crossed, below = P.across_channels(P.levels(photos)), 0.0
    for mix, m, ours in reversed([*zip(P.scales, crossed, P(photos))]):
        below = mix(interpolate(m + below, scale_factor=2, mode="bilinear", align_corners=True))
        torch.testing.assert_close(ours, below, atol=1e-3, rtol=1e-3)


def test_nothing_in_the_eyes_ever_moves():
    gan = game()
    eyes, before = gan.discriminator.project, {k: v.clone() for k, v in gan.discriminator.project.state_dict().items()}
    heads = [p.clone() for p in gan.discriminator.heads.parameters()]
    trainer = Trainer(gan, load("scenes", 32)[:20], 4).fit(3)
    gan.train(); gan.discriminator.train()
    assert equal(before, dict(eyes.state_dict())) and not any(m.training for m in eyes.modules()) and not any(p.requires_grad for p in eyes.parameters())
    moved = {id(p) for p in trainer.parameters["discriminator"]}
    assert moved == {id(p) for p in gan.discriminator.heads.parameters()}
    assert not all(torch.equal(p, q) for p, q in zip(heads, gan.discriminator.heads.parameters()))
    assert all(p.requires_grad for p in gan.discriminator.heads.parameters())  # the trainer's freeze in G's turn is over


def test_losses_by_depth_sum_to_the_hinge_of_all_logits():
    gan, real = game(augment="").eval(), load("scenes", 32)[:4]
    gan.rng.manual_seed(0); parts = gan.discriminator_loss(real)
    gan.rng.manual_seed(0); fake = gan.generator(gan.deal(4))
    D = gan.discriminator
    torch.testing.assert_close(sum(parts.values()), hinge.discriminator(D(real), D(fake)))
    gan.rng.manual_seed(0); parts = gan.generator_loss(real)
    torch.testing.assert_close(sum(parts.values()), -D(fake).mean())
    assert list(parts) == ["d0", "d1", "d2", "d3"]


def test_the_blur_fades_with_the_reals_and_only_in_training():
    assert [blur_sigma(n, 2.0, 100) for n in (0, 50, 100, 200)] == [2, 1, 0, 0]
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    inside = blurred(torch.ones(1, 3, 32, 32), 2.0)[..., 6:-6, 6:-6]
    torch.testing.assert_close(inside, torch.ones_like(inside))
    D = ProjectedDiscriminator(32, 64, 4, augment="", blur=(2.0, 100))
    clear = D.eval()(images)
    assert torch.equal(D(images), clear)
    for h in D.heads: h.eval()
    D.training = True
    assert not torch.equal(D(images), clear)
    D.seen += 100
    assert torch.equal(D(images), clear)


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    words = dict(model=dict(name="projected", generator="fastgan", blur=[2.0, 40], **SMALL), data=dict(name="scenes", size=32, n=12), batch_size=4, every=4, device="cpu")
    start(tmp_path / "whole", **words).fit(4)
    start(tmp_path / "parts", **words).fit(2); resume(tmp_path / "parts").fit(2)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0}) and whole["gan"]["discriminator.seen"] == 16
    assert isinstance(gan := load_run(tmp_path / "whole"), GAN) and torch.equal(gan.sample(2, seed=0), gan.sample(2, seed=0))


@pytest.mark.parametrize("words, message", [
    (dict(size=48), "not 48: load the data in one of these sizes"), (dict(channels=1), "these images have 1 channel: read a folder with channels=3"),
    (dict(look=50), "a multiple of 32 pixels from 64 on, not 50"), (dict(look=32), "from 64 on"), (dict(generator="big"), "no generator 'big' .known: lite, fastgan"),
    (dict(features="efficientnet_lit0"), "no feature network 'efficientnet_lit0': did you mean 'efficientnet_lite0'"), (dict(augment="colour"), "did you mean 'color'")])
def test_what_cannot_be_built_says_why(words, message):
    with pytest.raises(ValueError, match=message): projected(**{"size": 32, "channels": 3, **SMALL, **words})


def test_networks_with_other_maps_or_without_weights(monkeypatch):
    import timm
    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, pretrained=False, **kwargs: make(*args, **kwargs))
    P = Projector("resnet18", 4)
    torch.testing.assert_close(P.factor.flatten(), 0.5 / torch.tensor([0.229, 0.224, 0.225]))
    white = torch.ones(1, 3, 64, 64)
    torch.testing.assert_close((white * P.factor + P.offset).flatten(2)[0, :, 0], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]))
    assert [m.shape[-1] for m in P(white)] == [32, 16, 8, 4]
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 has maps at strides \[16, 16, 16, 16\]"): backbone("vit_tiny_patch16_224")
    def offline(*args, **kwargs): raise OSError("no route")
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FileNotFoundError, match="weights of resnet18 are not here .* efficientnet_lite0 needs none"): backbone("resnet18")


def test_without_timm_the_extra_is_named(monkeypatch):
    real = builtins.__import__
    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "timm": raise ImportError("No module named 'timm'")
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"No module named 'timm'.*pip install 'ganlab\[projected\]'"): backbone()


def test_on_the_command_line(tmp_path):
    command = lambda *words: subprocess.run([sys.executable, "-m", "ganlab", *map(str, words)], cwd=tmp_path, capture_output=True, text=True)
    small = [w for k, v in SMALL.items() for w in ("--set", f"{k}={v}")]
    done = command("train", "projected", "--data", "scenes", "--size", 32, "--batch", 4, "--steps", 1, "--device", "cpu", "--out", "run", *small)
    assert done.returncode == 0 and (tmp_path / "run/config.json").exists(), done.stderr
    for words, message in ((["--data", "digits"], "sees color, these images have 1 channel"), (["--data", "scenes", "--size", 40], "not 40: load the data in one of these sizes"),
                           (["--data", "scenes", "--size", 32, "--set", "n=3"], "a batch of 4 needs at least as many images")):
        done = command("train", "projected", *words, "--batch", 4, "--out", "other", *small)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
