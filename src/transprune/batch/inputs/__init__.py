"""Where the rows of a batch job come from: a folder of pictures, parquet files, or JSON lines."""

from transprune.batch.inputs.base import Table as Table
from transprune.batch.inputs.find import find_table as find_table
