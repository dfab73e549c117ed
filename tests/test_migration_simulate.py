"""Simulated films of migrating cells: the plan is kept, modes are to be seen in form and in motion, in that order."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from cellweak_core.migration import labels, motion, patches
from cellweak_core.migration.data import COLUMNS, Films
from cellweak_core.migration.simulate import TRUTH, Plan, simulate
from cellweak_core.migration.simulate_shapes import BLEND, CHANNELS, Form, fitted, forms, outline, stains

MANY = Plan(n_cells=60)
CLEAN = Plan(n_cells=12, cells_per_film=1, neighbours=0, noise=0, background=0, annotation_px=0)


@pytest.fixture(scope="module")
def many() -> Films:
    return simulate(MANY, 5)


@pytest.fixture(scope="module")
def clean() -> Films:
    return simulate(CLEAN, 2)


def test_the_plan_is_kept(many: Films) -> None:
    points = many.points
    assert tuple(points) == (*COLUMNS, *TRUTH)
    assert many.channels == CHANNELS == ("adhesions", "actin", "membrane")
    assert len(points) == 60 * 16
    assert points["cell"].nunique() == 60
    per_film = points.groupby("sequence")["cell"].nunique()
    assert set(per_film) == {1, 2, 3}
    assert list(many.frames) == per_film.index.to_list()
    for film in many.frames.values():
        assert (film.shape, film.dtype) == ((16, 3, 96, 96), np.uint16)
        assert film.max() < 4096
    kinds = points.groupby("cell", sort=False)["true_mode"].agg(lambda m: m.iloc[0] if m.nunique() == 1 else "both")
    assert kinds.value_counts().to_dict() == {"continuous": 28, "discontinuous": 24, "both": 8}


def test_points_are_as_those_of_real_films(many: Films) -> None:
    points = many.points
    pd.testing.assert_frame_equal(points, points.sort_values(["cell", "frame"], ignore_index=True))
    assert [cell.split("/")[0] for cell in points["cell"]] == points["sequence"].to_list()
    assert (points.groupby("cell")["frame"].agg(list).map(lambda f: f == list(range(16)))).all()
    assert points["frame"].dtype.kind == "i"
    assert set(points["label"]) == {*labels.MODES, labels.UNKNOWN}
    assert np.isfinite(labels.ramps(points)).sum() == (points["label"] != labels.UNKNOWN).sum()
    assert points[["x", "y"]].to_numpy().min() > 3
    assert points[["x", "y"]].to_numpy().max() < 92
    assert points["drive"].between(0, 1).all()
    assert (points["phase"].isna() == (points["true_mode"] == "continuous")).all()
    assert len(patches.cut(many, range(20), 64)) == 20


def test_the_same_seed_makes_the_same_films_and_another_does_not() -> None:
    plan = Plan(n_cells=2, n_frames=6)
    first, again, other = simulate(plan, 1), simulate(plan, 1), simulate(plan, 2)
    for name, film in first.frames.items():
        np.testing.assert_array_equal(film, again.frames[name])
    pd.testing.assert_frame_equal(first.points, again.points)
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 64
    assert not first.points.equals(other.points)


def test_labels_are_the_truth_or_unknown_and_unknown_beside_a_switch(many: Films) -> None:
    points = many.points
    known = points[points["label"] != labels.UNKNOWN]
    assert (known["label"] == known["true_mode"]).all()
    first_modes, beside, n_frames = list[str](), np.zeros(len(points), bool), 16
    for start in range(0, len(points), n_frames):
        mode = points["true_mode"].to_numpy(str)[start : start + n_frames]
        changes = [t for t in range(1, n_frames) if mode[t] != mode[t - 1]]
        assert len(changes) <= 1
        for t in changes:
            assert 4 <= t <= 12
            first_modes.append(mode[0])
            beside[[start + t - 1, start + t]] = True
    assert sorted(first_modes) == ["continuous"] * 4 + ["discontinuous"] * 4
    unknown = (points["label"] == labels.UNKNOWN).to_numpy()
    assert unknown[beside].all()
    assert 0.02 < unknown[~beside].mean() < 0.08
    sure = simulate(Plan(n_cells=3, n_frames=6, unknown=0, switching=0), 0).points
    assert (sure["label"] == sure["true_mode"]).all()


def test_both_modes_are_as_fast_and_the_discontinuous_one_leaps(many: Films) -> None:
    points = many.points
    of_mode = points.groupby("true_mode")["true_speed"]
    mean = of_mode.mean()
    assert 0.8 < mean["discontinuous"] / mean["continuous"] < 1.25
    one_mode = points.groupby("cell").filter(lambda cell: cell["true_mode"].nunique() == 1)
    speeds = one_mode.groupby(["true_mode", "cell"])["true_speed"]
    variation = (speeds.std() / speeds.mean()).groupby("true_mode")
    assert variation.max()["continuous"] < 0.4 < 0.5 < variation.min()["discontinuous"]
    found = motion.modes(points, by=("burstiness",))["label"]
    told = found != labels.UNKNOWN
    assert (found[told] == points["true_mode"][told]).mean() > 0.85


def test_speed_is_the_distance_to_the_next_frame(clean: Films) -> None:
    for _, cell in clean.points.groupby("cell"):
        step = np.hypot(cell["x"].diff(), cell["y"].diff()).to_numpy()
        np.testing.assert_allclose(step[1:], cell["true_speed"].to_numpy()[:-1])


def _cell(window: NDArray[Any]) -> Any:  # noqa: ANN401 - scikit-image's own
    """The region in the middle of a window."""
    light = window[1].astype(float) + window[2]
    regions = label(light > 0.7 * threshold_otsu(light))
    middle = np.array(regions.shape) // 2
    return min(regionprops(regions), key=lambda r: np.linalg.norm(r.coords - middle, axis=1).min())


def _measured(films: Films) -> pd.DataFrame:
    rows = []
    for window in patches.cut(films, np.arange(len(films.points)), 64):
        region = _cell(window)
        inside = window[:, region.coords[:, 0], region.coords[:, 1]].mean(1)
        rows.append([region.area, *inside, *window.mean((1, 2)), region.eccentricity, region.axis_major_length])
    columns = ["area", "a", "b", "c", "d", "e", "f", "eccentricity", "length"]
    return pd.DataFrame(rows, columns=columns)


def _auroc(features: pd.DataFrame, points: pd.DataFrame) -> float:
    """Of a logistic regression on cells that it was not fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mode = (points["true_mode"] == "discontinuous").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    score = cross_val_predict(model, features, mode, groups=points["cell"], cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(mode, score))


