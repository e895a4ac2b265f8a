"""The ``pointssl data`` commands, one file each."""
