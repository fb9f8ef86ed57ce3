"Playing in the background: pauses, interrupts, races for one game, and what watching costs."
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import equal
from ganlab.data import toy
from ganlab.history import Timeline
from ganlab.live import LiveLosses
from ganlab.models.mlp import mlp, points
from ganlab.plane import Settings, pack, read_line, unpack, write_line
from ganlab.playground import Playground
from ganlab.trainer import Callback, Trainer


def make(gan=None, **training):
    torch.manual_seed(0)
    return Trainer(gan or points(hidden=(16,)), toy("ring", 500), batch_size=64, **training)


def images(**training):
    torch.manual_seed(0)
    return Trainer(mlp(8, hidden=(16,)), torch.rand(200, 1, 8, 8) * 2 - 1, **training)


def running(trainer): return trainer.thread is not None


def wait_until(true, seconds=60):
    end = time.time() + seconds
    while not true() and time.time() < end: time.sleep(0.01)
    assert true()


def test_paused_means_nothing_moves():
    trainer = make().start(10**6)
    for _ in range(20):
        trainer.pause()
        before, row = trainer.steps, len(trainer.history)
        weights = [p.clone() for p in trainer.gan.parameters()]
        time.sleep(0.01)
        assert trainer.steps == before == row and equal(list(trainer.gan.parameters()), weights)
        trainer.resume()
        time.sleep(0.005)
    trainer.stop()
    assert not running(trainer)


def test_a_paused_training_can_be_stopped_and_a_stopped_one_started_again():
    trainer = make().start(10**6)
    trainer.pause(); trainer.stop()
    assert not running(trainer)
    at = trainer.steps
    trainer.start(10).wait()
    assert trainer.steps == at + 10 and trainer.error is None


def test_stop_and_pause_that_come_at_once_are_heard():
    for _ in range(30):
        trainer = make().start(10**6)
        trainer.stop()
        assert not running(trainer)
        trainer.start(10**6); trainer.pause()
        at = trainer.steps
        time.sleep(0.01)
        assert trainer.steps == at
        trainer.stop()


@pytest.mark.parametrize("order", range(3))
def test_two_trainers_never_move_one_game(order):
    "Whoever starts last plays; the other has returned before."
    gan, playing, both = points(hidden=(16,)), set(), []
    class Notes(Callback):
        def before_update(self, trainer, side):
            playing.add(id(trainer))
            if len(playing) > 1: both.append(trainer.steps)
        def after_update(self, trainer, side): playing.discard(id(trainer))
    first, second = make(gan, callbacks=[Notes()]), make(gan, callbacks=[Notes()])
    for one, other in [(first, second), (second, first)] * 5:
        one.start(10**6)
        time.sleep(0.01 * order)
        other.start(10**6)
        assert not running(one) and running(other)
        other.stop()
    assert not both


def test_a_race_of_starts_leaves_one():
    gan = points(hidden=(16,))
    trainers = [make(gan) for _ in range(6)]
    threads = [threading.Thread(target=t.start, args=(10**6,)) for t in trainers]
    for t in threads: t.start()
    for t in threads: t.join()
    assert sum(map(running, trainers)) == 1
    for t in trainers: t.stop()


def test_two_games_side_by_side_are_each_what_they_are_alone():
    "Their private streams do not mix, though all streams belong to the process."
    noisy = lambda seed: Trainer(mlp(8, hidden=(16,), dropout=0.5), torch.linspace(-1, 1, 200 * 64).view(200, 1, 8, 8), seed=seed)
    alone = []
    for seed in (1, 2): torch.manual_seed(0); alone.append(noisy(seed).fit(60))
    together = []
    for seed in (1, 2): torch.manual_seed(0); together.append(noisy(seed))
    for trainer in together: trainer.start(60)
    for trainer in together: trainer.wait()
    for a, b in zip(alone, together): assert equal(a.gan.state_dict(), b.gan.state_dict())


def test_sampling_from_another_thread_disturbs_nothing_and_waits_its_turn():
    trainer = images().start(200)
    fixed = trainer.gan.latent(4, torch.Generator().manual_seed(1))
    while running(trainer):
        assert torch.isfinite(trainer.gan.sample(fixed)).all() and trainer.gan.generator.training
        trainer.gan.sample(4, seed=3)
    assert equal(trainer.gan.state_dict(), images().fit(200).gan.state_dict())


def test_an_interrupt_while_waiting_ends_the_training():
    trainer = make().start(10**7)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt): trainer.wait()
    assert not running(trainer) and trainer.steps > 0


