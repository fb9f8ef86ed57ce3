"Measures against closed forms, against other libraries, under what must not change them, and with bad input."
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.kid import poly_mmd
from torchmetrics.image.mifid import _compute_cosine_distance

from ganlab import metrics
from ganlab.metrics import (bootstrap, density_coverage, extrapolate, frechet_distance, inception_score, kid, kid_subsets, memorization, mifid, mode_counts,
                            modes_covered, precision_recall, rank_test)
from ganlab.synthetic import MODES, toy


def cloud(n, d, seed=0, shift=0.0):
    "Features as networks make them: correlated and cut off at zero."
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.double) / d**0.5
    return (torch.randn(n, d, generator=rng, dtype=torch.double) @ mix + 0.3 + shift).relu()


def theirs(x, y):
    return calculate_frechet_distance(*(f(s) for s in (x.numpy(), y.numpy()) for f in (lambda s: s.mean(0), lambda s: np.cov(s, rowvar=False))))


SHAPES = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 10**6))


@pytest.mark.parametrize("n, m, d", [(300, 300, 64), (300, 77, 64), (65, 400, 64), (64, 64, 64), (40, 300, 64), (40, 30, 64), (5, 7, 1), (600, 50, 3)])
def test_frechet_distance_is_pytorch_fids(n, m, d):
    x, y = cloud(n, d), cloud(m, d, 1, 0.2)
    if d == 1: assert frechet_distance(x, y) == pytest.approx(((x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2).item(), rel=1e-9)
    else: assert frechet_distance(x, y) == pytest.approx(theirs(x, y), rel=1e-6)


def test_frechet_distance_of_known_gaussians():
    rng = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([0.5, 1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, -1.0, 0.5])
    x, y = torch.randn(200_000, 4, generator=rng), torch.randn(200_000, 4, generator=rng) * scale + shift
    assert frechet_distance(x, y) == pytest.approx((shift.square().sum() + (scale - 1).square().sum()).item(), rel=0.01)


@pytest.mark.parametrize("n", [2, 50, 752])
def test_frechet_distance_is_finite_where_covariances_are_singular(n):
    x, y = cloud(n, 2048), cloud(60, 2048, 1)
    assert 0 < frechet_distance(x, y) < 1e5 and frechet_distance(x, x) < 1e-6 * x.var(0).sum()


def test_both_ways_to_the_trace_agree_where_they_meet():
    "Rows of zeros change no covariance, but send the samples the other way."
    a, b = ((s - s.mean(0)) / len(s) ** 0.5 for s in (cloud(63, 64), cloud(64, 64, 1)))
    padded = (torch.cat([s, torch.zeros(5, 64)]) for s in (a, b))
    assert metrics.root_trace(a, b).item() == pytest.approx(metrics.root_trace(*padded).item(), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_measures_do_not_depend_on_order(shape):
    n, m, d, seed = shape
    n, m = n + 8, m + 8
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, d, generator=rng), torch.randn(m, d, generator=rng) + 0.5
    u, v = x[torch.randperm(n, generator=rng)], y[torch.randperm(m, generator=rng)]
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(u, v), rel=1e-6, abs=1e-6) == pytest.approx(frechet_distance(y, x), rel=1e-6, abs=1e-6)
    assert kid(x, y).value == pytest.approx(kid(u, v).value, abs=1e-9)
    assert precision_recall(x, y) == pytest.approx(precision_recall(u, v)) and density_coverage(x, y) == pytest.approx(density_coverage(u, v))
    assert precision_recall(x, y) == precision_recall(y, x)[::-1]
    assert memorization(x, y) == pytest.approx(memorization(u, v), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.floats(-5, 5), st.floats(0.1, 10))
def test_shifts_scales_and_turns(shape, delta, scale):
    n, _, d, seed = shape
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, d, generator=rng, dtype=torch.double) for _ in range(2))
    turn, _ = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.double))
    room = 1e-6 * (1 + d * (delta**2 + n))
    assert frechet_distance(x, x + delta) == pytest.approx(d * delta**2, abs=room)
    assert frechet_distance(x * scale, y * scale) == pytest.approx(scale**2 * frechet_distance(x, y), rel=1e-6, abs=room)
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y), rel=1e-6, abs=room)
    both = torch.cat([x, y])
    assert kid(both, both).value < 1e-9  # below zero: pairs of a sample with itself count between the sets, and not within


def test_growing_noise_grows_every_distance_and_lowers_precision():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(800, 8, generator=rng), torch.randn(800, 8, generator=rng)
    steps = [y + s * torch.randn(800, 8, generator=rng) for s in (0, 0.5, 1, 2)]
    for measure, sign in ((frechet_distance, 1), (lambda a, b: kid(a, b).value, 1), (lambda a, b: precision_recall(a, b).precision, -1), (lambda a, b: density_coverage(a, b).density, -1)):
        values = [sign * measure(x, s) for s in steps]
        assert values == sorted(values)


