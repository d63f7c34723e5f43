"""The user's project: scanned into a manifest, shipped as the blobs that a worker lacks, stored, laid out again."""