def test_interrupts_while_sampling_never_lose_the_lock():
    "Ctrl-C at any moment of a cell that samples beside a training: the training goes on, and can be stopped."
    trainer = make().start(10**7)
    for k in range(40):
        timer = threading.Timer(0.02 + 0.0007 * k, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            while True: trainer.gan.sample(1)
        timer.join()
    at = trainer.steps
    wait_until(lambda: trainer.steps > at)
    trainer.stop()
    assert not running(trainer)


def test_stop_refuses_to_wait_for_itself():
    trainer = make().start(10**7)
    with trainer.randomness.turnstile.ask(), pytest.raises(RuntimeError, match="lets go of the turnstile"): trainer.stop()
    trainer.stop()
    assert not running(trainer)


def test_a_training_that_ends_may_begin_another():
    class Next(Callback):
        def after_fit(self, trainer): other.start(5)
    trainer, other = make(callbacks=[Next()]).start(10**7), make()
    make(trainer.gan).start(5).wait()
    other.wait()
    assert not running(trainer) and other.steps == 5


def test_a_script_that_ends_while_a_game_is_played_ends_quietly():
    code = "import torch\nfrom ganlab.models.mlp import points\nfrom ganlab.trainer import Trainer\nfrom ganlab.data import toy\nt = Trainer(points(), toy('ring', 500)).start(10**7)\nimport time; time.sleep(0.5); print('over')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.strip() == "over" and "Traceback" not in done.stderr


def test_past_samples_fit_into_the_memory_they_were_given():
    live = LiveLosses(samples=4, memory=4 * 64 * 10)  # ten moments of four images of 8x8
    trainer = images(callbacks=[live])
    trainer.fit(5)
    for _ in range(100): trainer.fit(1)
    assert len(live.past) <= 10 and sum(moment.numel() for _, moment in live.past) <= live.memory and live.past[0][0] == 0 and live.past[-1][0] == 105


def test_looking_back_while_the_past_is_thinned():
    "The step that is looked at stays, though half of the moments are forgotten; and the training is not disturbed."
    live = LiveLosses(samples=4, memory=4 * 64 * 10)
    trainer = images(callbacks=[live])
    for _ in range(9): trainer.fit(1)
    live.panel.touch("history", 8)
    looked_at = live.past[8][0]
    for _ in range(40):
        trainer.fit(1)
        step = live.past[live.panel["history"]][0]
        assert step <= looked_at and f"those of step {step}." in live.panel.sentence and trainer.error is None
    live.panel.touch("history", len(live.past) - 1)
    trainer.fit(1)
    assert "those of" not in live.panel.sentence and live.panel["history"] == len(live.past) - 1


def test_play_after_a_checkpoint_was_loaded():
    live = LiveLosses(steps=7)
    trainer = images(callbacks=[live])
    trainer.load_state_dict(images().fit(20).state_dict())
    live.panel.touch("play")
    trainer.wait()
    assert trainer.steps == 27


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_stays_until_somebody_acts_on_it():
    live = LiveLosses()
    trainer = make(callbacks=[live])
    def trip(D, real, fake): raise ArithmeticError("tripped")
    trainer.gan.penalties["trip"] = trip
    with pytest.raises(ArithmeticError): trainer.start(5).wait()
    live.panel._hear(None, {"touched": [["reader", {"dark": True, "reduced": False}]], "ticket": "1"}, [])
    assert "tripped" in live.panel.problem and live.curves.dark


def test_drawing_is_rare_however_fast_the_steps_are(monkeypatch):
    "Ten pictures a second at most, and 3 % of the time, by a clock of our own: steps take 1 ms, drawings 20."
    clock, live = [0.0], LiveLosses()
    monkeypatch.setattr("ganlab.live.time.perf_counter", lambda: clock[0])
    trainer = images(callbacks=[live])
    times = []
    def draw(): times.append(clock[0]); clock[0] += 0.020
    live.draw, live.remember = draw, lambda: None
    live.before_fit(trainer)
    for _ in range(30_000): clock[0] += 0.001; live.after_step(trainer)
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert min(gaps) >= 0.1 - 1e-9 and 0.02 * len(times) / clock[0] < 0.04 and times[0] == 0.0
    live.panel.reduced = True
    n = len(times)
    for _ in range(10_000): clock[0] += 0.001; live.after_step(trainer)
    assert len(times) - n <= 6


def test_a_game_without_images_and_one_with_several_parts_are_watched():
    live = LiveLosses()
    trainer = make(callbacks=[live])
    trainer.gan.penalties["size"] = lambda D, real, fake: D(real).square().mean()
    trainer.fit(20)
    assert live.past is None and len(live.panel.pictures) == 1 and "size" in live.panel.sentence
    live.act("log_axis", True)


@given(st.integers(2, 20), st.lists(st.booleans(), max_size=300))
def test_a_timeline_is_small_even_and_has_both_ends(limit, cuts):
    past = Timeline(limit)
    for step, cut in enumerate(cuts):
        if cut and len(past) > 1: past.cut(len(past) - 2)
        past.append(step, -step)
        assert len(past) <= limit and past[-1] == (step, -step)
        counts = [k for k, _, _ in past.kept]
        gaps = {b - a for a, b in zip(counts[:-1], counts[1:-1])}
        assert counts[0] == 0 and len(gaps) <= 1 and all(item == -s for s, item in past)


LINES = st.builds(Settings, data=st.sampled_from(["ring", "grid", "moons"]), objective=st.sampled_from(["hinge", "wasserstein"]), penalty=st.sampled_from(["none", "r1"]),
                  latent_dim=st.integers(1, 16), lr_d=st.floats(1e-6, 1), n_d=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))


