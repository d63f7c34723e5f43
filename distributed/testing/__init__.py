"""What tests are made of: the pytest plugin, clusters to test against, and `tidy`, which checks the source itself.

Nothing in the package imports from here, and nothing here runs unless a test (or ``make check``) asks for it. The
helpers meant for users are found in `distributed.utils_test`.
"""
