"""Every column name of every table, once."""

import pyarrow as pa

SEQ = "seq"
EVENT_ID = "event_id"
KIND = "kind"
T = "t"
INGESTED_AT = "ingested_at"
USER = "user"
SESSION = "session"
LISTING = "listing"
LISTINGS = "listings"
POSITIONS = "positions"
POSITION = "position"
SURFACE = "surface"
TEXT = "text"
SLATE = "slate"
SELLER = "seller"
PRICE_MINOR = "price_minor"
CURRENCY = "currency"
ATTRIBUTES = "attributes"
DATA = "data"

_MS = pa.timestamp("ms", tz="UTC")

LOG_SCHEMA = pa.schema(
    [
        pa.field(SEQ, pa.int64(), nullable=False),
        pa.field(EVENT_ID, pa.string(), nullable=False),
        pa.field(KIND, pa.string(), nullable=False),
        pa.field(T, _MS, nullable=False),
        pa.field(INGESTED_AT, _MS, nullable=False),
        pa.field(USER, pa.string()),
        pa.field(SESSION, pa.string()),
        pa.field(SURFACE, pa.string()),
        pa.field(TEXT, pa.string()),
        pa.field(SLATE, pa.string()),
        pa.field(LISTING, pa.string()),
        pa.field(LISTINGS, pa.list_(pa.string())),
        pa.field(POSITIONS, pa.list_(pa.int16())),
        pa.field(POSITION, pa.int16()),
        pa.field(SELLER, pa.string()),
        pa.field(PRICE_MINOR, pa.int64()),
        pa.field(CURRENCY, pa.string()),
        # JSON text: declared attributes; the listing's data on `listed` and `edited`.
        pa.field(ATTRIBUTES, pa.string()),
        pa.field(DATA, pa.string()),
        # What ingestion stamped, packed as core.facts.EVENT_ROW and LISTING_ROW.
        pa.field("event_row", pa.binary(), nullable=False),
        pa.field("listing_rows", pa.binary(), nullable=False),
    ]
)
"""The event log as a table, in the lake and in memory: one row per event, by `seq`."""
