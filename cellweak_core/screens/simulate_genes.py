"""A gene screen that is made: variants of genes, overexpressed in replicate plates, all of them known.

    gene --direction in `PROPERTIES`--> variants (wild type, mutants): the gene's effect + a smaller own one
    every plate of every batch: a well of each variant, and controls     --as `simulate_screen`-->  crops

Stands in for the screen of Caicedo 2018, Sec. 4.2 and Table 1, whose images were never released: 26 variants, 10 to
train on and 16 to test with. What is right is known: `gene`, `compound` (the variant) and the cells' true properties.
Deviation: three channels instead of five, those of `simulate`.
Deviation: the training variants are all variants of some genes, so that the genes of the others are as new as they are
themselves; the paper does not say how it parted them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import require_plan
from .crops import Crops
from .simulate import LEAST_PX, PROPERTIES, SPREAD, directions, image_wells, well_name

CONTROL = "EMPTY"


class GenePlan(NamedTuple):
    """How large a simulated gene screen is.

    Attributes:
        pairs: Genes of two variants: a wild type and a mutant.
        triples: Genes of three variants: a wild type and two mutants.
        training_pairs: Of the genes of two, those whose variants train.
        training_triples: Of the genes of three, those whose variants train.
        batches: Of plates; every variant is in each.
        replicates: Plates of each batch; each holds a well of each variant.
        cells: Of each well.
        controls: Control wells of each plate, of cells without a gene.
        size_px: Side of the crops.
        effect: Length of a gene's effect, as `Plan.effect`.
        own_effect: Length of a variant's own effect, as a share of its gene's.
        batch_effect: As `Plan.batch_effect`.
    """

    pairs: int = 4
    triples: int = 6
    training_pairs: int = 2
    training_triples: int = 2
    batches: int = 3
    replicates: int = 2
    cells: int = 10
    controls: int = 4
    size_px: int = 48
    effect: float = 0.6
    own_effect: float = 0.5
    batch_effect: float = 1.0


def simulate_gene_screen(plan: GenePlan = GenePlan(), seed: int = 0) -> Crops:  # noqa: B008 - a tuple of numbers
    """Crops of a whole gene screen, in memory.

    Args:
        plan: Its size.
        seed: Of everything.

    Returns:
        Crops NCHW, uint16. `cells` has plate, well, batch, replicate, compound (the variant's name; `CONTROL` for
        controls), gene, concentration (0: a gene has none), moa (the gene), control, trains (bool; never controls),
        site, and each cell's true `PROPERTIES`.

    Raises:
        ValueError: No gene, a count below 0 or 1 or not whole, an effect below 0 or NaN, more training genes than
            genes, crops below 32 px; names each.
    """
    import pandas as pd

    genes = dict.fromkeys(("pairs", "triples", "training_pairs", "training_triples"), 0)
    require_plan(plan, "plan", {**genes, "size_px": LEAST_PX})
    if not plan.pairs + plan.triples:
        raise ValueError("plan: pairs and triples are 0, expected a gene or more")
    if plan.training_pairs > plan.pairs or plan.training_triples > plan.triples:
        raise ValueError(
            f"plan: {plan.training_pairs} of {plan.pairs} genes of two variants and {plan.training_triples} of "
            f"{plan.triples} of three are to train; expected no more than there are"
        )
    variants = variants_of(plan, np.random.default_rng([seed, 2]))
    empty = {"compound": CONTROL, "gene": CONTROL, "trains": False, "effect": np.zeros(len(PROPERTIES))}
    rows = list[dict[str, object]]()
    effects = list[NDArray[np.float64]]()
    shuffled = np.random.default_rng([seed, 5])
    for batch in range(plan.batches):
        for plate in range(plan.replicates):
            held = [empty] * plan.controls + variants
            # another layout on every plate: a place on it says nothing of the variant
            for k, one in enumerate(shuffled.permutation(len(held)).tolist()):
                here = held[one]
                rows.append({
                    "plate": f"Batch{batch + 1}_{plate + 1}", "well": well_name(k),
                    "batch": f"Batch{batch + 1}", "replicate": batch * plan.replicates + plate + 1,
                    "compound": here["compound"], "gene": here["gene"], "concentration": 0.0, "moa": here["gene"],
                    "control": here is empty, "trains": here["trains"], "site": 1,
                })  # fmt: skip
                effects.append(here["effect"])
    wells = pd.DataFrame(rows)
    return image_wells(
        wells, np.array(effects), plan.cells, plan.size_px, plan.batch_effect, seed, "simulated gene screen"
    )


def variants_of(plan: GenePlan, rng: np.random.Generator) -> list[dict[str, object]]:
    """Each variant: `compound` its name, `gene`, `trains`, `effect` `(13,)` in `PROPERTIES`."""
    n_genes, d = plan.pairs + plan.triples, len(PROPERTIES)
    main = directions(n_genes, rng)
    own = rng.normal(size=(n_genes, 3, d))
    own *= plan.own_effect / np.linalg.norm(own, axis=2, keepdims=True)
    length = 10 * SPREAD * plan.effect / 2  # as a mechanism's in `simulate`
    variants = list[dict[str, object]]()
    for g in range(n_genes):
        two = g < plan.pairs
        trains = g < plan.training_pairs if two else g - plan.pairs < plan.training_triples
        for v in range(2 if two else 3):
            name = f"gene {g + 1} {'wild type' if v == 0 else f'mutant {v}'}"
            effect = length * (main[g] + own[g, v])
            variants.append({"compound": name, "gene": f"gene {g + 1}", "trains": trains, "effect": effect})
    return variants
