"""Training data as people have it: found, looked at, reported on, and encoded once.

    plan = DataPlan((Path("clips"),), size=(832, 480), frames=(81,), fps=16.0)
    found = survey(plan)                                    # no model needed
    write_report(found, Path("report"))
    dataset = prepare(found, engine, Path("cache"), task="t2v", log=print)
    row = dataset.row(0)                                    # latents, text, extra

What needs torch is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from wan22.train.data.plan import DataPlan, Item, Problem, Window
from wan22.train.data.report import write_report
from wan22.train.data.survey import Survey, Video, survey

if TYPE_CHECKING:
    from wan22.train.data.dataset import Dataset, Row, prepare

__all__ = [
    "DataPlan",
    "Dataset",
    "Item",
    "Problem",
    "Row",
    "Survey",
    "Video",
    "Window",
    "prepare",
    "survey",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in ("Dataset", "Row", "prepare"):
        from wan22.train.data import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module 'wan22.train.data' has no attribute {name!r}")
