"""Point operations: a readable reference beside each fast path."""
