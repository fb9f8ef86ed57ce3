"The trainer's contract, with games of other shapes than a GAN's."
import random
import time

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given, settings, strategies as st
from torch import nn

from conftest import equal
from ganlab.callbacks import EMA, Progress
from ganlab.data import load, toy
from ganlab.gan import GAN
from ganlab.models.mlp import mlp, points as plane
from ganlab.objectives import OBJECTIVES
from ganlab.trainer import Callback, Schedule, Trainer


def points(**kwargs):
    torch.manual_seed(0)
    return GAN(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)), nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1)), 2, **kwargs)


class TwoPairs(GAN):
    "An invented CycleGAN in small: two generators, two critics, a dict of tensors for a batch, and a memory of old fakes."

    def __init__(self):
        pair = lambda i, o: nn.ModuleDict({"ab": nn.Linear(i, o), "ba": nn.Linear(i, o)})
        super().__init__(pair(2, 2), pair(2, 1), latent_dim=2, objective="least_squares")
        self.pool = []

    def get_extra_state(self): return {**super().get_extra_state(), "pool": self.pool}

    def set_extra_state(self, state): super().set_extra_state(state); self.pool = list(state["pool"])

    def discriminator_loss(self, batch):
        with torch.no_grad(): fakes = {"ab": self.generator["ab"](batch["a"]), "ba": self.generator["ba"](batch["b"])}
        self.pool = [*self.pool, fakes["ab"]][-2:]
        shown = {**fakes, "ab": self.pool[torch.randint(len(self.pool), ()).item()]}
        reals = {"ab": batch["b"], "ba": batch["a"]}
        logits = {k: (D(reals[k]), D(shown[k])) for k, D in self.discriminator.items()}
        self.observe(real=logits["ab"][0], fake=logits["ab"][1])
        return {k: self.objective.discriminator(*pair) for k, pair in logits.items()}

    def generator_loss(self, batch):
        there = self.generator["ab"](batch["a"])
        back = self.generator["ba"](there)
        return {"adversarial": self.objective.generator(self.discriminator["ab"](there)), "cycle": (back - batch["a"]).abs().mean()}


class Pairs(torch.utils.data.Dataset):
    def __init__(self): self.a, self.b = toy("ring", 60), toy("moons", 60)
    def __len__(self): return 60
    def __getitem__(self, i): return {"a": self.a[i], "b": self.b[i]}


def test_a_two_pair_game_plays_and_resumes_through_the_unchanged_trainer():
    make = lambda: Trainer((torch.manual_seed(0), TwoPairs())[1], Pairs(), batch_size=8, seed=1)
    whole, half, rest = make().fit(8), make().fit(3), make()
    rest.load_state_dict(half.state_dict())
    rest.fit(5)
    assert equal(whole.gan.state_dict(), rest.gan.state_dict())
    assert {"d_loss.ab", "d_loss.ba", "g_loss.cycle"} <= whole.history.columns.keys()
    assert whole.history.last()["g_loss"] == pytest.approx(sum(whole.history.last()[f"g_loss.{k}"] for k in ("adversarial", "cycle")), rel=1e-5)


class SharedHead(GAN):
    "An invented InfoGAN in small: a head on D's trunk that both sides' turns train."

    def __init__(self):
        super().__init__(nn.Linear(2, 2), nn.Linear(2, 1), latent_dim=2)
        self.head = nn.Linear(2, 2)

    def parameters_of(self, side): return [*super().parameters_of(side), *self.head.parameters()]

    def generator_loss(self, real):
        z = self.deal(len(real))
        return {**super().generator_loss(real), "code": (self.head(self.generator(z)) - z).square().mean()}


def test_a_head_that_both_sides_train_is_not_frozen():
    trainer = Trainer(SharedHead(), toy("ring", 100), batch_size=10)
    head, d = trainer.gan.head.weight.clone(), trainer.gan.discriminator.weight.clone()
    trainer.generator_step()
    assert not torch.equal(head, trainer.gan.head.weight) and torch.equal(d, trainer.gan.discriminator.weight)


def test_one_generator_pass_can_serve_both_turns():
    "FastGAN's way: the fakes D judged, with their graph, are the fakes G is judged by."
    class Once(GAN):
        passes = 0
        def discriminator_loss(self, real):
            self.passes += 1
            self.fake = self.generator(self.deal(len(real)))
            return {"adversarial": self.objective.discriminator(self.discriminator(real), self.discriminator(self.fake.detach()))}
        def generator_loss(self, real): return {"adversarial": self.objective.generator(self.discriminator(self.fake))}
    trainer = Trainer(Once(nn.Linear(2, 2), nn.Linear(2, 1), 2), toy("ring", 100), batch_size=10)
    before = trainer.gan.generator.weight.clone()
    trainer.fit(3)
    assert trainer.gan.passes == 3 and not torch.equal(before, trainer.gan.generator.weight)


