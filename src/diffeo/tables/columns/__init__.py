"""Columns of any table: their kinds, how a kind is found, and how cells become states and values."""

from diffeo.tables.columns.coding import Coding
from diffeo.tables.columns.column import Column
from diffeo.tables.columns.lattices import LatticeCoding
from diffeo.tables.columns.levels import LevelCoding
from diffeo.tables.columns.makers import make
from diffeo.tables.columns.numbers import NumberCoding
from diffeo.tables.columns.rules import KINDS, Guess, guess
from diffeo.tables.columns.times import TimeCoding

__all__ = [
    "KINDS",
    "Coding",
    "Column",
    "Guess",
    "LatticeCoding",
    "LevelCoding",
    "NumberCoding",
    "TimeCoding",
    "guess",
    "make",
]
