"""Schedules to give by hand: ``el.compile(..., schedule=...)``.

What ``f.schedule`` prints is one of these, as text, and can be given back as it is:

>>> import einloom as el
>>> f = el.compile("ij,jk->ik", (5, 7), (7, 9))
>>> f.schedule.partition("(")[0]
'Tiled'
>>> g = el.compile("ij,jk->ik", (5, 7), (7, 9), schedule=f.schedule)
>>> h = el.compile("ij,jk->ik", (5, 7), (7, 9), schedule=Direct("ikj", (Parallelize(2),)))
>>> h.schedule
"Direct(order='ikj', steps=(Parallelize(n_levels=2),))"
"""

from einloom_compiler.families.direct import DirectSchedule as Direct
from einloom_compiler.families.packed import PackedSchedule as Packed
from einloom_compiler.ir.attention import PanelSchedule as Panel
from einloom_compiler.lowering.rows import RowsSchedule as Rows
from einloom_compiler.schedule.steps import Parallelize, Sink, Tile, Transpose, Unroll, Vectorize
from einloom_compiler.schedule.tiled_schedule import TiledSchedule as Tiled

__all__ = [
    "Direct",
    "Packed",
    "Panel",
    "Parallelize",
    "Rows",
    "Sink",
    "Tile",
    "Tiled",
    "Transpose",
    "Unroll",
    "Vectorize",
]
