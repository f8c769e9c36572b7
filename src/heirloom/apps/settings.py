"""A whole system on one screen: TOML at the door, checked whole; flat arguments inside."""

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from heirloom.apps.deadline import MOST_MS, Limits
from heirloom.apps.intake import Room
from heirloom.apps.logs import LogPart
from heirloom.apps.security.addresses import networks_of
from heirloom.apps.security.hosts import check_names
from heirloom.apps.security.settings import AddressesPart, AuthPart
from heirloom.apps.tracing import TelemetryPart
from heirloom.core.errors import ConfigError
from heirloom.core.event import Kind, Surface
from heirloom.core.facts import MAX_DECLARED
from heirloom.pipelines.clicks import ClickRules
from heirloom.ranking.actions import matured
from heirloom.slates.frequency import PAIRS, WAYS
from heirloom.slates.rules import Rules, Shares

DRAWN = "drawn"
OPEN_CLIP = "open_clip:"
"""What a model's name begins with that `adapters.open_clip` loads."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SystemPart(_Part):
    """What the marketplace is."""

    name: str
    folder: Path
    """Where log, lake, bundles and slate records lie; relative to the working folder."""
    images: str = ""
    """The folder below which listings name their photos by `image`, relative to the working folder;
    "drawn": what the simulator draws of each listing. Empty: `images` in the system's folder."""
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    impressions: Literal["client", "server", "none"] = "client"
    """Who writes impressions: the client, this server when it answers, or nobody."""
    declared: tuple[str, ...] = Field(default=(), max_length=MAX_DECLARED)
    """Attributes that people and queries may declare, in a fixed order: append only."""
    retire_after_days: PositiveInt = 30
    """A sold or removed listing keeps its slot for so long."""
    snapshot_every: PositiveInt = 200_000
    """So many log entries are folded between two snapshots: at most so many, or twice as many after
    a crash while one is written, are folded at a start."""


class SharesPart(_Part):
    """What is shown of listings of new sellers, and of those seldom shown; `slates.rules.Shares`.

    Targets are multiples of the group's share of the live stock; 0 leaves a group alone.
    """

    new_sellers: float = 0.0
    low_exposure: float = 0.0
    new_seller_days: float = 30.0
    new_seller_sales: int = 5
    low_exposure_below: int = 20
    every: int = 240
    gain: float = 0.4


class SlatePart(_Part):
    """What a slate is held to beyond the order of scores; `slates.rules.Rules` says what of."""

    surfaces: tuple[Surface, ...] = tuple(Surface)
    """Where the rules hold."""
    floor: tuple[str, ...] = Rules().floor
    page: int = 24
    reach: int = 200
    diversity: float = 0.0
    by: Literal["mmr", "dpp"] = "mmr"
    category_cap: int = 0
    category_steps: int = 2
    price_cap: int = 0
    price_bands: int = 4
    freshness: float = 0.0
    fresh_days: float = 3.0
    seen_cap: int = 0
    seen_pairs: int = Field(default=PAIRS, ge=WAYS)
    """So many pairs of a person and a listing are remembered, 16 bytes each; a power of two."""
    explore: float = 0.0
    temperature: float = 0.1
    log_scale: float = 0.0
    shares: SharesPart = SharesPart()

    @property
    def rules(self) -> Rules:
        """As the slates' rules."""
        named = self.model_dump(exclude={"surfaces", "seen_pairs", "shares"})
        return Rules(**named, shares=Shares(**self.shares.model_dump()))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        problems = self.rules.problems()
        if self.seen_pairs & (self.seen_pairs - 1):
            problems.append(f"seen_pairs is {self.seen_pairs}; wanted a power of two")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class GuardPart(_Part):
    """An action that must not be lost to the others; `ranking.guard` finds what that takes."""

    action: str
    keep: float = Field(gt=0, le=1)
    """Share of what the best order for it alone would bring, among the first `k` places."""
    k: PositiveInt = 10