@given(LINES, st.lists(st.tuples(st.integers(0, 1000), st.sampled_from(["d", "g", "lr_d=0.01", "n_d=3"]))), st.integers(0, 100))
def test_a_line_brings_back_the_game(settings, events, more):
    events = sorted(events, key=lambda e: e[0])
    steps = (events[-1][0] if events else 0) + more
    assert read_line(write_line(settings, events, steps)) == (settings, events, steps)


@given(st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), max_size=50))
def test_drawn_points_come_back(pairs):
    drawn = torch.tensor(pairs, dtype=torch.float32).view(-1, 2) / 80
    assert torch.equal(unpack(pack(drawn)), drawn)


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_other_text_is_refused_in_words(text):
    try: read_line(text)
    except ValueError as error: assert str(error)


ACTS = st.one_of(st.sampled_from([("step_d", None), ("step_g", None), ("play", 0), ("play", 3)]), st.tuples(st.just("rewind"), st.floats(0, 1)),
                 st.tuples(st.just("lr_d"), st.floats(1e-4, 1e-2)), st.tuples(st.just("n_d"), st.integers(1, 3)))


@given(st.lists(ACTS, max_size=8))
@settings(max_examples=15, deadline=None)
def test_whatever_was_done_to_a_playground_its_line_replays(acts):
    "Turns by hand, changed rates, rewinds, in any order: the line plays to the same bits."
    p = Playground("width=4 objective=randomized_hinge penalty=gradient_penalty")  # both draw from the private streams
    for name, value in acts:
        if name == "play": p.at_shown(); p.trainer.fit(value)
        elif name == "rewind": p.panel.touch("rewind", round(value * (len(p.moments) - 1)))
        else: p.panel.touch(name, value)
    p.at_shown(); p.rest()
    again = Playground(p.panel["line"])
    assert again.trainer.steps == p.trainer.steps and equal(again.trainer.gan.state_dict(), p.trainer.gan.state_dict()) and again.panel["line"] == p.panel["line"]


def test_a_rate_that_is_changed_in_the_past_is_changed_there():
    p = Playground("width=4")
    p.trainer.pace = 0.05
    p.trainer.fit(4)
    p.panel.touch("rewind", 2); p.panel.touch("lr_g", 0.01)
    assert p.trainer.steps == 2 and p.events == [(2, "lr_g=0.01")] and p.panel["line"] == "width=4 @2:lr_g=0.01 @2" and len(p.moments) == 3
    p.panel.touch("restart")
    assert p.settings.lr_g == 0.01 and p.panel["line"] == "width=4 lr_g=0.01"


def test_after_an_error_the_game_goes_on_from_the_last_good_moment():
    p = Playground("width=4")
    p.trainer.pace = 0.05
    p.trainer.fit(3)
    real = p.trainer.gan.generator_loss
    def trip(batch): raise ArithmeticError("tripped")
    p.trainer.gan.generator_loss = trip
    with pytest.raises(ArithmeticError): p.trainer.fit(1)          # D has moved, G has not
    assert "tripped" in p.panel.problem
    p.trainer.gan.generator_loss = real
    p.at_shown(); p.trainer.fit(2); p.rest()
    assert equal(Playground(p.panel["line"]).trainer.gan.state_dict(), p.trainer.gan.state_dict()) and p.trainer.steps == 5


def test_a_playground_that_waits_for_points_plays_nothing_else():
    p = Playground("width=4")
    p.panel.touch("data", "drawn")
    for name in ("play", "step_d", "restart"): p.panel.touch(name); assert "Draw real points" in p.panel.note and p.trainer.steps == 0 and not p.playing
    p.hear(None, {"drawn": [[0.5, 0.5], [0.6, 0.5]]})
    assert p.settings.data == "drawn" and not p.waiting
    p.panel.touch("clear"); p.panel.touch("width", "8"); p.panel.touch("step_g")
    assert p.waiting and p.still()
    p.panel.touch("data", "moons")
    assert p.settings.data == "moons" and p.settings.width == 8 and not p.waiting and not p.stage.drawing
    p.panel.touch("step_d"); assert p.events == [(0, "d")]


@pytest.mark.parametrize("line", ["objective=hing", "data=drawn", "@5 width=3", "width=0", "nonsense"])
def test_a_bad_line_changes_nothing(line):
    p = Playground("width=4 @3")
    trainer = p.trainer
    p.panel._hear(None, {"touched": [["line", line], ["step_d", None]], "ticket": "1"}, [])
    assert p.trainer is trainer and p.events == [(3, "d")] and p.panel["line"] == "width=4 @3:d @3"


def test_the_moments_of_a_playground_fit_into_its_memory():
    import pickle
    p = Playground("width=4", memory=10 * 80_000)
    p.trainer.pace = 0.05
    p.trainer.fit(25)
    assert len(p.moments) <= 10 and len(pickle.dumps(p.moments.kept)) < 1.1 * 10 * 80_000
