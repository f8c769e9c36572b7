"""The rankers under the laws of heirloom.testing."""

from heirloom.ranking.by_action import CatBoostActions
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.deep_cross import DeepCross
from heirloom.ranking.expected import CatBoostExpected
from heirloom.ranking.lightgbm import LightGBMLambdaMART
from heirloom.ranking.linear import Linear
from heirloom.ranking.neural import Neural
from heirloom.testing.ranking import RankerLaws


class TestCatBoostListwise(RankerLaws):
    ranker = CatBoostListwise


class TestLinear(RankerLaws):
    ranker = Linear


class TestCatBoostExpected(RankerLaws):
    ranker = CatBoostExpected


class TestNeural(RankerLaws):
    ranker = Neural


class TestLightGBMLambdaMART(RankerLaws):
    ranker = LightGBMLambdaMART


class TestDeepCross(RankerLaws):
    ranker = DeepCross


class TestCatBoostActions(RankerLaws):
    ranker = CatBoostActions
