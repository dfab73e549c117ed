"""How right tracks, detections and links are: AA, TE, and precision, recall and F1 of links and detections.

    true    g  A---A---A---A      m(g, t): the predicted track matched with g in frame t
    tracks  m  7---7---9---9      AA: 2 of 3 links (7-7, 9-9);  TE: 2 of 4 frames under one track

- AA, association accuracy: true links recovered / true links. A link joins the same cell in consecutive frames, or a
  mother to each daughter. It is recovered when both ends are matched and m is the same track, or, from mother to
  daughter, when the daughter's track names m(mother) as its parent (or is m(mother) itself, for one daughter at most).
- TE, target effectiveness: sum over true cells of the largest number of frames that one track covers / sum over true
  cells of their frames (micro), or the mean over cells of the quotients (macro).
- A link joins frames t and t + `frame_step` only. Where a cell, or a mother before her daughter, is not annotated for a
  while, there is no link to recover (`n_links_over_gaps` counts these); a track that has such a gap does not predict
  one.
- 0/0 is NaN: a precision where nothing is predicted, a recall, AA or TE where there is nothing to find, an F1 where
  both are empty. With truth and no predictions AA, TE, recalls and F1 are 0.

Nishimura 2020 (WSCTBFP), Sec. 4; no public code computes AA and TE. Table 3's scores follow the authors'
`evaluate_association.py`, Table 2's `evaluate_detection.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .compared import compare_positions, compare_tracks
from .lineages import Positions, read_lineages, read_positions
from .matching import Floats, Ints, match_positions, near_border
from .tracks import LINK_COLUMNS, checked_detections

if TYPE_CHECKING:
    import pandas as pd


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Quotients, NaN where the whole is 0."""
    whole = np.asarray(whole, float)
    return np.where(whole > 0, np.asarray(part, float) / np.where(whole > 0, whole, 1), np.nan)


def _rates(name: str, tp: int, fp: int, fn: int) -> dict[str, float]:
    return {
        f"{name}precision": float(ratio(tp, tp + fp)),
        f"{name}recall": float(ratio(tp, tp + fn)),
        f"{name}f1": float(ratio(2 * tp, 2 * tp + fp + fn)),
    }


def tracking_scores(
    truth: pd.DataFrame,
    tracks: pd.DataFrame,
    max_distance_px: float = 20.0,
    *,
    image_shape: tuple[int, int] | None = None,
    border_px: float = 10.0,
    frame_step: int = 1,
    most_matches: bool = False,
) -> dict[str, float]:
    """AA, TE, and precision, recall and F1 of the links and detections of tracks (definitions: this module's head).

    Per frame, true and predicted positions are matched one to one by linear assignment on distance. Links are also
    scored as edges of a graph, as traccuracy's basic metrics do: a predicted link, between a track's rows in
    consecutive frames or from a parent's row to a daughter's first row in the next frame, is right if its ends are
    matched with the ends of a true link. `link_recall` then differs from `aa` only around divisions: where a track
    divides though the cell goes on, which the edge does not tell, and where a daughter's track does not start in the
    frame after its parent's last.

    Args:
        truth: Columns frame, id, x, y (px), parent (-1 = none; on every row of a daughter or on her first only; may be
            left out). Any order of rows, any ids.
        tracks: The same; further columns are ignored, as are parents that have no row.
        max_distance_px: Gate of the matching, inclusive, for all scores.
        image_shape: (Y, X) of the frames; without it nothing is exempt on the border.
        border_px: Unmatched positions nearer to the border count neither as missed nor as false, and a false link with
            an unmatched end does not count if one of its ends is there. AA, TE and missed links know no border.
        frame_step: Distance of consecutive frames in both tables, where frames were left out and not renumbered.
        most_matches: The matching rule (see `matching`): by default "nearest", where a position without a partner
            costs the gate, as in traccuracy; if true, "most".

    Returns:
        `aa`, `aa_same_cell` (without links from mother to daughter), `te_micro`, `te_macro`, `link_precision`,
        `link_recall`, `link_f1`, `detection_precision`, `detection_recall`, `detection_f1`, and the counts behind
        them: `n_cells`, `n_observations`, `n_covered`, `n_tracks`, `n_found`, `n_matched`; `n_links` and
        `n_links_found` with their parts `n_same_cell_links`, `n_same_cell_links_found`, `n_parent_links`,
        `n_parent_links_found`; `n_links_over_gaps`, `n_predicted_links`; `link_tp`, `link_fp`, `link_fn`,
        `detection_tp`, `detection_fp`, `detection_fn`.

    Raises:
        DataError: A column is missing, an id twice in one frame, a true parent that is not there or is the cell
            itself, numbers that are none; names the rows.
        ValueError: A gate, border, shape or step that is none, or frames that are not `frame_step` apart.
    """
    found = compare_tracks(truth, tracks, max_distance_px, image_shape, border_px, frame_step, most_matches)
    true, matched = found.truth, int((found.detections.match >= 0).sum())
    is_link, length = true.previous >= 0, found.length
    n_links, n_parent = int(is_link.sum()), int(true.divided.sum())
    n_recovered, n_parent_found = int(found.recovered.sum()), int((found.recovered & true.divided).sum())
    links = int(found.linked.sum()), int(found.false_links.sum()), int((is_link & ~found.linked).sum())
    detections = matched, int(found.detections.false.sum()), int(found.detections.missed.sum())
    shares = (found.covered / length).tolist()
    counts = {
        "n_cells": len(true.ids),
        "n_observations": len(true.frame),
        "n_covered": int(found.covered.sum()),
        "n_tracks": len(found.tracks.ids),
        "n_found": len(found.tracks.frame),
        "n_matched": matched,
        "n_links": n_links,
        "n_links_found": n_recovered,
        "n_same_cell_links": n_links - n_parent,
        "n_same_cell_links_found": n_recovered - n_parent_found,
        "n_parent_links": n_parent,
        "n_parent_links_found": n_parent_found,
        "n_links_over_gaps": true.n_gaps,
        "n_predicted_links": int((found.tracks.previous >= 0).sum()),
    }
    for name, numbers in (("link", links), ("detection", detections)):
        counts |= {f"{name}_{kind}": number for kind, number in zip(("tp", "fp", "fn"), numbers, strict=True)}
    return {
        "aa": float(ratio(n_recovered, n_links)),
        "aa_same_cell": float(ratio(n_recovered - n_parent_found, n_links - n_parent)),
        "te_micro": float(ratio(found.covered.sum(), length.sum())),
        "te_macro": math.fsum(shares) / len(shares) if shares else math.nan,
        **_rates("link_", *links),
        **_rates("detection_", *detections),
        **counts,
    }


