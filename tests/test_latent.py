"Walks that start, end and stay where they should, directions against scikit-learn and a dense matrix, and the way back into Z and W."
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.decomposition import PCA
from torch import nn

from ganlab.gan import GAN
from ganlab.latent import at, circle, first_layer, lerp, of_first_layer, on_shell, patch, principal, project, slerp, tour, truncate
from ganlab.lipschitz import spectral_norm
from ganlab.models.infogan import infogan
from ganlab.models.mlp import mlp
from ganlab.models.stylegan import stylegan

seeds, dims = st.integers(0, 10**6), st.integers(2, 40)


def drawn(seed, *shape): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@settings(deadline=None, max_examples=50)
@given(seeds, dims, st.floats(0, 1))
def test_ways_begin_and_end_at_their_corners_and_slerp_stays_on_the_sphere(seed, d, t):
    a, b = drawn(seed, 2, 3, d)
    for way in (lerp, slerp):
        torch.testing.assert_close(way(a, b, 0.0), a); torch.testing.assert_close(way(a, b, 1.0), b)
        torch.testing.assert_close(way(a, b, t), way(b, a, 1 - t))
    a, b = on_shell(a), on_shell(b)
    torch.testing.assert_close(slerp(a, b, t).norm(dim=-1), torch.full((3,), d**0.5, dtype=torch.double))


@settings(deadline=None, max_examples=30)
@given(seeds, dims, st.integers(3, 30))
def test_a_circle_is_round_even_and_closed(seed, d, steps):
    a, b = drawn(seed, 2, d)
    points = circle(a, b, steps)
    torch.testing.assert_close(points[0], a)
    torch.testing.assert_close(points.norm(dim=-1), a.norm().expand(steps))
    jumps = (points.roll(-1, 0) - points).norm(dim=-1)
    torch.testing.assert_close(jumps, jumps[:1].expand(steps))
    assert torch.linalg.matrix_rank(torch.cat([points, a[None], b[None]]), rtol=1e-6) <= 2  # all in the plane of both


@settings(deadline=None, max_examples=30)
@given(seeds, dims, st.integers(2, 6), st.integers(2, 6))
def test_a_patch_has_its_corners_and_its_edges_are_the_ways_between_them(seed, d, rows, columns):
    corners = drawn(seed, 4, d)
    for way in (lerp, slerp):
        points = patch(corners, rows, columns, way)
        assert points.shape == (rows, columns, d)
        torch.testing.assert_close(points[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
        torch.testing.assert_close(points[0, 1], way(corners[0], corners[1], 1 / (columns - 1)), rtol=1e-5, atol=1e-5)


@given(seeds, st.floats(-2, 2))
def test_truncation_scales_the_distance_from_the_centre(seed, psi):
    points, centre = drawn(seed, 5, 4), drawn(seed + 1, 4)
    torch.testing.assert_close((truncate(points, psi, centre) - centre).norm(dim=1), abs(psi) * (points - centre).norm(dim=1))


def test_a_tour_visits_its_corners():
    corners = drawn(0, 3, 7)
    torch.testing.assert_close(tour(corners, 4)[::4], corners)


@pytest.mark.parametrize("first", [nn.Linear(6, 11), nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, 4)), spectral_norm(nn.Sequential(nn.Unflatten(1, (6, 1, 1)), nn.ConvTranspose2d(6, 5, 4, bias=False)))])
def test_the_first_layer_is_the_linear_map_that_the_generator_begins_with(first):
    first.eval()
    matrix = first_layer(nn.Sequential(first, nn.Tanh()), 6)
    z = torch.randn(3, 6)
    linear = (first(z) - first(torch.zeros(3, 6))).flatten(1)  # without its bias
    torch.testing.assert_close((linear**2).sum(1), ((z @ matrix.T) ** 2).sum(1))
    found = of_first_layer(GAN(nn.Sequential(first, nn.Flatten(), nn.Unflatten(1, (1, -1, 1))), nn.Flatten(), 6), 3)
    torch.testing.assert_close(found.worth, torch.linalg.svdvals(matrix)[:3])


def test_a_generator_without_one_is_refused():
    with pytest.raises(ValueError, match="does not begin with a linear layer of its 6"): first_layer(nn.Sequential(nn.Linear(5, 6)), 6)
    with pytest.raises(ValueError, match="does not begin"): first_layer(nn.Tanh(), 6)


def test_principal_directions_are_those_of_scikit_learn():
    torch.manual_seed(0)
    space = stylegan(16, 1, width=4, w_dim=12, latent_dim=9).styles
    found = principal(space, 4, n=500, seed=3)
    known = PCA(4).fit(space.latent(500, torch.Generator().manual_seed(3)).double().numpy())
    torch.testing.assert_close(found.worth.double(), torch.from_numpy(known.explained_variance_).sqrt(), rtol=1e-3, atol=0)
    assert ((found.vectors.double() @ torch.from_numpy(known.components_).T).diagonal().abs() > 0.999).all()


def test_a_seed_is_an_address_in_every_space():
    torch.manual_seed(0)
    for gan in (mlp(16), infogan(16, width=4), stylegan(16, 1, width=4)):
        assert torch.equal(at(gan, 7, 8)[1:], at(gan, 8)) and not torch.equal(at(gan, 7), at(gan, 8))
        before = torch.get_rng_state()
        at(gan, 1)
        assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(at(gan.styles, 7), gan.styles.of(at(gan, 7)))


@pytest.mark.parametrize("space, stay", [("Z", on_shell), ("W", torch.Tensor.clone)])
def test_own_images_are_found_again(space, stay):
    torch.manual_seed(0)
    gan = stylegan(16, 1, width=8)
    for p in gan.generator.image.parameters(): p.data *= 20  # an untrained game draws grey: give it some contrast
    home = gan if space == "Z" else gan.styles
    images = home.sample(home.latent(3, torch.Generator().manual_seed(5)))
    weights = {k: v.clone() for k, v in gan.state_dict().items() if isinstance(v, torch.Tensor)}
    found = project(home, images, steps=60, starts=100, stay=stay)
    assert found.distances.shape == (61, 3) and (found.distances[-1] < 0.5 * found.distances[0]).all()
    torch.testing.assert_close(home.sample(found.points), found.images)
    assert all(torch.equal(weights[k], v) for k, v in gan.state_dict().items() if k in weights) and all(p.grad is None for p in gan.parameters())
