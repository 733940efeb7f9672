"""Explanations: exact where they claim it, within their error elsewhere, and about these calls."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_daemon.classify.call_model import CallModel
from edge_daemon.classify.explain import MIN_CELLS, explain, explain_cell
from edge_daemon.classify.explanation import (
    Attribution,
    Contribution,
    Spread,
    Threshold,
    Turn,
    describe,
    level,
    limits,
)
from edge_daemon.classify.runtime import Classifier
from edge_daemon.classify.shapley import by_channel, by_group, mean_and_error
from edge_daemon.classify.thresholds import find_turns, over_reference
from edge_daemon.errors import EdgeError
from edge_daemon.records import CELL_CLASSES, CellCalls

DETECTORS = ("LA", "HA", "EXT", "FL")


@pytest.fixture(scope="module")
def run(make_cells, bundle):
    batch, _ = make_cells([2500, 150, 80, 250, 60], seed=3)
    return batch, Classifier(bundle).classify(batch)


@pytest.fixture(scope="module")
def model(run, bundle):
    return CallModel(*run, bundle)


@pytest.fixture(scope="module")
def explanation(run, bundle):
    return explain(*run, bundle, seed=1)


@pytest.fixture(scope="module")
def reference(run):
    batch, calls = run
    return np.median(batch.signals[calls.codes == 0], axis=0)


def groups(channels):
    return [[i for i, c in enumerate(channels) if c.startswith(f"{d}.")] for d in DETECTORS]


def wiggly(rows):
    """Function with interactions of every pair and one of three."""
    x = rows.astype(float)
    return np.sin(x @ np.arange(1, x.shape[1] + 1)) + x[:, 0] * x[:, 1] * x[:, 2] + x[:, -1] ** 2


def by_orders(function, cell, base, parts):
    """Shapley values by their definition: the mean gain over all orders."""
    total = np.zeros(len(parts))
    for order in itertools.permutations(range(len(parts))):
        row = base.copy()
        before = function(row[None])[0]
        for player in order:
            row[parts[player]] = cell[parts[player]]
            after = function(row[None])[0]
            total[player] += after - before
            before = after
    return total / math.factorial(len(parts))


# Shapley values


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_groups_are_exact_and_efficient(seed, players):
    rng = np.random.default_rng(seed)
    cells, background = rng.normal(size=(2, 7)), rng.normal(size=(3, 7))
    parts = [p.tolist() for p in np.array_split(rng.permutation(7), players)]
    found = by_group(wiggly, cells, background, parts)
    assert found.shape == (2, 3, players)
    for i, j in np.ndindex(2, 3):
        wanted = by_orders(wiggly, cells[i], background[j], parts)
        np.testing.assert_allclose(found[i, j], wanted, atol=1e-9)
    gap = wiggly(cells)[:, None] - wiggly(background)[None]
    np.testing.assert_allclose(found.sum(axis=2), gap, atol=1e-9)


def test_one_group_takes_everything():
    cells, background = np.ones((1, 3)), np.zeros((2, 3))
    found = by_group(wiggly, cells, background, [[0, 1, 2]])
    np.testing.assert_allclose(found[0, :, 0], wiggly(cells) - wiggly(background))


def test_sampled_channels_are_efficient_for_every_pair():
    rng = np.random.default_rng(4)
    cells, background = rng.normal(size=(3, 6)), rng.normal(size=(5, 6))
    found = by_channel(wiggly, cells, background, rng)
    gap = wiggly(cells)[:, None] - wiggly(background)[None]
    np.testing.assert_allclose(found.sum(axis=2), gap, atol=1e-9)


def test_sampled_channels_of_a_sum_are_exact():
    rng = np.random.default_rng(5)
    slope = rng.normal(size=6)
    cells, background = rng.normal(size=(3, 6)), rng.normal(size=(4, 6))
    found = by_channel(lambda rows: rows @ slope, cells, background, rng)
    np.testing.assert_allclose(found, (cells[:, None] - background[None]) * slope, atol=1e-9)


def test_pair_of_orders_is_exact_for_pairwise_interactions():
    """An order and its reverse together give every pair its half: the antithetic gain."""
    rng = np.random.default_rng(6)
    matrix = rng.normal(size=(6, 6))

    def quadratic(rows):
        return np.einsum("ni,ij,nj->n", rows, matrix, rows)

    cells, background = rng.normal(size=(2, 6)), rng.normal(size=(3, 6))
    singles = [[i] for i in range(6)]
    exact = by_group(quadratic, cells, background, singles)
    found = by_channel(quadratic, cells, background, rng)
    np.testing.assert_allclose(found, exact, atol=1e-9)


def test_sampled_channels_are_unbiased():
    rng = np.random.default_rng(7)
    cell, base = rng.normal(size=(1, 5)), rng.normal(size=(1, 5))
    exact = by_group(wiggly, cell, base, [[i] for i in range(5)])[0, 0]
    draws = by_channel(wiggly, cell, np.repeat(base, 4000, axis=0), rng)[0]
    error = draws.std(axis=0) / math.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - exact) < 4 * error + 1e-9)
    assert error.max() > 1e-3  # the orders do matter here


def test_standard_error_is_that_of_new_cells_and_background():
    """Values of crossed random draws: the stated error is the spread of the mean, hardly more."""
    rng = np.random.default_rng(8)
    shape = (400, 12, 20)
    values = (
        rng.normal(size=(*shape, 1))
        + rng.normal(0, 2.0, size=(400, 12, 1, 1))
        + rng.normal(0, 1.5, size=(400, 1, 20, 1))
    )
    found = [mean_and_error(v) for v in values]
    spread = np.var([mean[0] for mean, _ in found])
    stated = np.mean([error[0] ** 2 for _, error in found])
    assert 0.85 < stated / spread < 1.3


def test_one_cell_has_the_error_of_its_background():
    values = np.random.default_rng(9).normal(size=(1, 50, 2))
    mean, error = mean_and_error(values)
    np.testing.assert_allclose(mean, values[0].mean(axis=0))
    np.testing.assert_allclose(error, values[0].std(axis=0, ddof=1) / math.sqrt(50))


# The function that is explained


def test_model_of_single_cells_is_the_classifier_of_the_run(run, model):
    batch, calls = run
    np.testing.assert_allclose(model.posterior(batch.signals), calls.posterior, atol=1e-4)
    np.testing.assert_array_equal(model.codes, calls.codes)


def test_run_with_other_class_frequencies_is_followed(make_cells, bundle):
    batch, _ = make_cells([1500, 900, 10, 20, 5], seed=11)
    calls = Classifier(bundle).classify(batch)
    model = CallModel(batch, calls, bundle)
    np.testing.assert_allclose(model.posterior(batch.signals), calls.posterior, atol=1e-4)


def test_one_cell_is_called_the_same_alone(run, model):
    batch, calls = run
    alone = np.concatenate([model.posterior(batch.signals[i : i + 1]) for i in range(0, 300, 7)])
    np.testing.assert_allclose(alone, calls.posterior[0:300:7], atol=1e-4)


def test_log_odds_are_those_of_the_posterior_and_bounded(run, model):
    batch, _ = run
    posterior = model.posterior(batch.signals)
    for code in range(5):
        odds = model.log_odds(batch.signals, code)
        assert np.abs(odds).max() <= math.log(1e6)
        p = posterior[:, code]
        open_cells = (p > 1e-4) & (p < 1 - 1e-4)
        wanted = np.log(p[open_cells] / (1 - p[open_cells]))
        np.testing.assert_allclose(odds[open_cells], wanted, atol=1e-8)


@pytest.mark.parametrize("spoil", ["other", "shorter"])
def test_calls_of_something_else_are_refused(run, bundle, spoil):
    batch, calls = run
    if spoil == "other":
        codes = calls.codes.copy()
        codes[:40] = (codes[:40] + 1) % 5
        wrong = CellCalls(calls.posterior, codes)
    else:
        wrong = CellCalls(calls.posterior[:-1], calls.codes[:-1])
    with pytest.raises(EdgeError, match="otherwise than the calls") as caught:
        explain(batch, wrong, bundle)
    assert caught.value.action


def test_missing_channel_is_named(run, bundle):
    batch, calls = run
    keep = [i for i, c in enumerate(batch.channels) if c != "FL.A"]
    without = dataclasses.replace(
        batch,
        signals=batch.signals[:, keep],
        channels=tuple(batch.channels[i] for i in keep),
        saturated=batch.saturated[:, keep],
    )
    with pytest.raises(EdgeError, match=r"FL\.A"):
        explain(without, calls, bundle)


def test_order_of_channels_does_not_matter(run, bundle, explanation):
    batch, calls = run
    turned = dataclasses.replace(
        batch,
        signals=batch.signals[:, ::-1],
        channels=batch.channels[::-1],
        saturated=batch.saturated[:, ::-1],
    )
    assert explain(turned, calls, bundle, seed=1) == explanation


# Against the shap library


@pytest.fixture(scope="module")
def shap():
    return pytest.importorskip("shap", reason="shap is not installed (it comes with the extra)")


@pytest.fixture(scope="module")
def game(run, model):
    """Reticulocytes against red cells: function, cells, background."""
    batch, calls = run
    rng = np.random.default_rng(2)
    cells = batch.signals[rng.permutation(np.flatnonzero(calls.codes == 1))[:2]]
    background = batch.signals[rng.permutation(np.flatnonzero(calls.codes == 0))[:6]]
    return lambda rows: model.log_odds(np.asarray(rows, np.float32), 1), cells, background


def test_channels_agree_with_exact_explainer(shap, game):
    function, cells, background = game
    masker = shap.maskers.Independent(background, max_samples=len(background))
    wanted = shap.explainers.ExactExplainer(function, masker)(cells, silent=True)
    exact = by_group(function, cells, background, [[i] for i in range(12)])
    np.testing.assert_allclose(exact.mean(axis=1), wanted.values, atol=1e-5)
    many = np.stack(
        [by_channel(function, cells, background, np.random.default_rng(s)) for s in range(8)]
    )
    error = many.mean(axis=2).std(axis=0, ddof=1) / math.sqrt(8)
    difference = np.abs(many.mean(axis=(0, 2)) - wanted.values)
    assert np.all(difference < 5 * error + 0.02)


def test_detectors_agree_with_exact_and_kernel_explainer(shap, game, run):
    function, cells, background = game
    parts = groups(run[0].channels)
    member = np.zeros((4, 12), dtype=bool)
    for player, columns in enumerate(parts):
        member[player, columns] = True
    found = by_group(function, cells, background, parts).mean(axis=1)

    for cell, ours in zip(cells, found, strict=True):

        def present(chosen, cell=cell):
            masks = (np.asarray(chosen) > 0.5) @ member
            rows = np.where(masks[:, None], cell, background)
            return function(rows.reshape(-1, 12)).reshape(len(masks), -1).mean(axis=1)

        nothing, everything = np.zeros((1, 4)), np.ones((1, 4))
        masker = shap.maskers.Independent(nothing)
        exact = shap.explainers.ExactExplainer(present, masker)(everything, silent=True)
        np.testing.assert_allclose(ours, exact.values[0], atol=1e-5)
        kernel = shap.KernelExplainer(present, nothing)
        values = kernel.shap_values(everything[0], silent=True, l1_reg=False)
        np.testing.assert_allclose(ours, values, atol=1e-4)


# Thresholds


@pytest.mark.parametrize("detector", DETECTORS)
def test_call_changes_at_the_threshold_and_not_before(run, model, reference, detector):
    batch, calls = run
    columns = [batch.channels.index(f"{detector}.{f}") for f in "AH"]
    cells = np.concatenate([batch.signals[calls.codes == code][:6] for code in range(5)])
    own = np.repeat(np.arange(5), 6)
    turns = find_turns(model, cells, reference, columns)
    start = over_reference(cells, reference)[:, columns[0]]
    np.testing.assert_allclose(turns.start, start)

    def called(index, level):
        changed = np.repeat(cells[index : index + 1], len(level), axis=0)
        changed[:, columns] *= (level / start[index])[:, None]
        return model.posterior(changed).argmax(axis=1)

    checked = 0
    for index, side in np.argwhere(turns.becomes >= 0):
        turn, away = turns.multiple[index, side], (0.999, 1.001)[side]
        assert (turn < start[index]) == (side == 0)
        assert called(index, np.array([turn * away]))[0] == turns.becomes[index, side] != own[index]
        # Strictly between the cell and its threshold: the call stays.
        between = np.geomspace(start[index], turn / away, 40)
        assert np.all(called(index, between) == own[index])
        checked += 1
    assert checked >= 6
    assert np.all(np.isnan(turns.multiple) == (turns.becomes < 0))


def test_no_threshold_where_the_call_does_not_change(run, model, reference):
    """Red cells stay red cells however dark their fluorescence."""
    batch, calls = run
    columns = [batch.channels.index(c) for c in ("FL.A", "FL.H")]
    turns = find_turns(model, batch.signals[calls.codes == 0][:20], reference, columns)
    assert np.all(turns.becomes[:, 0] == -1)
    assert np.all(turns.becomes[:, 1] > 0)


def test_signal_without_light_is_searched_from_the_floor(run, model, reference):
    batch, calls = run
    columns = [batch.channels.index(c) for c in ("FL.A", "FL.H")]
    cells = batch.signals[calls.codes == 0][:3].copy()
    cells[:, columns] = [[0.0, 0.0], [-1.0, 0.0], [-5.0, -5.0]]
    turns = find_turns(model, cells, reference, columns)
    assert np.all(turns.start == 1e-3)
    assert np.all(turns.becomes[:, 1] >= 0)


# The explanation of a run


def test_values_sum_to_what_they_explain(explanation):
    assert [c.name for c in explanation.classes] == list(CELL_CLASSES)
    for part in explanation.classes:
        for attribution in (*part.attributions, *part.typical.attributions):
            gap = attribution.value - attribution.baseline
            for parts in (attribution.detectors, attribution.channels):
                assert sum(c.value for c in parts) == pytest.approx(gap, abs=1e-6)


def test_backgrounds_of_each_class(explanation):
    for part in explanation.classes:
        first = "others" if part.name == "pure_rbc" else "red_cells"
        assert [a.background for a in part.attributions] == [first, "run"]


def test_detector_that_separates_is_named(explanation):
    by_name = {c.name: c for c in explanation.classes}
    retic = by_name["reticulocyte"]
    values = {c.name: c.value for c in retic.attributions[0].detectors}
    assert values["FL"] > 10 * max(abs(values[d]) for d in ("LA", "HA", "EXT"))
    assert "because FL.A is" in retic.typical.sentence
    assert "with FL.A below" in retic.typical.sentence
    assert "it would have been called pure red cell" in retic.typical.sentence
    assert limits(retic).startswith(f"In {retic.explained} of {retic.explained} such cells")
    platelet = {c.name: c.value for c in by_name["platelet"].attributions[0].detectors}
    assert max(platelet, key=platelet.get) == "LA"
    assert "near the red-cell median" in by_name["pure_rbc"].typical.sentence


def test_channels_the_model_does_not_use_get_nothing(explanation):
    """The bundle of the tests reads five of its twelve inputs."""
    read = {"LA.H", "HA.H", "EXT.H", "FL.H", "EXT.W"}
    for part in explanation.classes:
        for c in part.attributions[0].channels:
            if c.name not in read:
                assert (c.value, c.standard_error) == (0.0, 0.0)


def test_typical_cell_is_one_of_the_class(run, explanation):
    _, calls = run
    for part in explanation.classes:
        assert CELL_CLASSES[calls.codes[part.typical.event]] == part.name == part.typical.called
        assert part.events == int((calls.codes == CELL_CLASSES.index(part.name)).sum())
        assert part.explained == min(part.events, 32)


def test_one_event_alone_says_the_same_as_in_its_class(run, bundle, explanation):
    for part in explanation.classes:
        assert explain_cell(*run, bundle, part.typical.event, seed=1) == part.typical


def test_seed_decides(run, bundle, explanation):
    assert explain(*run, bundle, seed=1) == explanation
    assert explain(*run, bundle, seed=2) != explanation


def test_more_cells_give_a_smaller_error(run, bundle):
    few, many = (explain(*run, bundle, cells_per_class=n) for n in (4, 60))
    for a, b in zip(few.classes, many.classes, strict=True):
        assert (a.explained, b.explained) == (4, min(a.events, 60))

    def error(found):
        return sum(
            c.standard_error for part in found.classes for c in part.attributions[0].detectors
        )

    assert error(many) < error(few)


def test_explanation_is_json(explanation):
    text = json.dumps(explanation.as_dict(), allow_nan=False)
    assert json.loads(text)["classes"][1]["typical"]["called"] == "reticulocyte"


def test_rare_class_is_counted_and_not_explained(make_cells, bundle):
    batch, _ = make_cells([2500, 3, 80, 250, 60], seed=5)
    calls = Classifier(bundle).classify(batch)
    found = explain(batch, calls, bundle)
    count = int((calls.codes == 1).sum())
    assert count < MIN_CELLS
    assert found.too_few == {"reticulocyte": count}
    assert "reticulocyte" not in [c.name for c in found.classes]


def test_run_without_pure_red_cells_is_refused(make_cells, bundle):
    """Half clumps, half platelets, of one extinction area: the peak lies between, empty."""
    batch, _ = make_cells([0, 0, 300, 300, 0], seed=6)
    batch.signals[:, batch.channels.index("EXT.A")] = np.linspace(240, 260, 600)
    calls = Classifier(bundle).classify(batch)
    assert (calls.codes == 0).sum() < MIN_CELLS
    with pytest.raises(EdgeError, match="pure red cell, expected at least 10") as caught:
        explain(batch, calls, bundle)
    assert caught.value.action


@pytest.mark.parametrize("event", [-1, 3040])
def test_event_that_is_not_there_is_refused(run, bundle, event):
    assert run[0].events == 3040
    with pytest.raises(EdgeError, match="0 to 3039"):
        explain_cell(*run, bundle, event)


# Words


@pytest.mark.parametrize(
    ("multiple", "text"),
    [
        (4.12, "4.1 ×"),
        (0.0231, "0.02 ×"),
        (0.0042, "0.004 ×"),
        (0.001, "under 0.001 ×"),
        (-0.3, "under 0.001 ×"),
        (12.3, "12 ×"),
        (9.96, "10 ×"),
        (1.25, "1.25 ×"),
        (1.96, "2.0 ×"),
        (0.0096, "0.01 ×"),
    ],
)
def test_levels_have_the_digits_a_person_can_use(multiple, text):
    assert level(multiple) == text


def attribution(channels=None, **values):
    """Attribution whose channels are the areas, unless given."""
    channels = channels or {f"{name}.A": value for name, value in values.items()}
    detectors, parts = (
        tuple(Contribution(name, value, 0.1) for name, value in found.items())
        for found in (values, channels)
    )
    return Attribution("red_cells", -9.0, 4.0, detectors, parts)


def threshold(signal, multiple, below=None, above=None):
    channel = {"all": "LA.A", "width": "LA.W"}.get(signal, f"{signal}.A")
    return Threshold(signal, channel, multiple, below, above)


def test_sentence_names_cause_and_smallest_change():
    thresholds = (
        threshold("LA", 1.1, above=Turn(1.2, "clumped_rbc")),
        threshold("FL", 4.1, below=Turn(2.3, "pure_rbc"), above=Turn(60.0, "other")),
        threshold("all", 1.0, below=Turn(0.9, "platelet")),
    )
    text = describe("reticulocyte", attribution(LA=0.2, FL=11.0), {"FL.A": 4.1}, thresholds)
    assert text == (
        "Called reticulocyte because FL.A is 4.1 × the red-cell median; with FL.A below 2.3 × it "
        "would have been called pure red cell."
    )


def test_several_causes_may_change_together():
    thresholds = (
        threshold("LA", 0.02, above=Turn(2.0, "pure_rbc")),
        threshold("EXT", 0.04),
        threshold("all", 1.0, below=Turn(0.25, "other"), above=Turn(6.0, "pure_rbc")),
    )
    found = attribution(LA=5.0, EXT=4.0)
    assert describe("platelet", found, {"LA.A": 0.02, "EXT.A": 0.04}, thresholds) == (
        "Called platelet because LA.A is 0.02 × and EXT.A is 0.04 × the red-cell median; with all "
        "signals 4.0 × smaller it would have been called other event."
    )


def test_long_pulse_is_a_cause_of_its_own():
    thresholds = (
        threshold("HA", 1.9, above=Turn(2.0, "clumped_rbc")),
        threshold("width", 1.5, below=Turn(1.24, "pure_rbc")),
    )
    found = attribution({"HA.H": 0.5, "HA.A": 1.0, "HA.W": 3.0}, HA=4.5)
    assert describe("other", found, {"HA.A": 1.9, "HA.W": 1.5}, thresholds) == (
        "Called other event because HA.W is 1.50 × the red-cell median; with pulse width below "
        "1.24 × it would have been called pure red cell."
    )


def test_pure_red_cell_is_near_the_median_and_has_three_ways_out():
    turns = [Turn(m, c) for m, c in ((3.1, "reticulocyte"), (0.3, "platelet"), (5.0, "other"))]
    thresholds = (
        threshold("LA", 1.0, below=turns[1], above=turns[2]),
        threshold("FL", 0.94, above=turns[0]),
        threshold("width", 1.0, above=Turn(1.25, "other")),
    )
    assert describe("pure_rbc", attribution(LA=1.0, FL=2.0), {}, thresholds) == (
        "Called pure red cell because its signals are near the red-cell median (LA.A 1.00 ×, FL.A "
        "0.94 ×); with pulse width above 1.25 × it would have been called other event, with FL.A "
        "above 3.1 × it would have been called reticulocyte and with LA.A below 0.30 × it would "
        "have been called platelet."
    )


def test_sentence_falls_back_on_a_signal_that_was_no_cause():
    thresholds = (threshold("LA", 0.02), threshold("FL", 0.5, above=Turn(3.0, "other")))
    text = describe("platelet", attribution(LA=9.0, FL=0.1), {"LA.A": 0.02}, thresholds)
    assert text.endswith(
        "because LA.A is 0.02 × the red-cell median; with FL.A above 3.0 × it would have been "
        "called other event."
    )


def test_sentence_says_when_no_single_signal_decides():
    thresholds = (threshold("LA", 0.02), threshold("EXT", 0.03), threshold("HA", 0.2))
    found = attribution(LA=9.0, EXT=7.0, HA=1.0)
    assert describe("platelet", found, {"LA.A": 0.02, "EXT.A": 0.03}, thresholds) == (
        "Called platelet because LA.A is 0.02 × and EXT.A is 0.03 × the red-cell median; no change "
        "of one signal alone would have changed the call."
    )


def test_call_against_every_detector_still_has_a_cause():
    thresholds = (threshold("LA", 0.9), threshold("FL", 1.1))
    text = describe("other", attribution(LA=-2.0, FL=-0.5), {"FL.A": 1.1}, thresholds)
    assert text.startswith("Called other event because FL.A is 1.10 × the red-cell median;")


def test_limits_of_all_signals_are_factors(explanation):
    clumps = next(c for c in explanation.classes if c.name == "clumped_rbc")
    part = dataclasses.replace(
        clumps,
        spreads=(Spread("all", "below", 0.5, 0.5, 0.25, 0.8),),
        explained=20,
        typical=dataclasses.replace(
            clumps.typical, thresholds=(threshold("all", 1.0, below=Turn(0.6, "pure_rbc")),)
        ),
    )
    assert limits(part) == (
        "In 10 of 20 such cells the call changes with all signals 2.0 × smaller (median; middle "
        "80 %: 1.25 × to 4.0 ×)."
    )
    assert limits(dataclasses.replace(part, spreads=())) == ""


def test_all_signals_are_those_of_a_larger_cell(run, model, explanation):
    """Scaling a whole cell by its stated factor changes the call, a little less does not."""
    batch, _ = run
    levels = [i for i, c in enumerate(batch.channels) if not c.endswith(".W")]
    checked = 0
    for part in explanation.classes:
        found = next(t for t in part.typical.thresholds if t.signal == "all")
        assert found.multiple == 1.0
        for turn, inside in ((found.below, 1.001), (found.above, 0.999)):
            if turn is None:
                continue
            cells = np.repeat(batch.signals[[part.typical.event]], 2, axis=0)
            factors = np.array([turn.multiple / inside, turn.multiple * inside])
            cells[:, levels] *= factors[:, None].astype(np.float32)
            codes = model.posterior(cells).argmax(axis=1)
            assert [CELL_CLASSES[c] for c in codes] == [turn.becomes, part.name]
            checked += 1
    assert checked >= 4
