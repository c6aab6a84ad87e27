"""What a run costs, counted from a configuration alone: no weights, no torch."""

from transprune.cost.count import Cost as Cost
from transprune.cost.count import count_cost as count_cost
from transprune.cost.count import count_method as count_method
from transprune.cost.count import sum_costs as sum_costs
from transprune.cost.count import unpruned_cost as unpruned_cost
from transprune.cost.geometry import Geometry as Geometry
from transprune.cost.geometry import known_geometry as known_geometry
from transprune.cost.layers import Convention as Convention
from transprune.cost.layers import decode_cost as decode_cost
from transprune.cost.layers import head_cost as head_cost
from transprune.cost.layers import kv_bytes as kv_bytes
from transprune.cost.layers import layer_cost as layer_cost
from transprune.cost.layers import prefill_cost as prefill_cost
from transprune.cost.scoring import scoring_cost as scoring_cost
