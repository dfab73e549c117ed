"""The models of a run and their settings: one flat table for each, all of them to be changed.

Source: the scripts of the authors' code (scripts/*.sh) for learning rates, decay and batches; their optimisers for the
rest. They trained for 50 epochs (BEGAN 30, autoencoders 10) of 1.3 million cells: a million steps at 64 cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .layers import EMBEDDING
from .networks import FAMILY

CONDITIONS = ("none", "concentration", "both")
SCALINGS = ("maximum", "range")
ADVERSARIAL = (*FAMILY, "began", "bigan")
COMMON: dict[str, Any] = {
    "width": 1.0,  # filters as a multiple of the published ones
    "size_px": 0,  # side that crops are resized to; 0 leaves them
    "scaling": "maximum",  # of each channel of each cell: from [0, "maximum"] or from its "range" to [-1, 1]
    "conditions": "none",  # what a conditional model is told: "concentration", or compound and concentration ("both")
    "latent": 100,  # numbers of a representation
    "noise": 100,  # numbers that a cell is generated from
    "input_noise": 0.1,  # standard deviation, on what discriminators and encoders are trained on
    "noise_sd": 1.0,  # VAE: of the drawn code, in its standard deviations
    "batch_size": 64,  # real cells of a step, and as many generated ones
    "steps": 20_000,  # one of the authors' epochs
    "lr_discriminator": 7e-5,  # Adam
    "lr_generator": 2e-4,
    "lr_encoder": 0.0,
    "lr_autoencoder": 0.0,
    "decay": 0.9999,  # of all learning rates ...
    "decay_every": 100,  # ... after so many steps
    "beta1": 0.5,  # of Adam; beta2 is .999
    "label_low": 0.8,  # real cells are labelled U(label_low, 1); not of WGAN and BEGAN, which have no labels
    "penalty_weight": 10.0,  # WGAN: lambda of the gradient penalty
    "critic_steps": 1,  # discriminator steps to one of the generator, each on cells of its own; 1 in the authors' code
    "gamma": 0.75,  # BEGAN: what L(G(z)) / L(x) is held at
    "gain": 1e-3,  # BEGAN: of k
    "log_every": 10,  # steps that a point of the curves is the mean of
    "check_every": 50,  # steps between looks at a fixed set of generated cells
    "n_checked": 32,  # cells of that set
    "collapse_below": 0.02,  # diversity, as a share of real cells', that means mode collapse ...
    "collapse_checks": 5,  # ... where it is seen so many times in a row ...
    "collapse_after": 500,  # ... and not in the first steps, when nothing is learnt yet
    "checkpoint_every": 250,  # steps
    "seed": 0,
    "device": "auto",
    "precision": "bf16-mixed",
}  # fmt: skip
_AUTOENCODER = {
    "lr_discriminator": 0.0, "lr_generator": 0.0, "lr_autoencoder": 1e-3, "decay": 0.996, "beta1": 0.9,
    "batch_size": 128, "input_noise": 0.0,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "dcgan": {"kind": "dcgan", "lr_discriminator": 5e-5, "lr_generator": 1e-5},
    "lsgan": {"kind": "lsgan"},
    "wgan": {"kind": "wgan"},
    "began": {
        "kind": "began", "lr_discriminator": 1e-5, "lr_generator": 1e-5, "decay_every": 1000, "batch_size": 16
    },
    "bigan": {"kind": "bigan", "lr_generator": 7e-5, "lr_encoder": 7e-5, "batch_size": 32},
    "vae": {"kind": "vae", **_AUTOENCODER, "latent": 256},
    "autoencoder": {"kind": "autoencoder", **_AUTOENCODER, "decay": 1.0, "latent": 32},
    "c-lsgan": {"kind": "lsgan", "conditions": "concentration", "decay": 0.9995, "decay_every": 200},
    "c-wgan": {
        "kind": "wgan", "conditions": "concentration", "lr_generator": 7e-5, "decay": 0.9995, "decay_every": 200
    },
    "c-began": {
        "kind": "began", "conditions": "concentration", "lr_discriminator": 1e-5, "lr_generator": 1e-5,
        "decay": 0.9995, "decay_every": 1000, "batch_size": 64,
    },
}  # fmt: skip
_COUNTS = (
    "latent", "noise", "batch_size", "decay_every", "critic_steps", "log_every", "check_every", "n_checked",
    "collapse_checks", "checkpoint_every",
)  # fmt: skip


def settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run: its own, for the rest its model's, for the rest `COMMON`.

    Args:
        run: `model`, one of `MODELS`, and any names of `COMMON`.

    Returns:
        Every name of `COMMON`, `model` and `kind` (one of `networks.KINDS`).

    Raises:
        ValueError: No or an unknown model, an unknown name or word, a number that cannot be.
    """
    model = run.get("model")
    if model not in MODELS:
        raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {model!r}")
    unknown = sorted(set(run) - {"model", *COMMON})
    if unknown:
        raise ValueError(f"run: unknown {', '.join(unknown)}; expected any of model, {', '.join(COMMON)}")
    found = {**COMMON, **MODELS[model], **run}
    for name, known in (("conditions", CONDITIONS), ("scaling", SCALINGS)):
        if found[name] not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {found[name]!r}")
    for name in _COUNTS:
        if found[name] < 1:
            raise ValueError(f"{name}: expected 1 or more, got {found[name]}")
    if found["batch_size"] < 2 and found["kind"] in ADVERSARIAL:
        raise ValueError("batch_size: expected 2 or more, one cell has no spread to be normalised by")
    if found["n_checked"] < 2:
        raise ValueError("n_checked: expected 2 or more, one cell has no diversity")
    return found


def architecture_of(
    found: Mapping[str, Any], channels: tuple[str, ...], side_px: int, compounds: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a model's weights belong to: enough to build its networks and to read crops for them.

    Args:
        found: Of `settings`.
        channels: Names of the crops' channels, in order.
        side_px: Of the crops; of the networks' too, where `size_px` is 0.
        compounds: Names that a condition with compounds knows, in order.

    Returns:
        As `networks.build` takes it; `model`, `channels`, `crop_px` (side of the crops before they are resized),
        `scaling`, `conditions` and `compounds` too.
    """
    kept = ("model", "kind", "width", "latent", "noise", "input_noise", "noise_sd", "scaling", "conditions")
    both, told = found["conditions"] == "both", found["conditions"] != "none"
    # an autoencoder's code is what it is generated from, too
    noise = found["latent"] if found["kind"] in ("vae", "autoencoder") else found["noise"]
    return {
        **{name: found[name] for name in kept},
        "noise": noise,
        "n_channels": len(channels), "channels": list(channels), "size_px": found["size_px"] or side_px,
        "crop_px": side_px,
        "n_conditions": told + both * len(compounds), "embedding": EMBEDDING * both,
        "compounds": list(compounds) if both else [],
    }  # fmt: skip
