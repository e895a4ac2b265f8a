"""Generated shapes: the objects of ``shapes``, one file per few categories, and the compositions of
``primitives``."""