def test_form_tells_the_mode_of_a_frame_and_size_and_light_do_not(many: Films) -> None:
    measured = _measured(many)
    light = np.log(measured[["area", "a", "b", "c", "d", "e", "f"]])
    assert _auroc(light, many.points) < 0.65
    by_form = _auroc(measured[["eccentricity"]], many.points)
    assert 0.75 < by_form < 0.97  # a retracted cell is as round as another


def test_without_clarity_form_does_not_tell_either() -> None:
    films = simulate(MANY._replace(clarity=0.0), 5)
    assert _auroc(_measured(films)[["eccentricity", "length"]], films.points) < 0.65


@pytest.mark.parametrize("lead", [0, 2, 3])
def test_form_leads_motion_by_as_many_frames_as_the_plan_says(lead: int) -> None:
    plan = CLEAN._replace(lead_frames=lead, discontinuous=1.0, switching=0.0, n_frames=24, annotation_px=0.3)
    films = simulate(plan, 4)
    length = _measured(films)["length"].to_numpy().reshape(12, 24)
    xy = films.points[["x", "y"]].to_numpy().reshape(12, 24, 2)
    speed = np.linalg.norm(np.diff(xy, axis=1), axis=2)
    by_lag = [
        np.mean([np.corrcoef(form[: 23 - lag], fast[lag:])[0, 1] for form, fast in zip(length, speed, strict=True)])
        for lag in range(6)
    ]
    assert int(np.argmax(by_lag)) == lead
    assert by_lag[lead] > 0.4


def test_a_marked_point_is_the_middle_of_its_cell_and_the_front_is_where_actin_is(clean: Films) -> None:
    ahead = []
    for row in clean.points.itertuples():
        frame = clean.frames[row.sequence][row.frame].astype(float) - 100
        y, x = np.nonzero(frame[2] > 0.3 * np.percentile(frame[2], 98))
        if min(x.min(), y.min()) > 0 and max(x.max(), y.max()) < 95:  # whole in the field
            assert np.hypot(x.mean() - row.x, y.mean() - row.y) < 1.5
            grid = np.indices(frame.shape[1:])[::-1]
            middle = [(light * grid).sum((1, 2)) / light.sum() for light in frame[1:]]
            ahead.append((middle[0] - middle[1]) @ [np.cos(row.heading), np.sin(row.heading)])
    assert len(ahead) > 100
    assert np.mean(np.array(ahead) > 0) > 0.97


