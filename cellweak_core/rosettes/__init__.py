"""The wing "rosettes": rosette detection with features transferred from a WGAN (Wang et al., BioGAN)."""
