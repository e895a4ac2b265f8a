"""Every option of every command, once. Imports no torch, so that ``--help`` is instant."""
