"""The shipped prompter in one real vLLM engine for several test files.

An engine belongs to the event loop of its first call, and every evaluation brings a loop of its own.
`SharedEngine` keeps the engine on a loop in a thread and hands calls over; nothing else is replaced.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

from pipeline.prompt.build_prompter import PrompterOptions, build_prompter
from pipeline.prompt.vllm_prompter import VllmPrompter
from pipeline.schema.imagery import TileImage
from pipeline.schema.tile_answers import TilePrompts
from pipeline.schema.tiling import RunGrid

NO_GRID = RunGrid(crs_wkt=None, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), width=1, height=1)


class SharedEngine:
    """A real prompter on an event loop of its own, for callers that each have another or none."""

    def __init__(self, options: PrompterOptions) -> None:
        built = build_prompter(options, NO_GRID)
        assert isinstance(built, VllmPrompter)
        self.options = options
        self.real = built
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def model_id(self) -> str:
        return self.real.model_id

    def run[T](self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call that the engine's own loop awaits, for a caller without a loop."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def hand_over[T](self, call: Coroutine[Any, Any, T]) -> T:
        """The result of a call that the engine's own loop awaits, for a caller on another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))

    async def prompt(self, image: TileImage, queries: Sequence[str]) -> list[TilePrompts]:
        return await self.hand_over(self.real.prompt(image, queries))

    def close(self) -> None:
        """Does nothing: the next caller needs the engine still."""

    def end(self) -> None:
        """Stop the loop and the engine."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        self.real.close()