def test_adhesions_lie_still_while_the_cell_goes_on(clean: Films) -> None:
    from scipy.ndimage import gaussian_filter, shift

    still, carried = [], []
    for film in clean.frames:
        points = clean.points[clean.points["sequence"] == film]
        spots = [frame - gaussian_filter(frame, 2) for frame in clean.frames[film][:, 0].astype(float)]
        xy = points[["y", "x"]].to_numpy()
        for t in np.flatnonzero(points["true_speed"].to_numpy()[:-1] > 2):
            still.append(np.corrcoef(spots[t].ravel(), spots[t + 1].ravel())[0, 1])
            moved = shift(spots[t], xy[t + 1] - xy[t], order=1)
            carried.append(np.corrcoef(moved.ravel(), spots[t + 1].ravel())[0, 1])
    assert len(still) > 10
    assert np.mean(still) > np.mean(carried) + 0.2


def test_few_cells_come_near_the_border_and_none_leaves(many: Films) -> None:
    xy = many.points[["x", "y"]].to_numpy()
    near = np.minimum(xy, 95 - xy).min(1)
    assert 0.001 < (near < 16).mean() < 0.2  # a cell's body is about 16 px wide on each side


def test_a_cell_is_drawn_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    at_edge = []

    def watched(*of_cells: Any) -> NDArray[np.float32]:  # noqa: ANN401 - as `stains`
        light = stains(*of_cells)
        at_edge.append(max(light[..., [0, -1], :].max(), light[..., [0, -1]].max()))
        return light

    monkeypatch.setattr("cellweak_core.migration.simulate.stains", watched)
    simulate(Plan(n_cells=30, discontinuous=1.0, switching=0.0), 1)
    assert max(at_edge) < 0.05


def _plain(n: int, mode: float, drive: float) -> Form:
    one = np.ones(n, np.float32)
    return forms(mode * one, drive * one, np.zeros((n, 8), np.float32))


def test_an_outline_has_a_broad_front_or_a_long_tail() -> None:
    def inside(form: Form, u: float, v: float) -> bool:
        at = [np.full((1, 1, 1), value, np.float32) for value in (u, v)]
        return bool(outline(*at, form)[0, 0, 0] < 0)

    broad, slim, rest = _plain(1, 0, 0.5), _plain(1, 1, 1), _plain(1, 1, 0)
    for form in (broad, slim, rest):
        assert inside(form, 0, 0)
        assert not inside(form, 0, 3)
        assert not inside(form, 3, 0)
    assert inside(broad, 0.5, 1.1)
    assert not inside(slim, 0.5, -1.1)
    assert inside(slim, -2.3, 0)
    assert not inside(rest, -2.3, 0)
    assert not inside(broad, -2.3, 0)
    bent = slim._replace(bend=np.full((1, 1, 1), 0.6, np.float32))
    assert inside(bent, -2.2, 0.5)
    assert not inside(bent, -2.2, -0.3)


def test_parts_of_an_outline_merge_as_written_here() -> None:
    rng = np.random.default_rng(0)
    form = forms(*rng.uniform(0, 1, (2, 3)).astype(np.float32), rng.normal(size=(3, 8)).astype(np.float32))
    u, v = rng.uniform(-1.5, 1.5, (2, 3, 4, 4)).astype(np.float32)
    fast = outline(u, v, form)
    for n, i, j in np.ndindex(3, 4, 4):
        x, y = float(u[n, i, j]), float(v[n, i, j])
        f = {name: float(values[n, 0, 0]) for name, values in form._asdict().items() if name != "waves"}
        parts = []
        for middle, a, b in ((0.0, 0.72, 0.62), (f["front"], f["depth"], f["breadth"])):
            r = np.hypot((x - middle) / a, y / b)
            parts.append(r * (r - 1) / np.hypot((x - middle) / a**2, y / b**2))
        along = min(max(-x / f["tail"], 0), 1)
        past = -x - f["tail"] if -x > f["tail"] else max(x, 0)
        parts.append(np.hypot(y - f["bend"] * along**2, past) - 0.07 - f["thick"] * (1 - along) ** 1.2)
        on, off = (x * np.cos(f["side"]) + y * np.sin(f["side"]), y * np.cos(f["side"]) - x * np.sin(f["side"]))
        parts.append(np.hypot(on - min(max(on, 0), f["lobe"]), off) - 0.24)
        slow = -BLEND * np.log(sum(np.exp(-part / BLEND) for part in parts))
        for k, phase in zip((5, 8, 13), form.waves[n, 0, 0].tolist(), strict=True):
            slow += 0.025 * np.sin(k * np.arctan2(y, x) + phase)
        assert fast[n, i, j] == pytest.approx(slow, abs=2e-4)


