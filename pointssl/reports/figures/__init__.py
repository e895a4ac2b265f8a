"""Everything that is drawn with matplotlib."""
