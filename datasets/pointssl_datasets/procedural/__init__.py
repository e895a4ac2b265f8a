"""The parametric objects of `shapes`: dice, solids and their sampling, and a file per few kinds."""