class PolicyPart(_Part):
    """What decides a slate."""

    name: str = "first"
    view: str = "marketplace"
    ranker: str = "catboost"
    pool: PositiveInt = 300
    """So many fused candidates are ranked."""
    pools: dict[Surface, PositiveInt] = {}
    """The same of a surface, where it is another."""
    seller_cap: PositiveInt = 3
    retrieve_ms: PositiveInt | None = None
    """So long candidates are sought for a request; then the best found so far are ranked."""
    retrieval_weight: float = Field(default=0.0, ge=0)
    """Weight of the log of retrieval's score beside the ranker's; 0: the ranker alone."""
    fusion: dict[str, PositiveFloat] = {}
    """Weight of each retriever in the fused score; 1 where it is not named."""
    quotas: dict[Surface, dict[str, PositiveInt]]
    """For each surface, how many candidates each retriever may give."""
    weights: dict[Surface, dict[str, FiniteFloat]] = {}
    """For each surface, what each of the ranker's actions weighs in the order, less than 0 for what
    is to be avoided. A ranker of the gain alone needs none."""
    guard: GuardPart | None = None
    slate: SlatePart = SlatePart()


class AuditPart(_Part):
    """What every training looks into, and what that may cost; `pipelines.audit.Budget` says how."""

    rows: int = Field(default=1_000_000, ge=0)
    """Scored for the importance of features; 0: none is measured."""
    slates: int = Field(default=1_200, ge=0)
    """For a fit on shuffled labels, which must find nothing; 0: it is not made."""
    entries: int = Field(default=10_000, ge=0)
    """Of the log, folded again to see that features knew nothing later; 0: it is not seen to."""
    actions: int = Field(default=100, ge=0)
    """The same for a log without impressions."""
    allowed: tuple[str, ...] = ()
    """Columns that look too good and that a person has found sound, without view and version."""


class TrainingPart(_Part):
    """How a ranker is made."""

    maturity_hours: float = Field(default=1.0, ge=0)
    max_slates: PositiveInt = 40_000
    validation: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.15, gt=0, lt=0.5)
    seed: int = 0
    gains: dict[Kind, float] = {}
    gate: dict[str, float] = {}
    """Least values of metrics; of a slice's as "SLICE.METRIC": "home.ndcg@10"."""
    gate_most: dict[str, float] = {}
    """Largest values: {"all.click.ece" = 0.01}."""
    matures_hours: dict[str, float] = {}
    """By action, how long after an impression it counts, and until when its label waits; for
    rankers of probabilities (`ranking.actions`)."""
    bias: Literal["none", "ips", "baseline"] = "none"
    """How the ranker is told where people look, as the log's examination has it: gains weighed by
    inverse propensity, or the places' logits as a baseline."""
    negatives: PositiveInt = 40
    """For logs without impressions: so many listings to an action as not taken."""
    among: Literal["retrieved", "live"] = "retrieved"
    """What they are drawn from: retrieved | live, the candidates or all that was on offer."""
    ranker_settings: dict[str, bool | int | float | str | tuple[float, ...]] = {}
    """Of the ranker's `fit`, by name, as `heirloom tune` finds them; defaults for the others."""
    audit: AuditPart = AuditPart()

    @field_validator("matures_hours")
    @classmethod
    def _of_actions(cls, hours: dict[str, float]) -> dict[str, float]:
        try:
            matured(hours)
        except ConfigError as error:
            raise ValueError("; ".join(error.problems)) from error
        return hours