def test_a_cell_is_fitted_and_its_light_is_one_on_average() -> None:
    form = forms(*np.float32([[0, 1, 0.5], [0.2, 1, 0.5]]), np.random.default_rng(1).normal(size=(3, 8)).astype("f4"))
    fine = np.linspace(-4, 4, 401, dtype=np.float32)
    v, u = (np.broadcast_to(axis, (3, 401, 401)) for axis in np.meshgrid(fine, fine, indexing="ij"))
    inside = outline(u, v, form) < 0
    radius, along, across = fitted(form)
    np.testing.assert_allclose(radius.ravel(), np.sqrt(inside.sum((1, 2)) * 0.02**2 / np.pi), rtol=0.02)
    np.testing.assert_allclose(along.ravel(), [u[k][inside[k]].mean() for k in range(3)], atol=0.05)
    np.testing.assert_allclose(across.ravel(), [v[k][inside[k]].mean() for k in range(3)], atol=0.05)
    textures = np.random.default_rng(2).normal(size=(2, 3, 401, 401)).astype(np.float32)
    light = stains(u, v, form, np.full((3, 1, 1), 0.02, np.float32), (textures[0], textures[1]))
    assert (light.shape, light.dtype) == ((3, 3, 401, 401), np.float32)
    np.testing.assert_allclose(light.sum((2, 3)).T / inside.sum((1, 2)), 1, atol=0.02)
    assert (light.max((2, 3)) > 1.3).all()


@pytest.mark.parametrize(
    "plan",
    [
        Plan(n_cells=1, n_frames=6, size_px=32, field_px=48, cells_per_film=1, neighbours=0),
        Plan(n_cells=2, n_frames=6, size_px=48, field_px=48, speed=0, staining=0, noise=0, background=0, unknown=0),
        Plan(n_cells=2, n_frames=7, lead_frames=6, period_frames=3, discontinuous=0, switching=1, neighbours=3),
    ],
)
def test_plans_at_the_edge_are_drawn(plan: Plan) -> None:
    films = simulate(plan, 0)
    assert len(films.points) == plan.n_cells * plan.n_frames
    for film in films.frames.values():
        assert film.shape == (plan.n_frames, 3, plan.field_px, plan.field_px)
        assert (film.astype(float).std((2, 3)) > 10).all()


def test_plans_that_cannot_be() -> None:
    for plan, said in (
        (Plan(n_cells=0), "n_cells is 0, expected a whole number of 1 or more"),
        (Plan(n_frames=5), "n_frames is 5, expected a whole number of 6 or more"),
        (Plan(size_px=31), "size_px is 31, expected a whole number of 32"),
        (Plan(lead_frames=-1), "lead_frames is -1, expected a whole number of 0"),
        (Plan(period_frames=2), "period_frames is 2, expected a number of 3"),
        (Plan(noise=float("nan")), "noise is nan, expected a number of 0"),
        (Plan(discontinuous=0.7, switching=0.5), "discontinuous and switching are 1.2 of the cells together"),
        (Plan(switching=1.5), "switching is 1.5, expected a share of at most 1"),
        (Plan(unknown=1.0), "unknown is 1, expected a share of at most 0.9"),
        (Plan(clarity=2.0), "clarity is 2, expected a share of at most 1"),
        (Plan(size_px=128), "size_px is 128, expected at most field_px, 96"),
        (Plan(lead_frames=16), "lead_frames is 16, expected less than n_frames, 16"),
        (Plan(n_cells=0, cells_per_film=0), "n_cells is 0, .*; cells_per_film is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            simulate(plan)
