"""Seed 003's face: `@distributed` functions, the handles of their calls, and `setup`."""