def test_kid_is_torch_fidelitys_and_torchmetrics():
    x, y = cloud(200, 32).float(), cloud(200, 32, 1, 0.1).float()
    same = dict(kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1)
    assert kid(x, y).value == pytest.approx(kernel_mmd(x.double().numpy(), y.double().numpy(), **same), rel=1e-9)
    assert kid(x, y).value == pytest.approx(poly_mmd(x.double(), y.double()).item(), rel=1e-9)
    assert kid_subsets(x, y, 3, 500).tolist() == pytest.approx([kid(x, y).value] * 3, rel=1e-9)  # a subset has at most all
    big, also = cloud(3000, 32).float(), cloud(3000, 32, 1, 0.1).float()
    ours, other = kid_subsets(big, also, 50, 300), kid_features_to_metric(big, also, kid_subsets=50, kid_subset_size=300, rng_seed=1, verbose=False, **same)
    assert ours.mean().item() == pytest.approx(other["kernel_inception_distance_mean"], abs=4 * ours.std().item() / 50**0.5)
    assert ours.std().item() == pytest.approx(other["kernel_inception_distance_std"], rel=0.5)


@pytest.mark.parametrize("n, m", [(100, 57), (41, 20), (4, 4)])
def test_kid_counts_every_pair_once_however_it_is_cut(n, m):
    x, y = cloud(n, 8), cloud(m, 8, 1)
    k = lambda a, b: (a @ b.T / 8 + 1) ** 3
    whole = (k(x, x).sum() - k(x, x).trace()) / (n * (n - 1)) + (k(y, y).sum() - k(y, y).trace()) / (m * (m - 1)) - 2 * k(x, y).mean()
    for groups in (2, 7, 20): assert kid(x, y, groups).value == pytest.approx(whole.item(), rel=1e-9)


def test_inception_score_is_torch_fidelitys():
    logits = torch.randn(1000, 20, generator=torch.Generator().manual_seed(0)) * 3
    want = isc_features_to_metric(logits, splits=10, shuffle=False)  # mean and deviation over the same splits
    want = want if isinstance(want, tuple) else (want["inception_score_mean"], want["inception_score_std"])
    assert inception_score(logits.softmax(1)) == pytest.approx(want, rel=1e-5)


def test_precision_and_recall_are_torch_fidelitys(monkeypatch):
    x, y = cloud(300, 16).float(), cloud(250, 16, 1, 0.1).float()
    want = prc_features_to_metric(y, x, prc_neighborhood=3, prc_batch_size=10000, save_cpu_ram=False, verbose=False)
    assert precision_recall(x, y) == pytest.approx((want["precision"], want["recall"]))
    whole = precision_recall(x, y), density_coverage(x, y), memorization(x, y)
    monkeypatch.setattr(metrics, "ROWS", 37)
    assert whole == (precision_recall(x, y), density_coverage(x, y), pytest.approx(memorization(x, y), abs=1e-12))


def test_density_and_coverage_as_naeem_et_al_define_them():
    x, y, k = cloud(120, 6), cloud(90, 6, 1, 0.1), 5
    radius = np.array([np.sort(np.linalg.norm(x.numpy() - a, axis=1))[k] for a in x.numpy()])
    way = np.linalg.norm(x.numpy()[:, None] - y.numpy()[None], axis=2)
    assert density_coverage(x, y, k) == pytest.approx(((way < radius[:, None]).sum(0).mean() / k, (way.min(1) < radius).mean()))


def test_memorization_in_both_directions():
    x, y = cloud(50, 8), cloud(30, 8, 1)
    assert memorization(x, y, per="training") == pytest.approx(_compute_cosine_distance(x, y, 1.1).item(), rel=1e-6)
    assert memorization(x, y) == pytest.approx(_compute_cosine_distance(y, x, 1.1).item(), rel=1e-6)  # Kaggle's: for each fake
    assert mifid(x, y, threshold=0) == frechet_distance(x, y) and mifid(x, x[:30]) == float("inf") and memorization(x, x) < 1e-12
    assert memorization(torch.eye(3)[:2], torch.zeros(4, 3)) == 1  # a row of zeros is like nothing
    with pytest.raises(ValueError, match="'generated' or 'training'"): memorization(x, y, per="real")


