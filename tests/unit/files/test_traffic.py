from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pipeline.files.traffic import Traffic


def test_everything_is_taken_once() -> None:
    tally = Traffic()
    tally.add("http_requests")
    tally.add("http_bytes", 0)
    tally.add_all({"http_requests": 2, "store_puts": 1})
    assert tally.take() == {"http_requests": 3, "store_puts": 1}
    assert tally.take() == {}


def test_threads_lose_nothing() -> None:
    tally = Traffic()
    taken = []

    def work(number: int) -> None:
        for _ in range(1000):
            tally.add("http_requests")
        taken.append(tally.take())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))
    assert sum(one.get("http_requests", 0) for one in taken) == 16_000
