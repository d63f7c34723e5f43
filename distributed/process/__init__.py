"""Processes of a cluster: forking them fast, running their loop, ending them. Nothing here knows what they serve."""
