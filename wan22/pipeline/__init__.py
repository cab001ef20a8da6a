"""The familiar face: a pipeline object that is called with a prompt, with the names that Diffusers made common.

It adds nothing to the engine. `pipeline.py` is the object; `inputs.py` turns what people give into what the engine
takes, and `batch.py` makes a request for each video of it; `output.py` is what comes back; `adapters.py` keeps LoRAs by
name; `scheduler.py` and `components.py` show the engine in Diffusers' words; `loading.py` reads the options of
`from_pretrained`.
"""

from wan22.pipeline.output import PipelineOutput, Video, collect
from wan22.pipeline.pipeline import Wan22Pipeline

__all__ = ["PipelineOutput", "Video", "Wan22Pipeline", "collect"]
