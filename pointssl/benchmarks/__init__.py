"""What the fast paths save: every case beside its textbook twin, in time, memory and work."""
