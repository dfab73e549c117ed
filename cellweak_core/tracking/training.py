"""Trainings of the tracking networks, as tasks for `parallel.map_runs`.

    train_codetection   pairs of frames -> two likelihood maps             (positions)
    train_detector      one frame -> its likelihood map                    (positions; Nishimura 2019, the baseline)
    train_mpm           pairs of frames -> motion-and-position map         (links: true ones, or pseudo-labels + mask)
    train_cmf           the two halves of MPM as two networks              (positions and links; the baseline CMF)

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.1, 3.4 and 4.1; the numbers from the authors' code (`train.py`,
`CMP_train.py`, `networks/custom_loss.py`): Adam, 1e-3, batches of 16 (MPM 10) crops of 256 px.
Deviation: eight turns and flips for every network (the authors: four for the co-detection CNN).
Deviation: the learning rate falls tenfold after every 10,000 steps, as the authors meant; their counter stood still.
Deviation: the length of a training is a number of steps, not epochs until a validation sequence gets no better.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training import average_into, learning_rate, make_fabric, random_source, run_steps
from .maps import KERNEL_REACH_PX, draw_discs, draw_likelihood, draw_motion
from .networks import build
from .sampling import CellTable, Crop, CropSampler, starts

DEFAULTS: dict[str, Any] = {
    "width": 64,  # channels of the first convolution
    "interval": 1,  # frames between the two images; a list trains one network for several
    "crop_px": 256,
    "batch_size": 16,
    "steps": 30_000,
    "lr": 1e-3,
    "schedule": "steps",  # see `training.learning_rate`
    "average": 0.0,  # decay of the moving average of weights; 0 keeps the last weights
    "sigma_px": 9.0,  # of likelihood maps
    "motion_sigma_px": 6.0,  # of motion maps
    "z": 5.0,  # third component of motion maps, px
    "kind": "peak",  # direction of motion maps
    "asymmetry": 0.8,  # q of the length term
    "ignore_radius_px": 18.0,  # 3 sigma
    "skip_loss": 0.0,  # no update at a loss of this or more; 0 never skips
    "region": None,  # x0, y0, x1, y1: no pixel and no label outside is used
    "white_level": 0.0,  # see `CropSampler`
    "checkpoint_every": 250,  # steps
    "log_every": 10,  # steps
    "seed": 0,
    "device": "auto",
    "precision": "32-true",
}

Loss = Callable[[Tensor], Tensor]


def masked_mse(predicted: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean squared error over the pixels that count.

    Args:
        predicted: `(B, C, H, W)`.
        target: `(B, C, H, W)`.
        valid: `(B, H, W)` bool; None for all. With no valid pixel the loss is 0.
    """
    return _mean((predicted - target).square(), valid)


def mpm_loss(predicted: Tensor, target: Tensor, valid: Tensor | None = None, asymmetry: float = 0.8) -> Tensor:
    """The loss of motion-and-position maps: mean |v^ - v|^2 / 3 + mean max((q - 1) d, q d)^2, d = |v| - |v^|.

    A vector that is too short costs more than one that is too long, because a cell must not be lost. Pixels in Gamma
    (cells of unknown past) do not count: Nishimura 2020, Eq. 5.

    Args:
        predicted: `(B, 3, H, W)`, v^.
        target: `(B, 3, H, W)`, v.
        valid: `(B, H, W)` bool, outside Gamma; None for all.
        asymmetry: q.
    """
    d = torch.linalg.vector_norm(target, dim=1, keepdim=True) - torch.linalg.vector_norm(
        predicted, dim=1, keepdim=True
    )
    length = torch.maximum((asymmetry - 1) * d, asymmetry * d).square()
    return masked_mse(predicted, target, valid) + _mean(length, valid)


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.mean()
    weight = valid[:, None].to(values.dtype)
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp_min(1)


