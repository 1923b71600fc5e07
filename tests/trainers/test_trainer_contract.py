from __future__ import annotations

import pytest

from autosft.testing.trainer_contract import TrainerContract
from autosft.trainers import trainer_names


@pytest.fixture(scope="class", params=trainer_names())
def trainer_name(request):
    return request.param


class TestEveryTrainer(TrainerContract):
    pass
