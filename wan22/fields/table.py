"""Every field: the one place where the options of a request are put together."""

from wan22.fields import edges, engine, video
from wan22.fields.field import Field

FIELDS: tuple[Field, ...] = (*video.FIELDS, *edges.FIELDS, *engine.FIELDS)
"""Every field, in the order of the help within its group."""
