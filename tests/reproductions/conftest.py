"""The scripts here are run as programs, by ``tests/test_gaps.py`` or by hand; pytest must not import them."""

collect_ignore_glob = ["*.py"]
