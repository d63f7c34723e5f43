"""The recipe "pull" without HTTP: a master lends the files of a folder to workers over our own wire."""
