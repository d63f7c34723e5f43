"""The recipe "pull": workers ask a master for files of its folder over plain HTTP, and tell it their digests."""