def detection_scores(
    truth: pd.DataFrame,
    found: pd.DataFrame,
    max_distance_px: float = 10.0,
    image_shape: tuple[int, int] | None = None,
    border_px: float = 10.0,
) -> dict[str, float]:
    """Precision, recall and F1 of detections (Nishimura 2020, Table 2; the authors' `evaluate_detection.py`).

    As many matches within the gate as possible, per frame; positions without a match that lie within `border_px` of
    the border are neither missed nor false.

    Args:
        truth: Columns frame, x, y (px).
        found: The same.
        max_distance_px: Gate, inclusive.
        image_shape: (Y, X) of the frames; without it nothing is exempt.
        border_px: Width of the exempt border.

    Returns:
        `precision`, `recall`, `f1` (0/0 is NaN: see the module's head), `tp`, `fp`, `fn`, and `n_truth`, `n_found`,
        `n_exempt`, the positions on the border that do not count.

    Raises:
        DataError: A column is missing, or numbers that are none.
        ValueError: A gate, border or shape that is none.
    """
    true, seen = read_positions(truth, "truth"), read_positions(found, "found")
    compared = compare_positions(true, seen, max_distance_px, image_shape, border_px, most=True)
    tp, fp, fn = int((compared.match >= 0).sum()), int(compared.false.sum()), int(compared.missed.sum())
    n_exempt = len(true.frame) + len(seen.frame) - 2 * tp - fp - fn
    sizes = {"n_truth": len(true.frame), "n_found": len(seen.frame), "n_exempt": n_exempt}
    return {**_rates("", tp, fp, fn), "tp": tp, "fp": fp, "fn": fn, **sizes}


