"""What the figures show: places and cells chosen by rule from a comparison, and the maps there.

    Found, Split --> which frame, which cell, which square --> images, maps, positions --> `figures`

Each function returns what the figure of the same name draws, or a sentence that says why there is nothing to draw.
Tracks are chosen in `examples_tracks`, squares in `places`.
Networks see a square around the cell (`CONTEXT_PX`), not the whole frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from .association import ASSOCIATED, gate_px
from .comparison import OURS, UNMASKED, Found
from .data import TrackingData
from .evaluation import LINK_GATE_PX
from .inference import predict, restored
from .maps import disc_mask, motion_maps
from .networks import STRIDE
from .nuclei import nuclei_points
from .places import Array, Box, at_border, crowd, cut, distance, divisions, errors, inside, positions, square
from .propagation import explain, propagate
from .splits import Split

Example = dict[str, Any] | str
CONTEXT_PX, VIEW_PX = 320, 112  # sides of the squares that networks and readers see
SEQUENCE_PX = 256  # of the square of Fig. 1
IGNORED_RADIUS_PX, PSEUDO_SIGMA_PX, Z_PX = 18.0, 6.0, 5.0  # as `training.DEFAULTS`
BORDER_PX = 16  # cells nearer to it are shown only where there are no others
FEW = 12  # places that are tried before one is chosen: each costs a pass of the networks


def frames_and_nuclei(data: TrackingData, n: int = 6, every: int = 3) -> Example:
    """Fig. 1: phase contrast in successive frames, the stain in every `every`-th, and centroids of one frame.

    Of large images the square where most cells are.

    Args:
        data: With or without nuclei.
        n: Frames.
        every: Of the shown frames, those with the stain: as in the paper it is not taken each time.

    Returns:
        `frames` numbers, `phase` and `nuclei` images (None where not taken), `behind` the image of `centroids` (n, 2)
        x, y, and `source` of them in words.
    """
    steps = range(min(n, len(data.source)))
    box = square(crowd(data, 0, SEQUENCE_PX), data.source.shape, SEQUENCE_PX)
    stain = [cut(data.nuclei[t], box) if data.nuclei is not None and t % every == 0 else None for t in steps]
    if data.nuclei is not None:
        xy, source = positions(nuclei_points(data.nuclei.part(range(1))), 0), "nuclear stain: centroids found in it"
    elif data.points is not None:
        xy, source = positions(data.points, 0), "no stain in this data: positions as annotated"
    else:
        xy, source = np.zeros((0, 2)), "neither stain nor positions in this data"
    return {
        "frames": [data.source.numbers[t] for t in steps],
        "phase": [cut(data.source[t], box) for t in steps],
        "nuclei": stain,
        "behind": cut((data.nuclei or data.source)[0], box),
        "centroids": inside(xy, box),
        "source": source,
    }


def overview(found: Found, seed: int = 0) -> Example:
    """Fig. 2: the three steps on the training sequence, at the sure link of the highest score.

    Returns:
        As `propagation`'s entries, and `target`, `ignored`, `output`: magnitude of the pseudo-label map, the discs that
        the loss leaves out, and MPM's magnitude (None without that network).
    """
    association = found.pseudo.get((seed, 1))
    chosen = [] if association is None else _sure_links(association, found.split.train.source.shape)
    if not chosen:
        return "No sure link in the training sequence, so no cell to follow through the three steps."
    t, xy = chosen[0]
    shown = _explained(found, "train", seed, 1, t, xy)
    box = shown["box"]
    labels = _pseudo_labels(found, seed, t, box)
    return {**shown, **labels, "output": _magnitude(found, OURS, seed, "train", t, box)}


def layer_shapes(found: Found, seed: int = 0, size: int = 256) -> Example:
    """Fig. 3: output `(channels, height, width)` of every part of this run's co-detection CNN for `size` px images.

    Returns:
        `shapes` by the names of the network's parts in `networks.CoDetectionNet`, `n_parameters`, `size`.
    """
    if ("codetection 1", seed) not in found.networks:
        return "No co-detection CNN in this run."
    net = restored(found.networks["codetection 1", seed])
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(name: str) -> Any:  # noqa: ANN401 - as torch wants it
        def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return keep

    handles = [part.register_forward_hook(hook(name)) for name, part in net.named_children()]
    # On the meta device nothing is calculated.
    net.to("meta")(torch.zeros(1, 2, size, size, device="meta"))
    for handle in handles:
        handle.remove()
    return {"shapes": shapes, "n_parameters": sum(p.numel() for p in net.parameters()), "size": size}


def masked_loss(found: Found, seed: int = 0) -> Example:
    """Fig. 4: a training cell without a sure past, a true daughter where there is one, and what both networks learn.

    Of up to `FEW` such cells the one where the networks with and without mask differ most.

    Returns:
        `image`, `target` (magnitude of the pseudo-labels), `ignored` (bool), `outputs` {method: magnitude}, `cell` x, y
        in the square, `what` in words, `frame`.
    """
    association = found.pseudo.get((seed, 1))
    if association is None or not len(association["ignored"]):
        return "Every cell of the training sequence has a sure past: the mask leaves nothing out."
    names = [name for name in (UNMASKED, OURS) if (name, seed) in found.networks]
    if not names:
        return "No MPM network was trained on pseudo-labels in this run."
    data, shape = found.split.train, found.split.train.source.shape
    unsure = association["ignored"][:, [0, 2, 3]]
    born: dict[int, list[Array]] = {}
    for (t, _), xy in divisions(data.points if data.linked else None).items():
        born.setdefault(t, []).extend(xy)
    near = np.array([distance(xy, born.get(int(t) + 1)) < IGNORED_RADIUS_PX for t, *xy in unsure])
    edge = np.array([at_border(xy, shape, BORDER_PX) for xy in unsure[:, 1:]])
    # A division says most. A cell at the border has just come in: no mask could help there.
    order = np.lexsort((edge, ~near))[:FEW]
    best: dict[str, Any] = {}
    for k in order:
        if best and near[order[0]] and not near[k]:
            break
        t, xy = int(unsure[k, 0]), unsure[k, 1:]
        box = square(xy, shape, VIEW_PX)
        outputs = {name: _magnitude(found, name, seed, "train", t, box) for name in names}
        at = xy - [box[2], box[0]]
        there = disc_mask(at[None], (box[1] - box[0], box[3] - box[2]), PSEUDO_SIGMA_PX)
        heights = [float(o[there].max()) if o is not None and there.any() else 0.0 for o in outputs.values()]
        difference = heights[-1] - heights[0]
        if not best or difference > best["difference"]:
            what = "a daughter of a division" if near[k] else "a cell without a sure past"
            best = {"t": t, "cell": at, "box": box, "outputs": outputs, "what": what, "difference": difference}
    box = best.pop("box")
    t = best["t"]
    return {
        **best,
        "frame": data.source.numbers[t + 1],
        "image": cut(data.source[t + 1], box),
        **_pseudo_labels(found, seed, t, box),
    }


def conditions(split: Split, t: int = 0, side_px: int = 0) -> Example:
    """Fig. 5: a frame of each condition and an enlarged square where most cells are.

    Args:
        split: Tests are shown; of BMP2's three the medium one. Of a real sequence its two parts.
        t: The frame.
        side_px: Of the square; 0 takes a third of the image.

    Returns:
        `images` {name: image} and `boxes` {name: square}.
    """
    tests = {name: data for name, data in split.tests.items() if name not in ("BMP2 sparse", "BMP2 dense")}
    order = ("Control", "FGF2", "BMP2 medium", "FGF2+BMP2")
    if all(name in tests for name in order):
        tests = {name: tests[name] for name in order}
    else:
        tests = {"training part": split.train, **tests}
    boxes = {}
    for name, data in tests.items():
        side = side_px or max(48, min(data.source.shape) // 3)
        boxes[name] = square(crowd(data, t, side), data.source.shape, side)
    return {"images": {name: data.source[t] for name, data in tests.items()}, "boxes": boxes}


def detections(found: Found, seed: int = 0, interval: int = 1) -> Example:
    """Fig. 8: where one frame and two frames give different cells: co-detection's largest gain, and its largest loss.

    Returns:
        `places`, each with `image`, `truth`, `detector`, `codetection` (n, 2) x, y in the square, `errors` {network:
        number of missed and false cells}, `what`, `test`, `frame`.
    """
    tried = []
    for test, data in found.split.tests.items():
        keys = [("detector", test, seed, 0), ("codetection", test, seed, interval)]
        if data.points is None or any(key not in found.detections for key in keys):
            continue
        for t in (t for t in data.annotated if t >= interval):
            true = positions(data.points, t)
            cells = [positions(found.detections[key], t) for key in keys]
            # As in the scores, what lies at the border is no error.
            wrong = [
                np.array([xy for xy in errors(true, one) if not at_border(xy, data.source.shape, 10)]).reshape(-1, 2)
                for one in cells
            ]
            for xy in np.concatenate(wrong):
                box = square(xy, data.source.shape, VIEW_PX)
                counts = [len(inside(one, box)) for one in wrong]
                tried.append((counts[0] - counts[1], test, t, box, (true, *cells), counts))
    if not tried:
        return "Both detectors find the same cells, or no test has positions: there is no difference to show."
    gain, loss = max(tried, key=lambda x: x[0]), min(tried, key=lambda x: x[0])
    places = []
    for better, (difference, test, t, box, points, counts) in (("co-detection", gain), ("single frame", loss)):
        if (difference > 0) != (better == "co-detection") or difference == 0:
            continue
        true, single, double = (inside(xy, box) for xy in points)
        places.append(
            {
                "image": cut(found.split.tests[test].source[t], box),
                "truth": true,
                "detector": single,
                "codetection": double,
                "errors": dict(zip(("detector", "codetection"), counts, strict=True)),
                "what": f"{better} is better",
                "test": test,
                "frame": found.split.tests[test].source.numbers[t],
            }
        )
    if not places:
        return "The two detectors differ nowhere in the number of errors."
    return {"places": places}


def propagation(found: Found, seed: int = 0, interval: int = 1, test: str | None = None) -> Example:
    """Fig. 9: propagation of two cells: the one that moved farthest, and the one with the nearest neighbour.

    Returns:
        `cells`, each with `pair`, `likelihood`, `relevance`, `masked` (2, H, W), `pixels` bool, `response` (H, W),
        `cell` and `match` x, y in the square (`match` None without), `score`, `test`, `frames`, `what`.
    """
    test = test or next(iter(found.split.tests))
    association = found.associations.get((test, seed, interval))
    if association is None or not len(association["later"]):
        return "Propagation found no cell to follow in this test."
    shape = found.split.tests[test].source.shape
    farthest, crowded = _moving_links(association, shape), _crowded_links(association, shape)
    chosen = []
    if farthest:
        chosen = [("moved farthest of the sure links", *farthest[0])]
        # Another cell, not the same a few frames on.
        other = next((c for c in crowded if distance(c[1], [farthest[0][1]]) > LINK_GATE_PX), None)
        if other is not None:
            chosen.append(("nearest to its neighbour", *other))
    else:
        t, *xy = association["later"][0]
        chosen = [("no sure link: any cell", int(t), np.array(xy))]
    return {"cells": [{**_explained(found, test, seed, interval, t, xy), "what": what} for what, t, xy in chosen]}


def training_curves(found: Found) -> pd.DataFrame:
    """The loss of every training: columns network, seed, step, loss."""
    columns = ["network", "seed", "step", "loss"]
    tables = [
        pd.DataFrame({"network": name, "seed": s, "step": _numbers(r["step"]), "loss": _numbers(r["loss"])})
        for (name, s), r in found.networks.items()
        if "loss" in r
    ]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _numbers(values: Any) -> Array:  # noqa: ANN401 - a tensor or an array
    return np.asarray(values, float).reshape(-1)


def _explained(found: Found, part: str, seed: int, interval: int, t: int, xy: Array) -> dict[str, Any]:
    """The propagation of the later frame's cell at x, y, cut to the reader's square."""
    data = _part(found, part)
    shape = data.source.shape
    association = found.pseudo[seed, interval] if part == "train" else found.associations[part, seed, interval]
    context = square(xy, shape, CONTEXT_PX, STRIDE)
    pair = np.stack([cut(data.source[k], context) for k in (t, t + interval)])
    before, after = (inside(association[n][association[n][:, 0] == t, 1:], context) for n in ("earlier", "later"))
    net: Any = restored(found.networks[f"codetection {interval}", seed])
    spread = propagate(net, pair, before, after, gate=gate_px(interval))
    cell = int(np.linalg.norm(after - (np.asarray(xy) - [context[2], context[0]]), axis=1).argmin())
    seen = explain(net, pair, spread, cell)
    view = square(after[cell], pair.shape[1:], VIEW_PX)
    corner = np.array([view[2], view[0]])
    whole = context[0] + view[0], context[0] + view[1], context[2] + view[2], context[2] + view[3]
    images = {"pair": pair, "likelihood": spread.likelihood, **{k: seen[k] for k in ("relevance", "pixels", "masked")}}
    return {
        **{name: cut(values, view) for name, values in images.items()},
        "response": cut(seen["response"], view),
        "cell": after[cell] - corner,
        "match": None if seen["match"] is None else before[seen["match"]] - corner,
        "score": seen["score"],
        "state": seen["state"],
        "test": part,
        "frames": (data.source.numbers[t], data.source.numbers[t + interval]),
        "box": whole,
    }


def _pseudo_labels(found: Found, seed: int, t: int, box: Box) -> dict[str, Any]:
    """`target` and `ignored` of the pair that begins at t, interval 1."""
    association, shape = found.pseudo[seed, 1], (box[1] - box[0], box[3] - box[2])
    corner = np.array([box[2], box[0]], float)
    pairs = association["pairs"][association["pairs"][:, 0] == t, 2:] - np.tile(corner, 2)
    unsure = association["ignored"][association["ignored"][:, 0] == t, 2:] - corner
    target = np.linalg.norm(motion_maps(pairs, shape, PSEUDO_SIGMA_PX, Z_PX), axis=0)
    return {"target": target, "ignored": disc_mask(unsure, shape, IGNORED_RADIUS_PX)}


def _magnitude(found: Found, name: str, seed: int, part: str, t: int, box: Box) -> Array | None:
    """Length of the vectors that an MPM network gives in a square for the frames t and t+1; None without it."""
    if (name, seed) not in found.networks:
        return None
    source = _part(found, part).source
    centre = ((box[2] + box[3]) / 2, (box[0] + box[1]) / 2)
    context = square(centre, source.shape, CONTEXT_PX, STRIDE)
    motion = predict(restored(found.networks[name, seed]), np.stack([cut(source[k], context) for k in (t, t + 1)]))
    rows, columns = slice(box[0] - context[0], box[1] - context[0]), slice(box[2] - context[2], box[3] - context[2])
    return np.linalg.norm(motion[:, rows, columns], axis=0)


def _sure_links(association: Mapping[str, Array], shape: tuple[int, int]) -> list[tuple[int, Array]]:
    """Frame and later position of the sure links, the highest score first; those at the image's border last."""
    rows = [(at_border(b, shape, BORDER_PX), -score, t, b) for t, _, b, score in _sure(association)]
    return [(t, b) for _, _, t, b in sorted(rows, key=lambda row: row[:2])]


