"Every model of the library trains, reloads, draws by seed and leaves the house; what is broken on the way is named."
import json
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from conftest import equal
from ganlab.cli import app
from ganlab.export import difference, export_onnx, load_pretrained, save_pretrained, session, still
from ganlab.gan import GAN
from ganlab.models.mlp import mlp
from ganlab.runs import load, makers, read_config, start
from ganlab.trainer import Trainer

SMALL = {  # model -> its arguments and its data, where the defaults are large or another set is wanted
    "mlp": (dict(latent_dim=8, hidden=[16, 32]), dict(name="digits", size=16)),
    "dcgan": (dict(width=8), dict(name="digits", size=16)),
    "stylegan": (dict(width=8), dict(name="digits", size=16)),
    "infogan": (dict(width=8), dict(name="digits", size=16)),
    "realness": (dict(width=8), dict(name="digits", size=32)),
    "projected": (dict(width=8, heads=8), dict(name="scenes", size=32, n=20)),
    "fastgan": (dict(width=4, reconstruction="pixels"), dict(name="digits", size=64)),
}
WGAN = [("wgan_gp", dict(critic=critic), dict(name="digits", size=28)) for critic in ("conv", "official")]


class Code(NamedTuple):
    "What games with codes say of theirs."
    name: str
    kind: str
    start: int
    size: int


def small(name: str) -> tuple[str, dict, dict]:
    "A model, its arguments and its data, at a size that trains in a second."
    return name, *SMALL.get(name, ({}, dict(name="digits", size=32)))


@pytest.mark.parametrize("name, arguments, data", [*map(small, makers()), *WGAN], ids=str)
def test_a_model_trains_reloads_draws_and_leaves(name, arguments, data, tmp_path):
    start(tmp_path / "run", dict(name=name, **arguments), data, steps=3, batch_size=4).fit(3)
    gan = load(tmp_path / "run")
    images = gan.sample(5, seed=1)
    assert torch.equal(images, gan.sample(5, seed=1)) and images.isfinite().all() and images.abs().max() <= 1
    assert not torch.equal(images, gan.sample(5, seed=2))

    worst = export_onnx(tmp_path / "run", tmp_path / "g.onnx")
    assert worst <= 1e-4 and difference(tmp_path / "g.onnx", still(gan), lambda n: gan.latent(n).cpu(), sizes=[3, 17]) <= 1e-4
    (given,), (made,) = session(tmp_path / "g.onnx").get_inputs(), session(tmp_path / "g.onnx").get_outputs()
    assert (given.name, given.shape, made.name, made.shape) == ("z", ["batch", gan.latent_dim], "images", ["batch", *images.shape[1:]])
    if hasattr(gan.generator, "mapping"):
        for part in ("mapping", "synthesis"): assert export_onnx(gan, tmp_path / "part.onnx", part=part) <= 1e-4
    about = session(tmp_path / "g.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(about["model"]) == read_config(tmp_path / "run")["model"] and json.loads(about["shape"]) == list(images.shape[1:])

    again = load_pretrained(save_pretrained(tmp_path / "run", tmp_path / "safe"))
    assert torch.equal(again.sample(5, seed=1), images)
    assert sorted(p.name for p in (tmp_path / "safe").iterdir()) == ["generator.json", "generator.safetensors"]


def test_exporting_in_the_middle_changes_nothing(tmp_path):
    data, runs = torch.rand(40, 1, 8, 8), []
    for leave in (False, True):
        torch.manual_seed(0)
        runs.append(Trainer(mlp(8, hidden=[16]), data, batch_size=8).fit(2))
        stream = torch.get_rng_state()
        if leave:
            export_onnx(runs[-1].gan, tmp_path / "g.onnx")
            save_pretrained(runs[-1].gan, tmp_path / "safe", model=dict(name="mlp", size=8, hidden=[16]))
        assert torch.equal(stream, torch.get_rng_state()) and runs[-1].gan.generator.training
        runs[-1].fit(2)
    assert equal(runs[0].state_dict()["gan"], runs[1].state_dict()["gan"])


class Parts(nn.Module):
    "What generators are made of: spectral norm, transposed and nearest upsampling, batch norm, pooling, a constant, a buffer of noise, batch size by len()."

    def __init__(self):
        super().__init__()
        norm = torch.nn.utils.parametrizations.spectral_norm
        self.first, self.batch_norm, self.glu = norm(nn.ConvTranspose2d(6, 16, 4)), nn.BatchNorm2d(16), nn.GLU(1)
        self.constant, self.instance_norm = nn.Parameter(torch.randn(1, 8, 4, 4)), nn.InstanceNorm2d(8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(4), norm(nn.Conv2d(8, 8, 4)), nn.SiLU(), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.grow = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2, mode="bilinear"))
        self.register_buffer("noise", torch.randn(1, 1, 16, 16))
        self.last = norm(nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, z):
        x = self.glu(self.batch_norm(self.first(z[:, :, None, None])))
        x = self.instance_norm(x + self.constant.expand(len(z), -1, -1, -1)) * self.gate(x)
        return self.last(self.grow(x) + (self.noise if not self.training else torch.randn_like(self.noise))).tanh()


