"""``python -m m2l_bench``."""

from m2l_bench.cli import main

main()