def test_one_set_against_itself_and_constant_sets():
    x, flat = cloud(60, 5), torch.full((20, 5), 0.37)
    assert precision_recall(x, x) == (1, 1) and density_coverage(x, x).coverage == 1 and frechet_distance(x, x) < 1e-9
    assert frechet_distance(flat, flat) == 0 and precision_recall(flat, flat) == (1, 1) and precision_recall(flat, flat + 1) == (0, 0)
    assert frechet_distance(flat, flat + 1) == pytest.approx(5)
    assert abs(kid(flat, flat).value) < 1e-12


@pytest.mark.parametrize("measure, least", [(frechet_distance, 2), (kid, 4), (precision_recall, 4), (lambda x, y: density_coverage(x, y, 7), 8), (lambda x, y: extrapolate(y, x), 80), (lambda x, y: rank_test(x, y, y), 40)])
def test_too_few_samples_are_refused_with_the_number_that_works(measure, least):
    x = cloud(200, 3)
    with pytest.raises(ValueError, match=f"{least - 1}.*{least}|{least}.*{least - 1}"): measure(x[: least - 1], x)
    measure(x[:least], x)


@pytest.mark.parametrize("measure", [frechet_distance, kid, precision_recall, density_coverage, memorization, mifid, extrapolate, lambda x, y: bootstrap(frechet_distance, x, y)])
def test_no_number_comes_from_nan_or_from_other_shapes(measure):
    x, y = cloud(100, 3), cloud(100, 3, 1)
    y[7, 1] = float("nan"); y[9] = float("inf")
    with pytest.raises(ValueError, match="y: 2 of 100 rows hold NaN or infinity"): measure(x, y)
    with pytest.raises(ValueError, match="3 and 4 numbers a sample"): measure(x, cloud(100, 4))
    with pytest.raises(ValueError, match=r"want features \(n, d\)"): measure(x[:, 0], x)


def test_arrays_of_any_kind_give_one_number():
    x, y = cloud(50, 4), cloud(50, 4, 1)
    assert frechet_distance(x.numpy(), y.numpy()) == frechet_distance(x, y) and kid(x.numpy(), y).value == kid(x, y).value
    whole = (torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 10).round().int()
    assert frechet_distance(whole, whole + 1) == pytest.approx(4)


def test_no_draw_touches_the_global_stream():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    x, y = cloud(100, 3), cloud(100, 3, 1)
    kid(x, y); kid_subsets(x, y, 3); bootstrap(frechet_distance, x, y, 20); extrapolate(x, y)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rank_test_is_fair():
    "Between equal generators, small p are as rare as they say."
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=rng)
    p = [rank_test(x, torch.randn(200, 4, generator=rng), torch.randn(200, 4, generator=rng)).p for _ in range(100)]
    assert np.mean(np.array(p) < 0.1) < 0.22 and 0.35 < np.mean(p) < 0.65


def test_intervals_hold_what_they_promise():
    "Of a known distance, in 60 trials; and the bootstrap refuses where it would not."
    rng = torch.Generator().manual_seed(0)
    held = {"bootstrap": [], "kid": []}
    truth = kid(torch.randn(4000, 12, generator=rng), torch.randn(4000, 12, generator=rng) + 0.4).value
    for _ in range(60):
        x, y = torch.randn(100, 12, generator=rng), torch.randn(100, 12, generator=rng) + 0.4
        b, k = bootstrap(frechet_distance, x, y, 60), kid(x, y)
        held["bootstrap"].append(b.low <= 12 * 0.16 <= b.high); held["kid"].append(k.low <= truth <= k.high)
    assert all(np.mean(v) > 0.85 for v in held.values())
    with pytest.raises(ValueError, match="5 samples a feature, here 60 of each, and has 59 and 100"): bootstrap(frechet_distance, x[:59], y)


def test_a_rank_test_does_not_prefer_too_little_variety():
    "As the Fréchet distance of small groups does."
    rng = torch.Generator().manual_seed(0)
    x, good, narrow, worse = torch.randn(2000, 32, generator=rng), torch.randn(500, 32, generator=rng), 0.95 * torch.randn(500, 32, generator=rng), torch.randn(500, 32, generator=rng) + 0.2
    first, second, p = rank_test(x, good, narrow)
    assert p > 0.01 or np.mean(first) < np.mean(second)
    first, second, p = rank_test(x, good, worse)
    assert p < 0.01 and np.mean(first) < np.mean(second)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(0, 1000))
def test_modes_that_are_there_are_counted(k, seed):
    centres, std = MODES["ring"]
    points = toy("ring", 2000, seed)
    points = points[torch.cdist(points, centres).argmin(1) < k]
    assert modes_covered(points, centres, std) == k and mode_counts(points, centres, std)[k:].sum() == 0
    assert metrics.mode_kl(points, centres, std) == pytest.approx(np.log(8 / k), abs=0.08)