def test_d_collects_no_gradient_while_g_plays_and_g_builds_no_graph_while_d_plays():
    trainer = Trainer(points(), toy("ring", 100), batch_size=10)
    trainer.discriminator_step()
    assert all(p.grad is None for p in trainer.gan.generator.parameters())
    before = [p.grad.clone() for p in trainer.gan.discriminator.parameters()]
    trainer.generator_step()
    assert equal(before, [p.grad for p in trainer.gan.discriminator.parameters()])
    assert all(p.requires_grad for p in trainer.gan.parameters())


def test_a_step_is_the_loop_written_by_hand():
    "The same losses, the same order, the same numbers as a plain PyTorch loop."
    trainer = Trainer(mlp(8, hidden=(16,), dropout=0.0), load("digits"), batch_size=16, seed=4)
    torch.manual_seed(0)
    by_hand = mlp(8, hidden=(16,), dropout=0.0)
    by_hand.load_state_dict(trainer.gan.state_dict())
    optimizers = {side: by_hand.defaults["optimizer"](by_hand.parameters_of(side)) for side in ("discriminator", "generator")}
    latents, order, data = torch.Generator().set_state(trainer.gan.rng.get_state()), trainer.batches.order(0), load("digits")
    for step in range(3):
        real = data[order[step * 16 : step * 16 + 16]]
        fake = by_hand.generator(torch.randn(16, 100, generator=latents))
        loss = nn.functional.softplus(-by_hand.discriminator(real)).mean() + nn.functional.softplus(by_hand.discriminator(fake.detach())).mean()
        optimizers["discriminator"].zero_grad(); loss.backward(); optimizers["discriminator"].step()
        fake = by_hand.generator(torch.randn(16, 100, generator=latents))
        loss = nn.functional.softplus(-by_hand.discriminator(fake)).mean()
        optimizers["generator"].zero_grad(); loss.backward(); optimizers["generator"].step()
    trainer.fit(3)
    assert all(torch.equal(a, b) for a, b in zip(trainer.gan.parameters(), by_hand.parameters()))


class Watcher(Callback):
    "Does at every moment what a careless observer might do."
    def disturb(self, trainer, *args):
        trainer.gan.sample(3); trainer.gan.sample(3, seed=1); torch.rand(2); random.random(); np.random.rand(); torch.manual_seed(5)
    before_fit = before_update = after_update = after_step = after_fit = disturb


@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 6), m=st.integers(1, 6), batch=st.integers(1, 20), n_d=st.integers(1, 3), g_every=st.integers(1, 3), objective=st.sampled_from(sorted(OBJECTIVES)), watched=st.booleans())
def test_n_plus_m_is_n_save_load_m(n, m, batch, n_d, g_every, objective, watched):
    "For any schedule, batch and objective, with dropout and an average, watched or not."
    make = lambda *more: Trainer(points(objective=objective), toy("ring", 50), batch, schedule=Schedule(n_d=n_d, g_every=g_every), callbacks=[EMA(0.9), *more], seed=2)
    whole, half, rest = make().fit(n + m), make(*[Watcher()] * watched).fit(n), make()
    rest.load_state_dict(half.state_dict())
    rest.fit(m)
    a, b = whole.state_dict(), rest.state_dict()
    assert equal({**a, "seconds": 0}, {**b, "seconds": 0})


def test_single_turns_after_a_resume_use_the_batch_on_the_table():
    a = Trainer(points(), toy("ring", 50), 10).fit(2)
    b = Trainer(points(), toy("ring", 50), 10)
    b.load_state_dict(a.state_dict())
    a.generator_step(); b.generator_step()
    assert equal(a.gan.state_dict(), b.gan.state_dict()) and torch.equal(a.batch, b.batch)


def test_schedule_by_epochs_as_report_003_ran_it():
    trainer = Trainer(points(), toy("ring", 40), 20, schedule=Schedule(g_every_epochs=2)).fit(8)
    assert np.isfinite(trainer.history["g_loss"]).tolist() == [True, True, False, False, True, True, False, False]


def test_different_optimizers_and_a_schedule_from_the_game():
    gan = points(objective="wasserstein", defaults=dict(schedule=Schedule(n_d=3), optimizer=lambda p: torch.optim.SGD(p, lr=0.01)))
    trainer = Trainer(gan, toy("ring", 40), 5).fit(2)
    assert trainer.batches.position == 2 * 3 * 5 and isinstance(trainer.optimizers["generator"], torch.optim.SGD)
    other = Trainer(gan, toy("ring", 40), 5, optimizer=dict(discriminator=torch.optim.RMSprop, generator=torch.optim.Adam), schedule=Schedule())
    assert [type(o) for o in other.optimizers.values()] == [torch.optim.RMSprop, torch.optim.Adam]