def test_the_parts_of_generators(tmp_path):
    torch.manual_seed(0)
    gan = GAN(Parts(), nn.Flatten(), 6)
    for _ in range(3): gan.generator(gan.latent(8))  # statistics of batch norm, vectors of spectral norm
    assert export_onnx(gan, tmp_path / "g.onnx") < 1e-5
    torch.manual_seed(1)
    assert torch.equal(load_pretrained(save_pretrained(gan, tmp_path), GAN(Parts(), nn.Flatten(), 6)).sample(4, seed=0), gan.sample(4, seed=0))


class Styled(nn.Module):
    "A mapping, and a synthesis with a style for each of two layers."

    def __init__(self):
        super().__init__()
        self.layers, self.mapping, self.synthesize = 2, nn.Linear(6, 5), nn.Linear(10, 16)

    def synthesis(self, w): return self.synthesize((w[:, None].expand(-1, 2, -1) if w.ndim == 2 else w).flatten(1)).view(-1, 1, 4, 4).tanh()
    def forward(self, z): return self.synthesis(self.mapping(z))


def test_styles_leave_in_parts(tmp_path):
    gan = GAN(Styled(), nn.Flatten(), 6)
    gan.codes = [Code("class", "categorical", 0, 6)]
    for part in ("mapping", "synthesis"): assert export_onnx(gan, tmp_path / part, part=part) < 1e-5
    mapping, synthesis = session(tmp_path / "mapping"), session(tmp_path / "synthesis")
    assert synthesis.get_inputs()[0].shape == ["batch", 2, 5]
    assert json.loads(mapping.get_modelmeta().custom_metadata_map["codes"]) == [dict(name="class", kind="categorical", start=0, size=6)]
    z, psi = gan.latent(3), np.array([[[1.0], [0.5]]], np.float32)  # a weaker style in the second layer
    w = mapping.run(None, {"z": z.numpy()})[0][:, None] * psi
    assert np.allclose(synthesis.run(None, {"w": w})[0], gan.generator.synthesis(torch.from_numpy(w)).detach(), atol=1e-5)
    with pytest.raises(ValueError, match="did you mean 'mapping'"): export_onnx(gan, tmp_path / "g.onnx", part="maping")


