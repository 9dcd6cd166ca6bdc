"""Every backend that LiteLLM reaches; the only importer of litellm.

`lane` is the entrance and the module to read first. `backends` says which client LiteLLM takes from
us, `clients` makes it, `exchange` is what our transport saw of one call.
"""

from orchestify.lanes.litellm.lane import LiteLLMLane
from orchestify.lanes.litellm.loading import begin_import, load

__all__ = ["LiteLLMLane", "begin_import", "load"]