def _moving_links(association: Mapping[str, Array], shape: tuple[int, int]) -> list[tuple[int, Array]]:
    """The same, the farthest moved first."""
    rows = [(at_border(b, shape, BORDER_PX), -float(np.linalg.norm(b - a)), t, b) for t, a, b, _ in _sure(association)]
    return [(t, b) for _, _, t, b in sorted(rows, key=lambda row: row[:2])]


def _crowded_links(association: Mapping[str, Array], shape: tuple[int, int]) -> list[tuple[int, Array]]:
    """The same, those with the nearest neighbour in the later frame first."""
    rows = []
    for t, _, b, _ in _sure(association):
        others = association["later"][association["later"][:, 0] == t, 1:]
        apart = np.sort(np.linalg.norm(others - b, axis=1))
        rows.append((at_border(b, shape, BORDER_PX), float(apart[1]) if len(apart) > 1 else np.inf, t, b))
    return [(t, b) for _, _, t, b in sorted(rows, key=lambda row: row[:2])]


def _sure(association: Mapping[str, Array]) -> list[tuple[int, Array, Array, float]]:
    """Frame, earlier and later position, and score of each sure link."""
    rows = []
    for t in np.unique(association["links"][:, 0]):
        a, b, links = (association[n][association[n][:, 0] == t, 1:] for n in ("earlier", "later", "links"))
        rows += [(int(t), a[int(i)], b[int(j)], float(s)) for i, j, s, state in links if state == ASSOCIATED]
    return rows


def _part(found: Found, name: str) -> TrackingData:
    return found.split.train if name == "train" else found.split.tests[name]