@pytest.mark.parametrize("where", ["discriminator", "generator"])
def test_a_poisoned_loss_stops_before_the_weights(where):
    class Poisoned(GAN):
        turns = 0
        def generator_loss(self, real):
            self.turns += 1
            parts = super().generator_loss(real)
            return {**parts, "extra": parts["adversarial"] * (float("inf") if where == "generator" and self.turns == 3 else 0.0)}
    penalties = {"extra": lambda D, real, fake: (D(real) * 0).sum() / (0.0 if where == "discriminator" and trainer.steps == 2 else 1.0)}
    trainer = Trainer(Poisoned(nn.Linear(2, 2), nn.Linear(2, 1), 2, penalties=penalties), toy("ring", 40), 5)
    with pytest.raises(FloatingPointError, match=f"step 2: the {where}'s loss part 'extra' is not finite"): trainer.fit(9)
    assert all(p.isfinite().all() for p in trainer.gan.parameters())


def test_mixed_precision_trains_and_keeps_weights_in_float32():
    AcceleratorState._reset_state(reset_partial_state=True)
    seen = set()
    note = lambda D, real, fake: (seen.add(D(real).dtype), D(real).mean() * 0)[1]
    try:
        trainer = Trainer(points(penalties={"note": note}), toy("ring", 100), 20, accelerator=Accelerator(mixed_precision="bf16", cpu=True)).fit(20)
        assert seen == {torch.bfloat16} and all(p.dtype == torch.float32 for p in trainer.gan.parameters()) and np.isfinite(trainer.history["d_loss"]).all()
    finally: AcceleratorState._reset_state(reset_partial_state=True)


def test_batch_norm_statistics_are_copied_into_the_average():
    torch.manual_seed(0)
    gan = GAN(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), nn.Linear(2, 1), 2)
    Trainer(gan, toy("ring", 60), 20, callbacks=[EMA(0.5)]).fit(4)
    assert torch.equal(gan.average.module[1].running_mean, gan.generator[1].running_mean)
    assert not torch.equal(gan.average.module[0].weight, gan.generator[0].weight)


def test_a_real_tracker_gets_the_history(tmp_path):
    from ganlab.callbacks import Track
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
    Trainer(points(), toy("ring", 60), 20, callbacks=[Track(every=5)], accelerator=accelerator).fit(10)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(next(tmp_path.rglob("events*")).parent))
    events.Reload()
    assert [e.step for e in events.Scalars("d_loss")] == [5, 10]


def test_stop_returns_and_a_thread_can_train():
    import threading
    trainer = Trainer(points(), toy("ring", 60), 20)
    thread = threading.Thread(target=trainer.fit, args=(10**9,))
    thread.start()
    while trainer.steps < 5 and thread.is_alive(): time.sleep(0.01)
    trainer.stop()
    thread.join(60)
    assert not thread.is_alive() and trainer.steps >= 5 and len(trainer.history) == trainer.steps


def test_looking_from_another_thread_through_the_turnstile_changes_nothing():
    import threading
    bare = Trainer(points(), toy("ring", 60), 20, seed=3).fit(300)
    trainer = Trainer(points(), toy("ring", 60), 20, seed=3)
    thread = threading.Thread(target=trainer.fit, args=(300,))
    thread.start()
    looks = 0
    while thread.is_alive():
        with trainer.randomness.turnstile.ask(): trainer.gan.sample(3); torch.rand(5); looks += 1
    thread.join()
    assert looks and equal(bare.gan.state_dict(), trainer.gan.state_dict())


def test_a_resume_cuts_the_history_and_needs_as_many_processes():
    trainer = Trainer(points(), toy("ring", 60), 20).fit(5)
    state = trainer.state_dict()
    trainer.fit(5).load_state_dict(state)
    assert trainer.fit(5).history["step"].tolist() == list(range(1, 11))
    with pytest.raises(ValueError, match="of 2 process.*nproc-per-node 2"): trainer.load_state_dict({**state, "randomness": state["randomness"] * 2})


def test_training_on_without_an_average_forgets_the_old_one():
    gan = points()
    Trainer(gan, toy("ring", 60), 20, callbacks=[EMA(0.9)]).fit(3)
    old = gan.sample(4, seed=0)
    Trainer(gan, toy("ring", 60), 20, optimizer=lambda p: torch.optim.SGD(p, lr=1.0)).fit(10)
    assert not torch.equal(old, gan.sample(4, seed=0))


def test_it_learns_the_ring():
    "A trained game covers most modes, an untrained one does not: counted, not looked at."
    from ganlab.synthetic import ring_modes
    torch.manual_seed(0)
    gan = plane()
    def covered():
        near, mode = torch.cdist(gan.sample(1000, seed=0), ring_modes()).min(1)
        return (torch.bincount(mode[near < 0.15], minlength=8) > 20).sum().item()
    before = covered()
    Trainer(gan, toy("ring", 5000), 256, callbacks=[EMA(0.99)]).fit(1500)
    assert before <= 2 and covered() >= 6
