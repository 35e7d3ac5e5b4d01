"""Names and labels of the metrics that server and grabbers export.

Metrics are found wherever a module of a program declares them, so that no list has to be kept.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase

import grabbing
import legacy_import
import runtime
import storage
import web
from web.metrics import MirrorCollector

_PACKAGES = (grabbing, legacy_import, runtime, storage, web)
# Samples of a metric by type, as suffixes of its name, with the label that the type adds
# (https://prometheus.io/docs/instrumenting/exposition_formats/).
_SAMPLES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "counter": {"_total": frozenset()},
    "gauge": {"": frozenset()},
    "histogram": {"_bucket": frozenset({"le"}), "_count": frozenset(), "_sum": frozenset()},
}


@cache
def labels_by_name() -> Mapping[str, frozenset[str]]:
    """Labels of each time series that the programs export, by its name."""
    return {
        f"{family.name}{suffix}": labels | added
        for family, labels in _families()
        for suffix, added in _SAMPLES[family.type].items()
    }


def _families() -> Iterator[tuple[Metric, frozenset[str]]]:
    for module in _modules():
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                yield from ((family, _label_names(value)) for family in value.collect())
    # It computes its metrics on request, so they are not attributes of a module.
    for family in MirrorCollector({}).collect():
        yield family, _label_names(family)


def _label_names(metric: MetricWrapperBase | GaugeMetricFamily) -> frozenset[str]:
    # The library shows the labels of samples only, and a metric has none before its first use.
    return frozenset(metric._labelnames)  # noqa: SLF001


def _modules() -> Iterator[ModuleType]:
    for package in _PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)
