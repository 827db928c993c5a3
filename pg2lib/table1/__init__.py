"""Table 1 of the paper: its six models trained, scored on the same pairs, and set beside the published figures."""

from pg2lib.table1.folder import list_name
from pg2lib.table1.make import Origin, choose_config, make_table1
from pg2lib.table1.table import Table1, read_table1

__all__ = ["Origin", "Table1", "choose_config", "list_name", "make_table1", "read_table1"]
