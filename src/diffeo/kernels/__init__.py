"""Numerics shared by the layers above: safe elementwise formulas and shape rules."""
