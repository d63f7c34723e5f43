"""A thin shell: all metadata is in pyproject.toml. It stays here for the day when the machines are compiled."""

from setuptools import setup

setup()
