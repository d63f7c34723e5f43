"""Bytes to frames to objects, and back: framing, message codec, pickles, remote exceptions. Nothing here does I/O."""
