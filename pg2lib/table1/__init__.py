"""Table 1 of the paper: train its six models, score them on the same pairs, and compare them with the published figures."""

from pg2lib.table1.make import choose_config, make_table1, published_name, read_table1

__all__ = ["choose_config", "make_table1", "published_name", "read_table1"]
