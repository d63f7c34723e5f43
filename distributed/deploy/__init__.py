"""Starting processes: the zygote that forks them, and clusters on this machine."""
