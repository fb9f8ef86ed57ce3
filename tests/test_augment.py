"Augmentation: distributions against closed forms, gradients, draws that are shared, leaks and ADA that go on to the same bits."
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from conftest import equal
from ganlab.augment import AUGMENTATIONS, POLICIES, Augment, Blur, Cutout, Flip, Leaky, Translation
from ganlab.callbacks import ADA
from ganlab.data import load
from ganlab.live import try_augment
from ganlab.models.mlp import mlp
from ganlab.models.projected import projected
from ganlab.trainer import Trainer

EVERYTHING = "color,translation,cutout,flip,affine,blur"
sizes = st.integers(6, 20)
names = pytest.mark.parametrize("name", AUGMENTATIONS)


def draw_of(change, *shape, seed=0): return change.draw(torch.Size(shape), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name, bounds", dict(brightness=[(-0.5, 0.5)], saturation=[(0, 2)], contrast=[(0.5, 1.5)], affine=[(-0.15, 0.15)] * 3 + [(0.85, 1.15)], blur=[(0.1, 2.0)]).items())
def test_draws_are_uniform(name, bounds):
    draw = draw_of(AUGMENTATIONS[name](), 20_000, 3, 8, 8)
    assert draw.shape == (20_000, len(bounds))
    for column, (low, high) in zip(draw.T, bounds):
        assert low <= column.min() and column.max() <= high
        assert np.histogram(column, 10, (low, high))[0] == pytest.approx(2000, abs=200)  # 4.7 deviations
    between = np.corrcoef(draw.T.numpy()).reshape(len(bounds), -1)
    assert between == pytest.approx(np.eye(len(bounds)), abs=0.04)


@pytest.mark.parametrize("size, most", [(28, 4), (64, 8), (256, 32)])
def test_translation_is_of_whole_pixels_alike_probable(size, most):
    shifts = draw_of(Translation(), 20_000, 1, size, size) * size
    assert torch.equal(shifts, shifts.round()) and shifts.amin(0).tolist() == [-most] * 2 and shifts.amax(0).tolist() == [most] * 2
    counts = shifts.long().add(most)[:, 0].bincount()
    assert ((counts - 20_000 / (2 * most + 1)).abs() < 5 * (20_000 / (2 * most + 1)) ** 0.5).all()


@pytest.mark.parametrize("ratio, size", [(0.5, 28), (0.5, 27), (0.2, 30)])
def test_the_box_is_a_quarter_of_itself_at_least(ratio, size):
    area = 1 - Cutout(ratio)(torch.ones(8000, 1, size, size)).mean((1, 2, 3))
    box = int(size * ratio + 0.5)
    assert area.max() == pytest.approx((box / size) ** 2) and area.min() == pytest.approx((-(-box // 2) / size) ** 2)


def test_flips_are_half_and_exact():
    assert draw_of(Flip(), 10_000, 1, 8, 8).mean() == pytest.approx(0.5, abs=0.02) and draw_of(Flip(0.2), 10_000, 1, 8, 8).mean() == pytest.approx(0.2, abs=0.02)
    x = torch.randn(3, 2, 5, 7)
    assert torch.equal(Flip().apply(x, torch.tensor([[0.0], [1.0], [0.0]])), torch.stack([x[0], x[1].flip(2), x[2]]))


@names
def test_gradients_are_the_numerical_ones(name):
    change = AUGMENTATIONS[name]()
    x = torch.randn(3, 2, 7, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1), requires_grad=True)
    draw = draw_of(change, *x.shape)
    assert torch.autograd.gradcheck(lambda images: change.apply(images, draw), x) and torch.autograd.gradgradcheck(lambda images: change.apply(images, draw), x)


@names
def test_each_image_has_its_own_draw_and_neutral_rows_change_nothing(name):
    change, x = AUGMENTATIONS[name](), torch.randn(1, 3, 20, 20).expand(40, -1, -1, -1)
    assert len({tuple(image.flatten().tolist()) for image in change(x)}) > (1 if name == "flip" else 10)
    torch.testing.assert_close(change.apply(x, torch.tensor(change.neutral).expand(40, -1)), x)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.sampled_from([1, 3, 4]), sizes, sizes, st.integers(0, 1000), st.sampled_from([*AUGMENTATIONS, *POLICIES, EVERYTHING, "cutout:0.2", "blur:3,translation:1"]))
def test_one_draw_gives_the_same_on_any_portion_and_never_touches_its_input(n, channels, h, w, seed, policy):
    T, x = Augment(policy), torch.randn(n, channels, h, w, generator=torch.Generator().manual_seed(seed))
    before, draw = x.clone(), T.draw(x, torch.Generator().manual_seed(seed))
    whole = T(x, draw)
    assert whole.shape == x.shape and whole.isfinite().all() and torch.equal(x, before)
    torch.testing.assert_close(torch.cat([T(x[i : i + 1], draw[i : i + 1]) for i in range(n)]), whole)
    torch.manual_seed(seed); first = T(x)
    torch.manual_seed(seed); assert torch.equal(T(x, T.draw(x)), first)
    assert torch.equal(T.eval()(x), x)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.integers(0, 1000))
def test_a_draw_fits_other_sizes(half, times, seed):
    "Shifts by even pixels commute with taking every second one."
    size = 16 * half
    x = torch.randn(4, 1, size * times, size, generator=torch.Generator().manual_seed(seed))
    draw = draw_of(Translation(), 4, 1, 8 * times, 8, seed=seed)  # whole pixels at an eighth, so at all multiples
    torch.testing.assert_close(Translation().apply(x, draw)[..., ::2, ::2], Translation().apply(x[..., ::2, ::2], draw))


def test_probability_is_of_each_change_and_each_image():
    x = torch.zeros(8000, 1, 8, 8)
    on = Augment("brightness,flip:1", p=0.3).draw(x, torch.Generator().manual_seed(0)) != 0
    assert on.float().mean(0).tolist() == pytest.approx([0.3, 0.3], abs=0.02) and on.all(1).float().mean() == pytest.approx(0.09, abs=0.015)
    assert torch.equal(Augment(EVERYTHING, p=0.0)(x).round(decimals=4), x)


@pytest.mark.parametrize("policy, message", [("colour", "did you mean 'color'"), ("color:0.3", "no augmentation with a number 'color'"), ("cutout:2", "from 0 to 1"), ("cutout:nan", "from 0 to 1"), ("cutout:", "could not convert"),
                                             ("blur:2", "odd number"), ("blur:nan", "odd number"), ("report-003:1", "takes no number")])
def test_policies_that_cannot_be(policy, message):
    with pytest.raises(ValueError, match=message): Augment(policy)


def test_leaky_batches_are_a_function_of_their_position():
    data = load("digits", 12)[:50]
    make = lambda seed=3, **kwargs: Leaky(data, "affine,flip,blur:3", 8, seed, **kwargs)
    a, b = make(), make()
    rng = torch.get_rng_state()
    first = [next(a) for _ in range(9)]
    assert torch.equal(rng, torch.get_rng_state())
    b.seek(4 * 8)
    assert equal(first[4:], [next(b) for _ in range(5)]) and not torch.equal(next(make(4)), first[0])
    assert not torch.equal(next(make(share=(0, 2))), next(make(share=(1, 2))))


def adaptive(**kwargs):
    torch.manual_seed(0)
    gan = mlp(8, hidden=(32,), augment="translation,cutout")
    return Trainer(gan, Leaky(load("digits")[:60], "blur:3", 16), callbacks=[ADA(images=400, every=2, **kwargs)])


def test_ada_and_leaky_reals_go_on_to_the_same_bits():
    whole, parts = adaptive().fit(13), adaptive().fit(6)
    state = parts.state_dict()
    other = adaptive()
    other.load_state_dict(state)
    before = torch.get_rng_state()
    other.fit(7)
    assert torch.equal(before, torch.get_rng_state())  # nothing of the game hangs on the notebook's stream
    assert equal({**whole.state_dict(), "seconds": 0}, {**other.state_dict(), "seconds": 0}) and whole.callbacks[0].rows[-1][0] == 12 and whole.callbacks[0].rows[-1][2] > 0


def test_weights_of_a_game_with_ada_can_be_had_without_it():
    game = adaptive().fit(12).gan
    plain = mlp(8, hidden=(32,), augment="translation,cutout")
    plain.load_state_dict(game.state_dict())
    assert plain.discriminator[0].p == game.discriminator[0].p > 0


def test_ada_listens_to_what_projected_gan_is_shown():
    gan, seen = projected(32, 3, width=4, heads=4, look=64, augment="brightness"), []
    trainer = Trainer(gan, load("scenes", 32)[:8], 4, callbacks=[ADA(every=1)])
    gan.discriminator.augment.p.fill_(1)
    gan.discriminator.project.register_forward_pre_hook(lambda net, images: seen.append((gan.discriminator.training, images[0].mean((1, 2, 3)))))
    trainer.step()
    training, shown = seen[-1]
    assert not training and not torch.allclose(shown, trainer.batch.mean((1, 2, 3)), atol=1e-2)


def test_ada_goes_up_down_and_no_further():
    assert adaptive(target=-2).fit(12).callbacks[0].rows[-1][2] == pytest.approx(6 * 2 * 16 / 400)
    assert adaptive(target=-2).fit(40).gan.discriminator[0].p == 1 and adaptive(target=2).fit(4).gan.discriminator[0].p == 0
    with pytest.raises(ValueError, match="ADA finds no Augment"): Trainer(mlp(8, hidden=(8,)), load("digits"), callbacks=[ADA()])


def test_the_widget_says_what_it_shows():
    panel = try_augment(load("digits", 16)[:4], "cutout:0.5")
    assert len(panel.pictures) == len(panel.alts) == 3 and "cutout:0.5" in panel.sentence
    before = panel.pictures[1]
    panel.touch("seed", 5); assert panel.pictures[1] != before
    panel.touch("policy", ""); assert "100%" in panel.sentence and Image.open(io.BytesIO(panel.pictures[0])).tobytes() == Image.open(io.BytesIO(panel.pictures[1])).tobytes()
    panel.attempt(panel.touch, "policy", "cutuot"); assert "did you mean 'cutout'" in panel.problem
