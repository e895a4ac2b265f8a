"""The datasets, one file each: an opener and its catalogue entry."""
