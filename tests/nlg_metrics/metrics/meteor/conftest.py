"""METEOR's real resources where they are installed, and a small set of the same form that needs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from meteor_resources import write_resources

from nlg_metrics.errors import InputError
from nlg_metrics.metrics.meteor import Meteor
from nlg_metrics.metrics.meteor.resources import Files


@pytest.fixture(scope="session")
def small_resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_resources(tmp_path_factory.mktemp("resources"))


@pytest.fixture(scope="session")
def small(small_resources: Path, tmp_path_factory: pytest.TempPathFactory) -> Meteor:
    return Meteor(folder=small_resources, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_files() -> Files:
    try:
        return Files.find()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real(real_files: Files) -> Meteor:
    """METEOR with its real resources, indexed in the user's cache folder."""
    return Meteor()