class DimensionPart(_Part):
    """What one setting may be; `ranking.space.Dimension` says how."""

    kind: Literal["int", "float", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[bool | int | float | str, ...] = ()


class TuningPart(_Part):
    """What `heirloom tune` tries."""

    space: dict[str, DimensionPart] = {}
    """By setting of the ranker's `fit`; without any, the ranker's own space."""


class EncodersPart(_Part):
    """What makes vectors of listings and people."""

    kind: Literal["hashed", "trained"] = "hashed"
    """Hashed needs no training and knows listings only; trained learns both from the log."""
    share: float = Field(default=0.6, gt=0, lt=1)
    """The earliest share of the actions, from which they learn; the ranker learns from the rest."""
    epochs: PositiveInt = 12
    dim: PositiveInt = 64
    vectors: int = Field(default=1, ge=1, le=16)
    """Of a person."""
    photos: str | None = None
    """trained | open_clip:NAME. Trained: a small network, learned from the system's own photos."""
    text: str | None = None
    """The folder of a sentence encoder (`heirloom export text`), or open_clip:NAME."""
    seed: int = 0

    @field_validator("photos", "text")
    @classmethod
    def _of_trained(cls, model: str | None, info: ValidationInfo) -> str | None:
        if model is not None and info.data.get("kind") != "trained":
            raise ValueError('only trained encoders read it; set kind = "trained", or leave it out')
        if model in ("", OPEN_CLIP):
            raise ValueError("wanted the name of a model; leave it out for none")
        if info.field_name == "photos" and model and not _reads_photos(model):
            raise ValueError(f"wanted trained, or {OPEN_CLIP}NAME")
        return model


def _reads_photos(model: str) -> bool:
    return model == "trained" or model.startswith(OPEN_CLIP)


class FeaturesPart(_Part):
    """Where online features live: in the process that folds the log, or where many read them."""

    store: Literal["embedded", "redis"] = "embedded"
    url: str = "redis://127.0.0.1:6379/0"
    """redis://, rediss:// or unix://; the environment's HEIRLOOM_REDIS_URL goes before it."""
    shards: int = Field(default=1, ge=1, le=16_384)
    """Into how many parts a Redis Cluster may divide the rows. Writer and readers must agree."""
    write_every_ms: int = Field(default=100, ge=50, le=200)
    """How often the writer writes what changed: the age of what readers see."""
    timeout_ms: int = Field(default=1_000, ge=10, le=60_000)
    """How long an answer of the store may take."""

    @field_validator("url")
    @classmethod
    def _of_redis(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("wanted redis://host:port/number, rediss://… or unix://path")
        return url


class IndexPart(_Part):
    """Where listings are searched by their vectors: in each process, or in a server of all."""

    kind: Literal["embedded", "pgvector"] = "embedded"
    dsn: SecretStr = SecretStr("")
    """postgresql://user@host:port/database, or $NAME: as that variable of the environment says."""
    table: str = Field(default="listings", pattern="^[a-z][a-z0-9_]{0,30}$")
    """What tables of vectors are called; a hash of the encoder's model follows."""
    timeout_ms: int = Field(default=250, ge=10, le=60_000)
    """How long a search waits for the server; then it is done in this process."""

    @field_validator("dsn")
    @classmethod
    def _of_postgres(cls, dsn: SecretStr, info: ValidationInfo) -> SecretStr:
        wanted = "wanted postgresql://user@host:port/database, or $NAME of the environment"
        if not dsn.get_secret_value().startswith(("postgresql://", "postgres://", "$")):
            raise ValueError(wanted)
        if info.data.get("kind") != "pgvector":
            raise ValueError('only pgvector has one; set kind = "pgvector", or leave it out')
        return dsn


class SearchPart(_Part):
    """What words stand for, in the retrievers `lexical` and `tantivy`."""

    both: tuple[tuple[str, ...], ...] = ()
    """Groups of words in which each stands for every other: [["trainers", "sneakers"]]."""
    one_way: dict[str, tuple[str, ...]] = {}
    """Who asks for the key is shown the values too, not the reverse: {"bag": ["tote"]}."""


class EventsPart(_Part):
    """Which events count, `pipelines.clicks` says how, 0: all of them; and how many may wait."""

    clicks_of_person: int = Field(default=0, ge=0)
    """Within an hour."""
    clicks_of_device: int = Field(default=0, ge=0)
    clicks_of_person_on_listing: int = Field(default=0, ge=0)
    sellers_are_users: bool = False
    """Whether `user` and `seller` are the same names, so that a seller's own clicks are known."""
    queue: PositiveInt = 20_000
    """Events that may wait to be written; beyond, requests are refused with 429."""
    queue_bytes: PositiveInt = 32 << 20
    """The same of request bodies."""
    group: PositiveInt = 1_024
    """Events that share one durable write; pages are answered between two."""

    @property
    def room(self) -> Room:
        """As the intake takes it."""
        return Room(events=self.queue, bytes=self.queue_bytes, group=self.group)

    @property
    def rules(self) -> ClickRules:
        """As ingestion's rules."""
        return ClickRules(
            person=self.clicks_of_person,
            device=self.clicks_of_device,
            listing=self.clicks_of_person_on_listing,
            sellers_are_users=self.sellers_are_users,
        )


class RecordsPart(_Part):
    """Of which slates a record is kept, and how they are written: after the response."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Of the slates; which ones follows from the slate's id."""
    seconds: PositiveFloat = 2.0
    """A file at least so often, where there was anything: what a crash may lose."""
    rows: PositiveInt = 5_000
    """Of a file."""
    queue_bytes: PositiveInt = 64 << 20
    """What may wait for the disk; beyond, records are lost and counted."""


class HttpPart(_Part):
    """The door."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    admin_port: int | None = Field(default=None, ge=0, le=65_535)
    """Of the loopback, for metrics and health alone; without, metrics are told at `port`."""
    workers: PositiveInt = 1
    """Processes that answer; more than 1 have a writer beside them."""
    silent_s: float = Field(default=30.0, ge=0)
    """One of them that has not said for so long that it lives is ended and started again; 0: it is
    waited for. Each says so twice a second."""
    max_body_bytes: PositiveInt = 1 << 20
    auth: AuthPart = AuthPart()
    addresses: AddressesPart = AddressesPart()
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed."""

    hosts: tuple[str, ...] = ()
    """Names that the door is asked under, beside localhost and IP addresses: "shop.example",
    "*.shop.example", or "*" for any. Looked at where they are named, at the admin door, and at an
    open door of this machine."""

    @field_validator("hosts")
    @classmethod
    def _of_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in hosts)
        check_names(hosts)  # its error says which is none
        return hosts

    @field_validator("proxies")
    @classmethod
    def _of_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        networks_of(proxies)  # its error says which is none
        return proxies


class ServingPart(_Part):
    """How long an answer may take, and how many may wait for one."""

    deadline_ms: int = Field(default=Limits().deadline_ms, ge=10, le=MOST_MS)
    """The time of a request that names none by the header X-Request-Timeout-Ms. Long, so that a
    machine that is busy with other things answers in full; a marketplace sets some hundreds."""
    waiting: PositiveInt = Limits().waiting
    """So many requests may wait; the next is told to come again, by 503."""


class Settings(_Part):
    """One system."""

    system: SystemPart
    policy: PolicyPart
    training: TrainingPart = TrainingPart()
    tuning: TuningPart = TuningPart()
    encoders: EncodersPart = EncodersPart()
    features: FeaturesPart = FeaturesPart()
    index: IndexPart = IndexPart()
    search: SearchPart = SearchPart()
    events: EventsPart = EventsPart()
    records: RecordsPart = RecordsPart()
    http: HttpPart = HttpPart()
    log: LogPart = LogPart()
    telemetry: TelemetryPart = TelemetryPart()
    serving: ServingPart = ServingPart()
    rates: dict[str, float] = {}
    """What one unit of another currency is worth in the system's: {"USD": 0.92}."""

    @model_validator(mode="after")
    def _impressions_for_rules(self) -> Self:
        rules = self.policy.slate.rules
        if self.system.impressions == "none" and (rules.shares or rules.seen_cap):
            raise ValueError(
                'policy.slate: shares and seen_cap count impressions, and impressions = "none"; '
                "let the client or the server write them, or leave these rules out"
            )
        return self

    @field_validator("rates")
    @classmethod
    def _positive(cls, rates: dict[str, float]) -> dict[str, float]:
        for currency, rate in rates.items():
            if not rate > 0:
                raise ValueError(f"the rate of {currency} is {rate}; wanted more than 0")
        return rates


def load(path: Path, **system: object) -> Settings:
    """Settings from a TOML file; keywords replace keys of its [system] table.

    Raises:
        ConfigError: with all that is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), ["there is no such file; try systems/laptop.toml"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not TOML: {error}"]) from None
    content["system"] = {**content.get("system", {}), **system}
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(str(path), [_sentence(problem) for problem in error.errors()]) from None


def _sentence(problem: object) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    place = ".".join(str(step) for step in problem["loc"]) or "settings"
    whole = isinstance(problem["input"], dict)  # a table's problem says itself what came
    hidden = problem["type"] == "missing" or problem["loc"][-1:] == ("dsn",) or whole
    came = "" if hidden else f"; came {problem['input']!r}"
    return f"{place}: {problem['msg']}{came}"[:300]