def test_what_cannot_be_followed_is_refused(tmp_path):
    class Choosy(nn.Module):
        def __init__(self): super().__init__(); self.net = nn.Linear(4, 16)
        def forward(self, z): return self.net(z).view(-1, 1, 4, 4) if z.sum() > 0 else self.net(-z).view(-1, 1, 4, 4)
    with pytest.raises(ValueError, match="Choosy cannot be exported: .*\\w"): export_onnx(GAN(Choosy(), nn.Flatten(), 4), tmp_path / "g.onnx")

    gan = GAN(nn.Sequential(nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4))), nn.Flatten(), 4)
    with pytest.raises(ValueError, match="is beyond -1;"): export_onnx(gan, tmp_path / "g.onnx", tolerance=-1)
    nn.init.constant_(gan.generator[0].weight, float("nan"))
    with pytest.raises(ValueError, match="nan is beyond"): export_onnx(gan, tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_packages_and_places_that_cannot_be_written(tmp_path, monkeypatch):
    gan = mlp(8, hidden=[16])
    (tmp_path / "file").write_text("")
    for write in (export_onnx, save_pretrained):
        with pytest.raises(OSError): write(gan, tmp_path / "file" / "inside")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError): export_onnx(gan, tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    for package, use in dict(onnx=export_onnx, onnxscript=export_onnx, onnxruntime=export_onnx, safetensors=save_pretrained).items():
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=rf"needs {package}, .*ganlab\[export\]"): use(gan, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def saved(tmp_path):
    return save_pretrained(mlp(8, hidden=[16]), tmp_path / "safe", model=dict(name="mlp", size=8, hidden=[16]))


@pytest.mark.parametrize("change, complaint", [
    (dict(format=2), "is of format 2"), (dict(format="1"), "format is missing, or not of its kind"), (dict(model="mlp"), "model is missing"),
    (dict(model=dict(size=8)), "no model can be built from"), (dict(model=dict(name="mpl")), "did you mean 'mlp'"), (dict(model=dict(name="os.system")), "model"),
    (dict(model=dict(name="mlp", size=8, hidden=[-1])), "no model can be built"), (dict(model=dict(name="mlp", size=8, hidden=[17])), "another network: size mismatch for 0.weight"),
    (dict(model=dict(name="mlp", size=8, hidden=[16, 16])), "another network: Missing key.* \"4.weight\""), (dict(model=dict(name="mlp", size=8, what=1)), "cannot be built"),
    (dict(latent_dim=9), "says latent_dim 9, the network has 100"), (dict(shape=[1, 8, 9]), r"says shape \[1, 8, 9\]"), (dict(sha256="0" * 64), "its SHA-256 is another one"),
    (dict(model=None), r"load_pretrained\(folder, gan=\.\.\.\)")], ids=str)
def test_a_changed_description_is_refused(saved, change, complaint):
    file = saved / "generator.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=complaint): load_pretrained(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"mlp"'])
def test_what_is_no_description_is_refused(saved, text):
    (saved / "generator.json").write_text(text)
    with pytest.raises(ValueError, match="generator.json"): load_pretrained(saved)


def test_damaged_weights_are_refused_and_nothing_is_unpickled(saved):
    import hashlib
    import pickle
    file, description = saved / "generator.safetensors", saved / "generator.json"
    whole = file.read_bytes()
    for cut in (0, 7, 100, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="damaged"): load_pretrained(saved)
    class Boom:
        def __reduce__(self): return (exec, ("raise SystemExit('unpickled')",))
    for data in (pickle.dumps(Boom()), whole[:-1], b""):  # with a hash that fits
        file.write_bytes(data)
        description.write_text(json.dumps(json.loads(description.read_text()) | dict(sha256=hashlib.sha256(data).hexdigest())))
        with pytest.raises(ValueError, match="not in safetensors' format"): load_pretrained(saved)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="generator.safetensors"): load_pretrained(saved)


def test_from_the_command_line(tmp_path):
    run = lambda *words: CliRunner().invoke(app, ["export", *map(str, words)])
    start(tmp_path / "run", dict(name="mlp", hidden=[16]), dict(name="digits", size=8), steps=2, batch_size=4).fit(2)
    done = run(tmp_path / "run", "--onnx", tmp_path / "g.onnx", "--safetensors", tmp_path / "safe")
    assert done.exit_code == 0 and "g.onnx" in done.output and "safe" in done.output, done.output
    latents = np.zeros((4, 100), np.float32)
    assert np.allclose(session(tmp_path / "g.onnx").run(None, {"z": latents})[0], load_pretrained(tmp_path / "safe").sample(torch.from_numpy(latents)), atol=1e-5)
    for words, complaint in (([tmp_path / "run"], "--onnx FILE"), ([tmp_path / "nowhere", "--onnx", tmp_path / "n.onnx"], "not a run folder"), ([tmp_path / "run", "--best", "--onnx", tmp_path / "n.onnx"], "no usable checkpoint")):
        failed = run(*words)
        assert failed.exit_code == 1 and complaint in failed.stderr and failed.stderr.count("\n") == 1
    assert not (tmp_path / "n.onnx").exists()
