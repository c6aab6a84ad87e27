"""What a run costs, counted from a configuration alone: no weights, no torch."""

from transprune.cost.count import Convention as Convention
from transprune.cost.count import Cost as Cost
from transprune.cost.count import count_cost as count_cost
from transprune.cost.count import count_method as count_method
from transprune.cost.count import decode_cost as decode_cost
from transprune.cost.count import head_cost as head_cost
from transprune.cost.count import kv_bytes as kv_bytes
from transprune.cost.count import layer_cost as layer_cost
from transprune.cost.count import prefill_cost as prefill_cost
from transprune.cost.count import sum_costs as sum_costs
from transprune.cost.count import unpruned_cost as unpruned_cost
from transprune.cost.geometry import Geometry as Geometry
from transprune.cost.geometry import known_geometry as known_geometry
from transprune.cost.scoring import scoring_cost as scoring_cost
