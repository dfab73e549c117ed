"""The wing "tracking": cell tracking learnt from positions alone (Nishimura et al. 2020, WSCTBFP)."""
