"""What both engines run: tables, SQL and bars. The text of the SQL is one and the same for both."""

from dataclasses import dataclass

# (name, type here, type in Flink). Times in the files end in `Z`: Flink reads that as TIMESTAMP_LTZ only.
TIME = ("TIMESTAMP(3)", "TIMESTAMP_LTZ(3)")


@dataclass(frozen=True)
class Table:
    """A table over generated JSON lines."""

    name: str
    dataset: str
    columns: tuple
    time: str
    delay_seconds: int


BIDS = Table(
    name="bid",
    dataset="nexmark",
    columns=(
        ("auction", "BIGINT", "BIGINT"),
        ("bidder", "BIGINT", "BIGINT"),
        ("price", "BIGINT", "BIGINT"),
        ("channel", "STRING", "STRING"),
        ("url", "STRING", "STRING"),
        ("dateTime", *TIME),
        ("extra", "STRING", "STRING"),
    ),
    time="dateTime",
    delay_seconds=4,
)

TRIPS = Table(
    name="trip",
    dataset="taxi",
    columns=(
        ("pickup_datetime", *TIME),
        ("dropoff_datetime", *TIME),
        ("passenger_count", "INT", "INT"),
        ("trip_distance", "DOUBLE", "DOUBLE"),
        ("pickup_location_id", "INT", "INT"),
        ("dropoff_location_id", "INT", "INT"),
        ("fare_amount", "DECIMAL(10, 2)", "DECIMAL(10, 2)"),
    ),
    time="pickup_datetime",
    delay_seconds=30,
)


@dataclass(frozen=True)
class Case:
    """A statement, the columns of its result, and how many times Flink's rate is expected."""

    name: str
    title: str
    table: Table
    select: str
    result: tuple
    bar: float
    # A result as large as the input is compared over fewer rows.
    compare_small: bool = False


_TIMES = (("window_start", "TIMESTAMP(3)", "TIMESTAMP(3)"), ("window_end", "TIMESTAMP(3)", "TIMESTAMP(3)"))

CASES = (
    Case(
        name="tumble-bids",
        title="bids: filter → 10 s tumbling count",
        table=BIDS,
        select="""
SELECT window_start, window_end, count(*) AS num
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
WHERE price > 10000
GROUP BY window_start, window_end""",
        result=(*_TIMES, ("num", "BIGINT", "BIGINT")),
        bar=10,
    ),
    Case(
        name="tumble-bids-by-auction",
        title="bids: the same by auction",
        table=BIDS,
        select="""
SELECT window_start, window_end, auction, count(*) AS num
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
WHERE price > 10000
GROUP BY window_start, window_end, auction""",
        result=(*_TIMES, ("auction", "BIGINT", "BIGINT"), ("num", "BIGINT", "BIGINT")),
        bar=10,
    ),
    Case(
        name="tumble-trips",
        title="trips: filter → 10 s tumbling count by zone",
        table=TRIPS,
        select="""
SELECT window_start, window_end, pickup_location_id, count(*) AS num
FROM TABLE(TUMBLE(TABLE trip, DESCRIPTOR(pickup_datetime), INTERVAL '10' SECOND))
WHERE fare_amount > 10
GROUP BY window_start, window_end, pickup_location_id""",
        result=(*_TIMES, ("pickup_location_id", "INT", "INT"), ("num", "BIGINT", "BIGINT")),
        bar=10,
    ),
    Case(
        name="hop-top",
        title="bids: 10 s / 2 s hopping count by auction → top count (q5)",
        table=BIDS,
        select="""
SELECT window_start, window_end, max(num) AS top
FROM (
  SELECT auction, count(*) AS num, window_start, window_end
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
  GROUP BY auction, window_start, window_end
) AS counts
GROUP BY window_start, window_end""",
        result=(*_TIMES, ("top", "BIGINT", "BIGINT")),
        bar=15,
    ),
    Case(
        name="pass",
        title="bids: all seven columns → blackhole (q0)",
        table=BIDS,
        select="""
SELECT auction, bidder, price, channel, url, `dateTime`, extra
FROM bid""",
        result=BIDS.columns,
        bar=8,
        compare_small=True,
    ),
)