def link_scores(
    truth: pd.DataFrame,
    detections_from: Mapping[int, ArrayLike],
    detections_to: Mapping[int, ArrayLike],
    links: pd.DataFrame,
    interval: int = 1,
    max_distance_px: float = 20.0,
    image_shape: tuple[int, int] | None = None,
    border_px: float = 10.0,
) -> dict[str, float]:
    """Precision, recall and F1 of links between the detections of pairs of frames (Nishimura 2020, Table 3).

    As the authors' `evaluate_association.py`: truth and detections are matched in each frame of a pair (as many as
    possible). A link is right if the true cells at its ends are one cell, or mother and daughter; it is false if not,
    except that a link with an unmatched end does not count if one of its ends lies on the border. Missed are the true
    cells of the earlier frame that are there in the later one, themselves or as a daughter, and that no right link
    leaves. A mother is to be found once, whichever daughter is linked.

    Args:
        truth: Columns frame, id, x, y (px), parent, as for `tracking_scores`; frames in between may be there.
        detections_from: For each earlier frame t its detections `(n, 2)` x, y; every t is a pair to be scored.
        detections_to: For each later frame t + `interval` the detections that belong to that pair.
        links: Columns frame_from, frame_to, from_index, to_index, rows of the two arrays; with a column `state` only
            the links of state 1 are predictions, as in the paper.
        interval: Frames between the two of a pair.
        max_distance_px: Gate of the matching, inclusive.
        image_shape: (Y, X) of the frames; without it nothing is exempt.
        border_px: Width of the exempt border.

    Returns:
        `precision`, `recall`, `f1`, `tp`, `fp`, `fn`, and `n_links`, the links given, `n_exempt`, those that do not
        count (on the border, or not of state 1), `n_pairs`, the pairs of frames.

    Raises:
        DataError: As `tracking_scores`.
        ValueError: A pair without its later frame, links that fit no detections, or numbers that are none.
    """
    true = read_lineages(truth, "truth")
    if not interval >= 1:
        raise ValueError(f"interval: expected at least 1 frame, got {interval}")
    if absent := [column for column in LINK_COLUMNS[:4] if column not in links]:
        raise ValueError(f"links: columns {absent} are missing; expected {', '.join(LINK_COLUMNS[:4])}")
    firsts = np.array(sorted(detections_from), np.int64)
    ends = []
    for name, detections, shift in (("from", detections_from, 0), ("to", detections_to, interval)):
        frames = firsts + shift
        if lost := [int(f) for f in frames if int(f) not in detections]:
            raise ValueError(f"detections_{name}: no frame {lost[0]}, {interval} after {lost[0] - interval}")
        _, arrays = checked_detections([detections[int(f)] for f in frames], frames.tolist())
        counts = np.array([len(a) for a in arrays], np.int64)
        places = Positions(np.repeat(frames, counts), np.concatenate([np.empty((0, 2)), *arrays]))
        match = match_positions(true.frame, true.xy, places.frame, places.xy, max_distance_px, most=True)
        cell = np.full(len(places.xy), -1)
        cell[match[match >= 0]] = np.flatnonzero(match >= 0)
        ends.append((places, cell, _rows_of_links(links, name, frames, counts)))
    apart = links["frame_to"].to_numpy() - links["frame_from"].to_numpy() != interval
    if apart.any():
        raise ValueError(f"links, row {int(apart.argmax())}: frame_to is not {interval} after frame_from")
    sure = links["state"].to_numpy() == 1 if "state" in links else np.ones(len(links), bool)
    (places_from, true_from, from_row), (places_to, true_to, to_row) = ends
    from_row, to_row = from_row[sure], to_row[sure]
    a, b = true_from[from_row], true_to[to_row]
    matched = (a >= 0) & (b >= 0)
    right = matched.copy()
    same = true.cell[a[matched]] == true.cell[b[matched]]
    right[matched] = same | (true.parent[true.cell[b[matched]]] == true.cell[a[matched]])
    border = near_border(places_from.xy, image_shape, border_px)[from_row]
    border |= near_border(places_to.xy, image_shape, border_px)[to_row]
    late = np.flatnonzero(np.isin(true.frame, firsts + interval))
    before = true.frame[late] - interval
    ends_to_find = (true.rows_of(codes, before) for codes in (true.cell[late], true.parent[true.cell[late]]))
    wanted = np.unique(np.concatenate(list(ends_to_find)))
    tp, fp = int(right.sum()), int((~right & (matched | ~border)).sum())
    fn = int((~np.isin(wanted[wanted >= 0], a[right])).sum())
    sizes = {"n_links": len(links), "n_exempt": len(links) - tp - fp, "n_pairs": len(firsts)}
    return {**_rates("", tp, fp, fn), "tp": tp, "fp": fp, "fn": fn, **sizes}


def _rows_of_links(links: pd.DataFrame, name: str, frames: Ints, counts: Ints) -> Ints:
    """One end of the links as rows of all detections, frame after frame."""
    frame, index = (links[column].to_numpy(np.int64) for column in (f"frame_{name}", f"{name}_index"))
    at = np.searchsorted(frames, frame).clip(max=max(0, len(frames) - 1))
    bad = np.ones(len(frame), bool)
    if len(frames):
        bad = (frames[at] != frame) | (index < 0) | (index >= counts[at])
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"links, row {row}: there is no detection {index[row]} in frame {frame[row]}")
    return (np.cumsum(counts) - counts)[at] + index if len(frames) else index