def train_codetection(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the co-detection CNN on positions: MSE(L_t) + MSE(L_t+1).

    Args:
        run: Any of `DEFAULTS`; the others are taken from there.
        shared: `images` (T, H, W) uint8, uint16 or float in [0, 1]; `points` (n, 3) frame (row of `images`), x, y;
            `frames` (m,), the annotated frames (default all).
        checkpoint: Where `training.run_steps` saves.

    Returns:
        `model.*` (weights), `architecture` (see `networks.build`), `loss` and `step` (n_logged,).

    Raises:
        ValueError: An unknown name in `run`, or data that do not fit (see `CropSampler`).
    """
    run = _settings(run)
    sampler = CropSampler(
        shared["images"],
        run["crop_px"],
        starts(_frames(shared), _intervals(run)),
        run["region"],
        run["white_level"],
    )
    cells = CellTable(_inside(shared["points"], sampler, 1), 1)

    def batch(crops: list[Crop], device: torch.device) -> tuple[Tensor, Loss]:
        both = [
            _likelihood(cells, crops, [(c.frame + later * c.interval,) for c in crops], run, device)
            for later in (0, 1)
        ]
        target, valid = torch.cat(both, 1), sampler.known(crops, 3 * run["sigma_px"], device)
        # The mean over both maps, twice: the sum of their errors.
        return sampler.pixels(crops, device), lambda maps: 2 * masked_mse(maps, target, valid)

    return _fit(run, {"kind": "codetection", "width": run["width"]}, sampler, batch, checkpoint)


def train_detector(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the single-frame detector (Nishimura 2019): a U-Net from one frame to its likelihood map, MSE.

    Args:
        run: As `train_codetection`; `interval` plays no part. The authors' sigma is 12 px for this network.
        shared: As `train_codetection`.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        As `train_codetection`.

    Raises:
        ValueError: As `train_codetection`.
    """
    run = _settings(run)
    sampler = CropSampler(
        shared["images"], run["crop_px"], starts(_frames(shared), [0]), run["region"], run["white_level"]
    )
    cells = CellTable(_inside(shared["points"], sampler, 1), 1)

    def batch(crops: list[Crop], device: torch.device) -> tuple[Tensor, Loss]:
        target = _likelihood(cells, crops, [(c.frame,) for c in crops], run, device)
        valid = sampler.known(crops, 3 * run["sigma_px"], device)
        return sampler.pixels(crops, device), lambda maps: masked_mse(maps, target, valid)

    architecture = {"kind": "unet", "in_channels": 1, "out_channels": 1, "width": run["width"]}
    return _fit(run, architecture, sampler, batch, checkpoint)


def train_mpm(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the MPM network on links, with the masked loss where there are cells of unknown past (`mpm_loss`).

    Deviation: an update is skipped at a loss of `skip_loss` or more only where that is asked for (the authors: 50).
    Vectors are at most 1 long, so that only a network that has diverged comes there, and it would then stay there.

    Args:
        run: Any of `DEFAULTS`.
        shared: `images` as `train_codetection`; `pairs` (n, 6) frame (the earlier), interval, x0, y0, x1, y1 (from
            true links, see `maps.true_pairs`, or from pseudo-labels); `ignored` (m, 4) frame, interval, x, y: cells at
            frame + interval whose past is unknown (default none). Pairs of frames without a row in either are not
            trained on.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        As `train_codetection`.

    Raises:
        ValueError: As `train_codetection`, or no pairs of a wanted interval.
    """
    run = _settings(run)
    sampler, links, ignored = _linked(run, shared)

    def batch(crops: list[Crop], device: torch.device) -> tuple[Tensor, Loss]:
        target, valid = _motion(links, ignored, sampler, crops, run, device)
        return sampler.pixels(crops, device), lambda maps: mpm_loss(maps, target, valid, run["asymmetry"])

    architecture = {"kind": "unet", "in_channels": 2, "out_channels": 3, "width": run["width"]}
    return _fit(run, architecture, sampler, batch, checkpoint)


def train_cmf(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Train the two networks of the cell motion field (Hayashida & Uchida 2019, rebuilt): position and motion.

    Deviation: the motion network learns the vectors of `draw_motion`, not flows in px, so that CMF and MPM differ only
    in having two networks or one, and in the length term. Their losses are added; no weight is shared.

    Args:
        run: Any of `DEFAULTS`.
        shared: `images`, `pairs` and `ignored` as `train_mpm`, `points` as `train_codetection`.
        checkpoint: Where `training.run_steps` saves.

    Returns:
        As `train_codetection`; `model.position.*` and `model.motion.*`.

    Raises:
        ValueError: As `train_mpm`.
    """
    run = _settings(run)
    sampler, links, ignored = _linked(run, shared)
    cells = CellTable(_inside(shared["points"], sampler, 1), 1)

    def batch(crops: list[Crop], device: torch.device) -> tuple[Tensor, Loss]:
        place = _likelihood(cells, crops, [(c.frame + c.interval,) for c in crops], run, device)
        known = sampler.known(crops, 3 * run["sigma_px"], device)
        vectors, valid = _motion(links, ignored, sampler, crops, run, device)

        def loss(maps: Tensor) -> Tensor:
            return masked_mse(maps[:, :1], place, known) + masked_mse(maps[:, 1:], vectors, valid)

        return sampler.pixels(crops, device), loss

    return _fit(run, {"kind": "cmf", "width": run["width"]}, sampler, batch, checkpoint)


def _fit(
    run: Mapping[str, Any],
    architecture: dict[str, Any],
    sampler: CropSampler,
    batch: Callable[[list[Crop], torch.device], tuple[Tensor, Loss]],
    checkpoint: Path,
) -> dict[str, Any]:
    """Adam on random crops; the weights of the end, or their moving average."""
    fabric = make_fabric(run["device"], run["precision"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run["seed"])
        network = build(architecture)
    network = network.to(fabric.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = copy.deepcopy(network) if run["average"] else network
    optimiser = torch.optim.Adam(network.parameters(), run["lr"])
    source = random_source(run["seed"])

    def step(i: int) -> dict[str, Tensor]:
        for group in optimiser.param_groups:
            group["lr"] = run["lr"] * learning_rate(i, run["steps"], run["schedule"])
        x, loss_of = batch(sampler.draw(run["batch_size"], source), fabric.device)
        with fabric.autocast():
            maps = network(x.contiguous(memory_format=torch.channels_last))
        loss = loss_of(maps.float())
        if run["skip_loss"] and float(loss.detach()) >= run["skip_loss"]:
            return {"loss": loss.detach()}
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        if run["average"]:
            average_into(averaged, network, min(run["average"], (i + 1) / (i + 10)))
        return {"loss": loss.detach()}

    state: dict[str, Any] = {"network": network, "optimiser": optimiser, "source": source}
    if run["average"]:
        state["averaged"] = averaged
    history = run_steps(
        step,
        run["steps"],
        state=state,
        checkpoint=checkpoint,
        every=run["checkpoint_every"],
        log_every=run["log_every"],
        # The file's name is the digest of a map_runs call; a call by hand has any name.
        version=checkpoint.stem + json.dumps([architecture, run], sort_keys=True),
        desc=architecture["kind"],
    )
    return {
        "architecture": architecture,
        "step": np.asarray(history.get("step", [])),
        "loss": np.asarray(history.get("loss", [])),
        **{f"model.{name}": value.detach().cpu() for name, value in averaged.state_dict().items()},
    }


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(run) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"run: unknown {', '.join(unknown)}; expected any of {', '.join(DEFAULTS)}")
    return {**DEFAULTS, **run}


def _intervals(run: Mapping[str, Any]) -> list[int]:
    intervals = [run["interval"]] if isinstance(run["interval"], int) else list(run["interval"])
    if not intervals or min(intervals) < 1:
        raise ValueError(f"interval: expected one or several numbers of frames from 1 up, got {run['interval']}")
    return intervals


def _frames(shared: Mapping[str, Any]) -> Sequence[int]:
    frames = shared.get("frames")
    return range(len(shared["images"])) if frames is None else [int(f) for f in np.asarray(frames).ravel()]


def _table(rows: Any, width: int) -> NDArray[np.float64]:  # noqa: ANN401 - an array, a tensor or nested lists
    return np.asarray(rows, np.float64).reshape(-1, width)


def _inside(rows: Any, sampler: CropSampler, n_keys: int) -> NDArray[np.float64]:  # noqa: ANN401
    """The rows (keys, then one position) that lie in the region."""
    table = _table(rows, n_keys + 2)
    return table[sampler.holds(table[:, -2:])]


def _linked(run: Mapping[str, Any], shared: Mapping[str, Any]) -> tuple[CropSampler, CellTable, CellTable]:
    """Sampler over the pairs of frames that have labels, the links in the region and the cells to leave out."""
    pairs, ignored = _table(shared["pairs"], 6), _table(shared.get("ignored", ()), 4)
    keys = np.unique(np.concatenate([pairs[:, :2], ignored[:, :2]]).astype(int), axis=0)
    labelled = {d: keys[keys[:, 1] == d, 0].tolist() for d in _intervals(run)}
    for interval, frames in labelled.items():
        if not frames:
            raise ValueError(f"pairs: expected links {interval} frames apart, found none; change `interval`")
    sampler = CropSampler(shared["images"], run["crop_px"], labelled, run["region"], run["white_level"])
    begins, ends = sampler.holds(pairs[:, 2:4]), sampler.holds(pairs[:, 4:])
    # A cell that came in over the region's edge is seen, and where it was may not be told: its past is unknown.
    came_in = pairs[ends & ~begins][:, [0, 1, 4, 5]]
    unknown = np.concatenate([ignored[sampler.holds(ignored[:, 2:])], came_in])
    return sampler, CellTable(pairs[ends & begins], 2, 4), CellTable(unknown, 2)


def _likelihood(
    cells: CellTable,
    crops: list[Crop],
    keys: list[tuple[int, ...]],
    run: Mapping[str, Any],
    device: torch.device,
) -> Tensor:
    crop_px, sigma_px = run["crop_px"], run["sigma_px"]
    near = cells.near(crops, keys, crop_px, 6 * sigma_px).to(device)
    return draw_likelihood(near, (crop_px, crop_px), sigma_px)[:, None]


def _motion(
    links: CellTable,
    ignored: CellTable,
    sampler: CropSampler,
    crops: list[Crop],
    run: Mapping[str, Any],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Motion maps of crops, and where they count."""
    size, radius = (run["crop_px"], run["crop_px"]), run["ignore_radius_px"]
    keys = [(c.frame, c.interval) for c in crops]
    near = links.near(crops, keys, run["crop_px"], KERNEL_REACH_PX).to(device)
    target = draw_motion(near, size, run["motion_sigma_px"], run["z"], run["kind"])
    valid = ~draw_discs(ignored.near(crops, keys, run["crop_px"], radius).to(device), size, radius)
    known = sampler.known(crops, 3 * run["motion_sigma_px"], device)
    return target, valid if known is None else valid & known
