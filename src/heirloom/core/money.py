"""Money: amounts in minor units, and a fixed table that brings them into one currency."""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from heirloom.core.errors import ConfigError

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_DIGITS = dict.fromkeys(_NO_DECIMALS.split(), 0) | dict.fromkeys(_THREE_DECIMALS.split(), 3)
"""ISO 4217: decimal places of currencies that do not have two."""


def digits(code: str) -> int:
    """Decimal places of a currency's major unit.

    >>> digits("EUR"), digits("JPY")
    (2, 0)
    """
    return _DIGITS.get(code, 2)


class Currencies:
    """What one unit of each currency is worth in the system's, as decimals.

    Args:
        system: the system's currency, as in ISO 4217.
        rates: {code: worth of one major unit in the system's currency}; floats are taken as they
            are written, so that 0.1 is a tenth.

    >>> euros = Currencies("EUR", {"USD": 0.92, "JPY": "0.0061"})
    >>> euros.convert(1050, "USD"), euros.convert(1050, "JPY"), euros.convert(1050, "EUR")
    (966, 640, 1050)

    Half a minor unit goes to the even side: 5 x 0.5 = 2.5.

    >>> Currencies("EUR", {"GBP": "0.5"}).convert(5, "GBP")
    2
    """

    def __init__(self, system: str, rates: Mapping[str, Decimal | float | str]) -> None:
        exact = {code: Decimal(str(rate)) for code, rate in rates.items()}
        wrong = [
            f"the rate of {code} is {rate}; wanted a number above 0"
            for code, rate in exact.items()
            if not (rate.is_finite() and rate > 0)
        ]
        if wrong:
            raise ConfigError("rates", wrong)
        self.system = system
        self._factors = {
            code: rate.scaleb(_DIGITS.get(system, 2) - _DIGITS.get(code, 2))
            for code, rate in exact.items()
        }
        self._factors[system] = Decimal(1)

    def __contains__(self, code: str) -> bool:
        return code in self._factors

    def __str__(self) -> str:
        return ", ".join(sorted(self._factors))

    def convert(self, minor: int, code: str) -> int:
        """An amount in minor units of `code` in minor units of the system's currency.

        Raises:
            KeyError: the table lacks `code`.
        """
        amount = minor * self._factors[code]
        return int(amount.to_integral_value(ROUND_HALF_EVEN))
