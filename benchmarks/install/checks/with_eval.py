"""lmms-eval finds the model `transprune`."""

from lmms_eval.models import get_model

found = get_model("transprune")
assert found.__module__ == "transprune.integrations.lmms_eval", found
