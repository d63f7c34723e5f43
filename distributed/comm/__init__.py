"""Bytes between processes: addresses, the stream, connecting and listening. Nothing here knows what messages mean."""
